//! The API listener: slow and silent callers, and what is taken for a request.

use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testkit::{Connection, PATIENCE, eventually};
use tokio::net::TcpStream;

use crate::bench::{Bench, ID, get, patch};

const SLOW: &str = "header_timeout = \"400ms\"\nidle_timeout = \"3s\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_head_is_ended_and_an_idle_connection_is_not() {
    let bench = Bench::new().await;
    let gateway = bench.gateway(SLOW, "").await;

    let good = async {
        let mut conn = Connection::open(gateway.api()).await.unwrap();
        for _ in 0..3 {
            let answer = conn.exchange(&patch(ID, "", r#"{"context":"c"}"#)).await.unwrap();
            assert_eq!(answer.status, 200);
            assert!(!answer.is_last());
            // Idle for longer than a head may take.
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
    };
    let slow = async |begin: &'static [u8]| {
        let begun = Instant::now();
        let mut conn = Connection::open(gateway.api()).await.unwrap();
        conn.write(begin).await.unwrap();
        // One byte after the other, for as long as they are taken.
        while begun.elapsed() < PATIENCE && conn.write(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(400), "{took:?}");
        assert!(took < Duration::from_millis(2500), "it was not ended as slow, but as idle: {took:?}");
    };
    let many = async {
        let crawling: Vec<_> = (0..50).map(|_| slow(b"PATCH /conversations/")).collect();
        let mut crawling: Vec<_> = crawling.into_iter().map(Box::pin).collect();
        std::future::poll_fn(|cx| {
            crawling.retain_mut(|one| one.as_mut().poll(cx).is_pending());
            if crawling.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    };
    // The begin of an HTTP/2 connection that never becomes one counts as well.
    let preface = async {
        let mut conn = Connection::open(gateway.api()).await.unwrap();
        conn.write(b"PRI * HTTP/2.0\r\n\r\nSM").await.unwrap();
        let took = conn.ended().await;
        assert!((Duration::from_millis(300)..Duration::from_millis(2500)).contains(&took), "{took:?}");
    };
    tokio::join!(good, many, slow(b"GET / HTTP/1.1\r\nHost: g\r\nX: "), preface);
    assert_eq!(gateway.vitals().stats().api.heads_late, 52);

    // The second head on a connection is timed like the first.
    let mut conn = Connection::open(gateway.api()).await.unwrap();
    assert_eq!(conn.exchange(&get("/openapi.json")).await.unwrap().status, 200);
    conn.write(b"GET /open").await.unwrap();
    let took = conn.ended().await;
    assert!((Duration::from_millis(300)..Duration::from_millis(2500)).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_asks_nothing_is_ended() {
    let bench = Bench::new().await;
    let gateway = bench.gateway("header_timeout = \"300ms\"\nidle_timeout = \"1s\"", "").await;
    let silent = async {
        let mut conn = Connection::open(gateway.api()).await.unwrap();
        assert!(conn.ended().await >= Duration::from_millis(900));
    };
    let used = async {
        let mut conn = Connection::open(gateway.api()).await.unwrap();
        assert_eq!(conn.exchange(&get("/openapi.json")).await.unwrap().status, 200);
        assert!(conn.ended().await >= Duration::from_millis(900));
    };
    // A preface, settings, and then nothing, not even an answer to GOAWAY's ping.
    let http2 = async {
        let begun = Instant::now();
        let mut conn = Connection::open(gateway.api()).await.unwrap();
        conn.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut said = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut conn.socket, &mut said);
        let _ = tokio::time::timeout(PATIENCE, read).await.expect("it was not ended");
        assert!(begun.elapsed() >= Duration::from_millis(900));
        // The type of a frame stands behind its length: 7 is GOAWAY.
        assert!(said.windows(9).any(|frame| frame[3] == 7), "{said:?}");
    };
    tokio::join!(silent, used, http2);
    assert_eq!(gateway.vitals().stats().api.heads_late, 0);
    eventually("none is open", async || gateway.vitals().stats().api.open == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_is_ended_between_two_requests() {
    let bench = Bench::new().await;
    let gateway = bench.gateway("max_connection_age = \"700ms\"", "").await;
    let begun = Instant::now();
    let mut conn = Connection::open(gateway.api()).await.unwrap();
    loop {
        let answer = conn.exchange(&patch(ID, "", r#"{"context":"c"}"#)).await.unwrap();
        assert_eq!(answer.status, 200);
        if answer.is_last() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
    }
    assert!(begun.elapsed() >= Duration::from_millis(600));
    conn.ended().await;

    let stream = TcpStream::connect(gateway.api()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let ended = tokio::spawn(connection);
    let begun = Instant::now();
    while !ended.is_finished() {
        let request = Request::get("http://gateway/openapi.json").body(Empty::<bytes::Bytes>::new()).unwrap();
        match sender.send_request(request).await {
            Ok(answer) => {
                assert_eq!(answer.status(), StatusCode::OK);
                assert!(!answer.into_body().collect().await.unwrap().to_bytes().is_empty());
            }
            // GOAWAY: it was never sent, or not looked at, and another connection would take it.
            Err(error) => {
                let away =
                    std::error::Error::source(&error).and_then(|error| error.downcast_ref::<h2::Error>());
                let away = away.is_some_and(|e| e.is_go_away() && e.reason() == Some(h2::Reason::NO_ERROR));
                assert!(away || error.is_canceled() || error.is_closed(), "{error:?}");
            }
        }
        assert!(begun.elapsed() < PATIENCE);
    }
    assert!(begun.elapsed() >= Duration::from_millis(600));
    ended.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_wait() {
    let bench = Bench::new().await;
    let gateway = bench.gateway("max_connections = 2", "").await;
    let mut first = Connection::open(gateway.api()).await.unwrap();
    let mut second = Connection::open(gateway.api()).await.unwrap();
    for conn in [&mut first, &mut second] {
        assert_eq!(conn.exchange(&get("/openapi.json")).await.unwrap().status, 200);
    }
    let mut third = Connection::open(gateway.api()).await.unwrap();
    third.write(&get("/openapi.json")).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), third.reply()).await.is_err());
    assert_eq!(gateway.vitals().stats().api.open, 2);
    drop(first);
    assert_eq!(third.reply().await.unwrap().status, 200);
    // The admin listener has room of its own.
    assert_eq!(
        Connection::open(gateway.admin()).await.unwrap().exchange(&get("/livez")).await.unwrap().status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_might_read_differently_is_refused_and_nothing_after_it_is_read() {
    let bench = Bench::new().await;
    let gateway = bench.gateway("", "").await;
    let body = "0\r\n\r\n";
    let odd = |headers: &str| {
        format!(
            "PATCH /conversations/{ID} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n{headers}\r\n{body}"
        )
    };
    let table = [
        (odd("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), "invalid-header"),
        (odd("Transfer-Encoding: gzip, chunked\r\n"), "invalid-header"),
        (odd("Transfer-Encoding: ,chunked\r\n"), "invalid-header"),
        (odd("Expect: 200-ok\r\nTransfer-Encoding: chunked\r\n"), "invalid-header"),
        (odd("Host: h\r\nTransfer-Encoding: chunked\r\n"), "invalid-header"),
        ("CONNECT vendor.example:443 HTTP/1.1\r\nHost: vendor.example:443\r\n\r\n".to_owned(), "not-found"),
        ("OPTIONS * HTTP/1.1\r\nHost: g\r\n\r\n".to_owned(), "not-found"),
    ];
    for (request, code) in table {
        let mut conn = Connection::open(gateway.api()).await.unwrap();
        // Another request follows, which must not be carried out on this connection.
        let both = [request.as_bytes(), &patch(ID, "", r#"{"context":"smuggled"}"#)].concat();
        let answer = conn.exchange(&both).await.unwrap();
        assert_eq!(answer.code(), code, "{request}");
        assert!(answer.is_last(), "{request}: {answer:?}");
        conn.ended().await;
    }
    assert!(bench.sent("kakiyo").await.is_empty());

    // What looks alike and is right.
    let mut conn = Connection::open(gateway.api()).await.unwrap();
    let chunked = format!(
        "PATCH /conversations/{ID} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nTransfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n10\r\n{{\"context\": \"c\"}}\r\n0\r\n\r\n"
    );
    let answer = conn.exchange(chunked.as_bytes()).await.unwrap();
    let answer = if answer.status == 100 { conn.reply().await.unwrap() } else { answer };
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_has_its_limits() {
    let bench = Bench::new().await;
    let gateway = bench.gateway("", "").await;
    // With `Host`.
    let lines = |count: usize| (1..count).map(|line| format!("X-{line}: y\r\n")).collect::<String>();
    let long = |length: usize| format!("X-Long: {}\r\n", "y".repeat(length));
    // hyper looks at the length where a read ends: between 32 KiB and twice that either is right.
    for (headers, status) in
        [(lines(100), 200), (lines(101), 431), (long(30 * 1024), 200), (long(65 * 1024), 431)]
    {
        let mut conn = Connection::open(gateway.api()).await.unwrap();
        let request = format!("GET /openapi.json HTTP/1.1\r\nHost: g\r\n{headers}\r\n");
        let answer = conn.exchange(request.as_bytes()).await.unwrap();
        assert_eq!(answer.status, status, "{} bytes", request.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_whoever_is_still_sending() {
    let bench = Bench::new().await;
    let gateway = bench.gateway("", "").await;
    for _ in 0..10 {
        let mut conn = Connection::open(gateway.api()).await.unwrap();
        let length = 900 * 1024;
        let head = format!(
            "PATCH /conversations/{ID} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        conn.write(head.as_bytes()).await.unwrap();
        // All of it is sent before the answer is looked at, most of it after the answer has come.
        for _ in 0..(length / 65_536) {
            conn.write(&[b' '; 65_536]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let answer = conn.reply().await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (413, "body-too-large"));
        assert!(answer.is_last());
        conn.ended().await;
    }
}
