//! Sockets that a test holds by hand: connecting, reusing, and heads of any size.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use testkit::Request;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::peer::{CONFIRMED, Peer, read_request, reset, say};
use super::rig::{self, Rig, told};

/// A1: the reason is told at once, however often; the circuit does not hide it.
#[tokio::test]
async fn a_closed_port_is_told_as_what_it_is() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let circuit = "circuit = { failures = 2, min_requests = 2 }";
    let rig = Rig::over("kakiyo", &format!("http://{port}"), circuit).await;
    for _ in 0..6 {
        let answer = rig.update("it").await;
        assert_eq!(answer.outcome(), told(502, "vendor-unreachable", "no"));
        assert_eq!(answer.proxy_error(), "connection_refused");
        // Three attempts and their pauses; the deadline is 5 s.
        assert!(answer.took < Duration::from_secs(3), "{:?}", answer.took);
    }
    let stats = rig.upstream("it").stats();
    assert_eq!((stats.circuit_opened, stats.connections), (0, 0));
    assert!(stats.retries.unsent >= 10, "{stats:?}");
    rig.stop().await;
}

/// A2: nobody answers, not even with a refusal. Each attempt has the connect timeout, not the whole deadline.
#[tokio::test]
async fn a_black_hole_costs_the_connect_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Whoever is in the backlog is connected; whoever comes then waits.
    let mut filling = Vec::new();
    while let Ok(tcp) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        filling.push(tcp.unwrap());
    }
    let more = "timeout = \"5s\"\nconnect_timeout = \"150ms\"\nmax_attempts = 2";
    let rig = Rig::over("sigmamind", &format!("http://{address}"), more).await;
    let answer = rig.update("it").await;
    assert_eq!(answer.outcome(), told(504, "vendor-timeout", "no"));
    assert_eq!(answer.proxy_error(), "connection_timeout");
    assert!(answer.took >= Duration::from_millis(300) && answer.took < Duration::from_secs(3), "{answer:?}");
    assert_eq!(rig.upstream("it").stats().connections_failed, 2);
    rig.stop().await;
}

/// A8: whether the reset is noticed before the request is sent is a race; what is told is true either way.
#[tokio::test]
async fn a_connection_that_is_reset_at_once() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&requests);
    let peer = Peer::new(move |mut tcp, number| {
        let counting = Arc::clone(&counting);
        async move {
            if number % 2 == 0 {
                return reset(&tcp);
            }
            while read_request(&mut tcp).await.is_some() {
                counting.fetch_add(1, SeqCst);
                say(&mut tcp, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            }
        }
    })
    .await;
    let rig = Rig::over("agentphone", &peer.url(), "timeout = \"5s\"").await;
    let mut confirmed = 0;
    for _ in 0..20 {
        let answer = rig.update("it").await;
        if answer.status == 200 {
            confirmed += 1;
        } else {
            assert_eq!(answer.outcome(), told(502, "vendor-unreachable", "unknown"));
        }
    }
    assert_eq!(requests.load(SeqCst), confirmed);
    assert!(confirmed > 0, "never noticed in time");
    rig.stop().await;
}

/// A13: the vendor closed a connection that lay idle.
#[tokio::test]
async fn a_connection_closed_while_idle_is_not_used() {
    let peer = Peer::new(|mut tcp, _| async move {
        if read_request(&mut tcp).await.is_some() {
            say(&mut tcp, CONFIRMED).await;
        }
    })
    .await;
    let rig = Rig::over("chatling", &peer.url(), "").await;
    for _ in 0..10 {
        assert_eq!(rig.update("it").await.status, 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(peer.connections(), 10);
    rig.stop().await;
}

/// A15: that the connection was used before is no reason to send again what may have arrived.
#[tokio::test]
async fn a_reset_on_a_reused_connection_is_not_repeated_blindly() {
    for (vendor, attempts) in [("agentphone", 1), ("cuadra", 2)] {
        let requests = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&requests);
        let peer = Peer::new(move |mut tcp, number| {
            let counting = Arc::clone(&counting);
            async move {
                for at in 0.. {
                    if read_request(&mut tcp).await.is_none() {
                        return;
                    }
                    counting.fetch_add(1, SeqCst);
                    if number == 0 && at == 1 {
                        return reset(&tcp);
                    }
                    say(&mut tcp, CONFIRMED).await;
                }
            }
        })
        .await;
        let rig = Rig::over(vendor, &peer.url(), "").await;
        assert_eq!(rig.update("it").await.status, 200);
        let answer = rig.update("it").await;
        if attempts == 1 {
            assert_eq!(answer.outcome(), told(502, "vendor-unreachable", "unknown"));
        } else {
            assert_eq!(answer.status, 200);
        }
        assert_eq!(requests.load(SeqCst), 1 + attempts, "{vendor}");
        rig.stop().await;
    }
}

/// A21: what comes behind an answer is no answer to the next request.
#[tokio::test]
async fn bytes_behind_an_answer_poison_nothing() {
    const FORGED: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
    let peer = Peer::answering(FORGED).await;
    let rig = Rig::over("kakiyo", &peer.url(), "").await;
    for _ in 0..50 {
        assert_eq!(rig.update("it").await.status, 200);
    }
    assert_eq!(peer.connections(), 50, "a connection was used again");
    rig.stop().await;
}

/// A24: heads beyond every measure are refused without being kept.
#[tokio::test]
async fn heads_have_a_limit() {
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\n{{}}", "x-a: b\r\n".repeat(200));
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\ncontent-length: 2\r\n\r\n{{}}", "y".repeat(1 << 20));
    let fitting = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(100_000));
    for (head, expected) in [(many, 502), (long, 502), (fitting, 200)] {
        let head: &'static [u8] = Box::leak(head.into_bytes().into_boxed_slice());
        let peer = Peer::answering(head).await;
        let rig = Rig::over("agentphone", &peer.url(), "").await;
        let answer = rig.update("it").await;
        assert_eq!(answer.status, expected, "{answer:?}");
        if expected == 502 {
            assert_eq!(answer.outcome(), told(502, "vendor-invalid-response", "unknown"));
            assert_eq!(answer.proxy_error(), "http_protocol_error");
        }
        rig.stop().await;
    }
}

/// A50: the vendor says no after the head and resets with our body unread. Its answer is told where it arrived.
#[tokio::test]
async fn an_early_no_is_heard() {
    const NO: &[u8] = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    for linger in [true, false] {
        let peer = Peer::new(move |mut tcp, _| async move {
            let mut some = [0; 512];
            let _ = tcp.read(&mut some).await;
            say(&mut tcp, NO).await;
            if linger {
                let mut rest = Vec::new();
                let _ = tcp.read_to_end(&mut rest).await;
            } else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                reset(&tcp);
            }
        })
        .await;
        let rig = Rig::over("agentphone", &peer.url(), "").await;
        let patch = format!("{{\"context\":{{\"text\":\"{}\"}}}}", "x".repeat(200 * 1024));
        let spec = rig.upstream("it").settings.vendor.spec();
        let answer = rig.send(&Request::patch(&rig::id("it", spec), &patch)).await;
        assert_eq!(answer.outcome(), told(422, "vendor-rejected", "no"), "linger: {linger}");
        rig.stop().await;
    }
}
