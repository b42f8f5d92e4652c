//! Protection: the circuit, the rate limit, the retry budget, and that one slow vendor is one slow vendor.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use parlance::upstream::CircuitState;
use testkit::{PATIENCE, eventually, record};

use super::peer::{CONFIRMED, Peer, read_request, say};
use super::rig::{self, KEY, Rig, told};

/// A vendor that can be switched between well and not, and counts.
struct Moody {
    peer: Peer,
    well: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
}

impl Moody {
    async fn new(unwell: &'static [u8]) -> Self {
        let well = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(AtomicUsize::new(0));
        let (mood, count) = (Arc::clone(&well), Arc::clone(&requests));
        let peer = Peer::new(move |mut tcp, _| {
            let (mood, count) = (Arc::clone(&mood), Arc::clone(&count));
            async move {
                while read_request(&mut tcp).await.is_some() {
                    count.fetch_add(1, SeqCst);
                    say(&mut tcp, if mood.load(SeqCst) { CONFIRMED } else { unwell }).await;
                }
            }
        })
        .await;
        Moody { peer, well, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }
}

/// The pauses that fit in a time one after the other, each twice the one before up to the longest, in milliseconds.
fn pauses_within(time: Duration, first: u128, longest: u128) -> usize {
    let pauses = std::iter::successors(Some(first), |pause| Some(longest.min(2 * pause)));
    let ends = pauses.scan(0, |end, pause| {
        *end += pause;
        Some(*end)
    });
    ends.take_while(|end| *end <= time.as_millis()).count()
}

const FAILS: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
const REFUSES: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";

/// C9: after seven failures the vendor is asked only now and then, one at a time, and as before once it is well.
#[tokio::test]
async fn seven_failures_open_it_and_one_success_closes_it() {
    let vendor = Moody::new(FAILS).await;
    let circuit = "circuit = { open_for = \"200ms\", open_for_max = \"400ms\" }";
    let rig = Rig::over("kakiyo", &vendor.peer.url(), circuit).await;
    for _ in 0..7 {
        assert_eq!(rig.update("it").await.outcome(), told(502, "vendor-error", "unknown"));
    }
    let started = Instant::now();
    let mut refused = 0;
    while started.elapsed() < Duration::from_millis(1500) || refused <= 50 {
        let answers = rig.updates("it", 8).await;
        for answer in answers {
            if answer.status == 503 {
                refused += 1;
                assert_eq!(answer.outcome(), told(503, "vendor-unavailable", "no"));
                assert_eq!(answer.proxy_error(), "destination_unavailable");
                assert_eq!(answer.header("retry-after"), Some("1"));
            } else {
                assert_eq!(answer.outcome(), told(502, "vendor-error", "unknown"));
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Pauses of 200, 400, 400 ms … at least.
    let probes = vendor.requests() - 7;
    let most = pauses_within(started.elapsed(), 200, 400);
    assert!((1..=most).contains(&probes), "{probes} probes, at most {most}");
    let stats = rig.upstream("it").stats();
    assert_eq!((stats.circuit_opened as usize, stats.circuit_refused as usize), (1 + probes, refused));

    vendor.well.store(true, SeqCst);
    eventually("it recovers", async || rig.update("it").await.status == 200).await;
    assert_eq!(rig.upstream("it").stats().circuit, CircuitState::Closed);
    assert!(rig.updates("it", 8).await.iter().all(|answer| answer.status == 200));
    rig.stop().await;
}

/// C9: as long as it fails, the pauses grow up to the longest; and one slow probe is one probe, however many ask.
#[tokio::test]
async fn pauses_grow_and_nobody_joins_a_probe() {
    const OPEN_FOR: Duration = Duration::from_millis(100);
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let asked: Arc<Mutex<Vec<(Instant, Instant)>>> = Arc::default();
    let (now, peak, times) = (Arc::clone(&under_way), Arc::clone(&most), Arc::clone(&asked));
    let peer = Peer::new(move |mut tcp, _| {
        let (now, peak, times) = (Arc::clone(&now), Arc::clone(&peak), Arc::clone(&times));
        async move {
            while read_request(&mut tcp).await.is_some() {
                peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                let begun = Instant::now();
                tokio::time::sleep(Duration::from_millis(150)).await;
                times.lock().unwrap().push((begun, Instant::now()));
                now.fetch_sub(1, SeqCst);
                say(&mut tcp, FAILS).await;
            }
        }
    })
    .await;
    let circuit = "circuit = { failures = 1, open_for = \"100ms\", open_for_max = \"400ms\" }";
    let rig = Rig::over("kakiyo", &peer.url(), circuit).await;
    assert_eq!(rig.update("it").await.outcome(), told(502, "vendor-error", "unknown"));
    let started = Instant::now();
    while asked.lock().unwrap().len() < 6 {
        assert!(started.elapsed() < PATIENCE);
        for answer in rig.updates("it", 8).await {
            assert!(answer.status == 503 || answer.outcome() == told(502, "vendor-error", "unknown"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(most.load(SeqCst), 1, "probes at a time");
    let asked = asked.lock().unwrap().clone();
    for (pair, times) in asked.windows(2).zip([1, 2, 4, 4, 4]) {
        let pause = pair[1].0 - pair[0].1;
        assert!(pause >= OPEN_FOR * times, "{pause:?} is less than {times} times {OPEN_FOR:?}");
    }
    rig.stop().await;
}

/// C10: a vendor that comes and goes is not tried as if it had come for good: the circuit opens ever more rarely.
#[tokio::test]
async fn who_comes_and_goes_is_left_alone_for_longer() {
    let vendor = Moody::new(FAILS).await;
    let circuit = "circuit = { failures = 3, open_for = \"50ms\", open_for_max = \"800ms\" }";
    let rig = Rig::over("kakiyo", &vendor.peer.url(), circuit).await;
    let started = Instant::now();
    let opened = || rig.upstream("it").stats().circuit_opened as usize;
    while started.elapsed() < Duration::from_secs(3) || (opened() < 3 && started.elapsed() < PATIENCE) {
        vendor.well.store(started.elapsed().as_millis() / 100 % 2 == 1, SeqCst);
        rig.updates("it", 4).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // It opens, and again after each pause.
    let most = 1 + pauses_within(started.elapsed(), 50, 800);
    assert!((3..=most).contains(&opened()), "{} times, at most {most}", opened());
    rig.stop().await;
}

/// The caller's faults say nothing about the vendor.
#[tokio::test]
async fn what_the_vendor_refuses_does_not_count() {
    let vendor = Moody::new(REFUSES).await;
    let rig =
        Rig::over("agentphone", &vendor.peer.url(), "circuit = { failures = 2, min_requests = 2 }").await;
    for _ in 0..10 {
        assert_eq!(rig.update("it").await.outcome(), told(404, "conversation-not-found", "no"));
    }
    assert_eq!(rig.upstream("it").stats().circuit_opened, 0);
    rig.stop().await;
}

/// C10: a vendor that is well every other time is let be; one that is well less often is not.
#[tokio::test]
async fn the_share_of_successes_counts_too() {
    for (bad_of_four, opens) in [(2, false), (3, true)] {
        let peer = Peer::new(move |mut tcp, _| async move {
            for at in 0.. {
                if read_request(&mut tcp).await.is_none() {
                    return;
                }
                say(&mut tcp, if at % 4 < 4 - bad_of_four { CONFIRMED } else { FAILS }).await;
            }
        })
        .await;
        let circuit = "circuit = { failures = 0, min_requests = 20, success_rate = 0.5 }";
        let rig = Rig::over("kakiyo", &peer.url(), circuit).await;
        for _ in 0..40 {
            rig.update("it").await;
        }
        assert_eq!(rig.upstream("it").stats().circuit_opened > 0, opens, "{bad_of_four} of 4");
        rig.stop().await;
    }
}

/// C10: a vendor that asks everybody for a pause gets it: no request until the time that it named.
#[tokio::test]
async fn a_pause_that_the_vendor_asks_for_is_kept() {
    const LIMITS: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n";
    const AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n";
    for (unwell, status, code, applied) in
        [(LIMITS, 429, "vendor-rate-limited", "no"), (AWAY, 503, "vendor-unavailable", "unknown")]
    {
        let vendor = Moody::new(unwell).await;
        let rig = Rig::over("kakiyo", &vendor.peer.url(), "max_attempts = 1\ncircuit = {}").await;
        let mut started = Instant::now();
        for _ in 0..7 {
            assert_eq!(rig.upstream("it").stats().circuit, CircuitState::Closed);
            started = Instant::now();
            let asked = rig.update("it").await;
            assert_eq!(asked.outcome(), told(status, code, applied));
            assert_eq!(asked.header("retry-after"), Some("2"));
        }
        assert_eq!(rig.upstream("it").stats().circuit, CircuitState::Open);
        for answer in rig.updates("it", 10).await {
            assert_eq!(answer.outcome(), told(status, code, "no"));
            assert!(["1", "2"].contains(&answer.header("retry-after").unwrap()));
        }
        assert_eq!(vendor.requests(), 7);
        vendor.well.store(true, SeqCst);
        // Seven times 503 are seven failures too: the first one after them is a probe.
        eventually("the pause is over", async || rig.update("it").await.status == 200).await;
        assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
        assert!(rig.updates("it", 10).await.iter().all(|answer| answer.status == 200));
        rig.stop().await;
    }
}

/// Requests that were under way when the vendor asked for a pause all come after it, if their deadline allows.
#[tokio::test]
async fn everyone_who_waited_is_served() {
    const LIMITS: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    let requests = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&requests);
    let peer = Peer::new(move |mut tcp, _| {
        let counting = Arc::clone(&counting);
        async move {
            while read_request(&mut tcp).await.is_some() {
                let first = counting.fetch_add(1, SeqCst) < 8;
                // All eight are there before the first answer goes out.
                while first && counting.load(SeqCst) < 8 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                say(&mut tcp, if first { LIMITS } else { CONFIRMED }).await;
            }
        }
    })
    .await;
    let rig = Rig::over("agentphone", &peer.url(), "timeout = \"8s\"\ncircuit = {}").await;
    assert!(rig.updates("it", 8).await.iter().all(|answer| answer.status == 200));
    assert_eq!((requests.load(SeqCst), rig.upstream("it").stats().retries.asked), (16, 8));
    rig.stop().await;
}

/// A caller that hangs up during the probe leaves the next one its place.
#[tokio::test]
async fn a_probe_that_nobody_waits_for_wedges_nothing() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&requests);
    let peer = Peer::new(move |mut tcp, _| {
        let counting = Arc::clone(&counting);
        async move {
            while read_request(&mut tcp).await.is_some() {
                match counting.fetch_add(1, SeqCst) {
                    0 => say(&mut tcp, FAILS).await,
                    // The probe is never answered.
                    1 => std::future::pending().await,
                    _ => say(&mut tcp, CONFIRMED).await,
                }
            }
        }
    })
    .await;
    let more = "timeout = \"20s\"\ncircuit = { failures = 1, open_for = \"50ms\", open_for_max = \"50ms\" }";
    let rig = Rig::over("kakiyo", &peer.url(), more).await;
    assert_eq!(rig.update("it").await.status, 502);
    // The gateway's own call, dropped as the server drops it when the caller's connection goes. Before the pause is over
    // it is refused.
    eventually("a probe reaches the vendor and is dropped", async || {
        let request = http::Request::patch(peer.url()).body(bytes::Bytes::from_static(b"{}")).unwrap();
        let reached = eventually("it reaches the vendor", async || requests.load(SeqCst) == 2);
        let upstream = rig.upstream("it");
        let slot = upstream.admit().unwrap();
        tokio::select! {
            refused = upstream.send(&slot, request, Instant::now() + PATIENCE) => {
                assert!(refused.result.is_err());
                false
            }
            () = reached => true,
        }
    })
    .await;
    assert_eq!(rig.update("it").await.status, 200);
    assert_eq!(rig.upstream("it").stats().circuit, CircuitState::Closed);
    rig.stop().await;
}

/// C11: a vendor that accepts nobody costs little more than it was asked for.
#[tokio::test]
async fn attempts_are_budgeted() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let rig = Rig::over("kakiyo", &format!("http://{gone}"), "timeout = \"10s\"").await;
    let started = Instant::now();
    for _ in 0..10 {
        for answer in rig.updates("it", 40).await {
            assert_eq!(answer.outcome(), told(502, "vendor-unreachable", "no"));
        }
    }
    let stats = rig.upstream("it").stats();
    let most = 400.0 * 1.2 + 10.0 * (started.elapsed().as_secs_f64() + 1.0);
    let beyond = (stats.connections_failed as f64 - most).max(0.0).ceil() as usize;
    record("attempts beyond the retry budget in a total outage", beyond, 400);
    assert_eq!(beyond, 0, "{stats:?}, at most {most}");
    assert_eq!(stats.connections_failed, 400 + stats.retries.unsent);
    assert!(stats.retries.over_budget > 0, "{stats:?}");
    rig.stop().await;
}

#[tokio::test]
async fn over_the_published_rate_nothing_is_sent() {
    let vendor = Moody::new(FAILS).await;
    vendor.well.store(true, SeqCst);
    let rig = Rig::over("chatling", &vendor.peer.url(), "rate_limit = \"5/60s\"").await;
    let answers = rig.updates("it", 8).await;
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((served.len(), refused.len(), vendor.requests()), (5, 3, 5));
    for answer in refused {
        assert_eq!(answer.outcome(), told(429, "vendor-rate-limited", "no"));
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=12).contains(&seconds), "{seconds}");
        assert!(answer.json()["vendor_status"].is_null());
    }
    assert_eq!(rig.upstream("it").stats().rate_limited, 3);
    rig.stop().await;
}

/// C14: one vendor hangs with ten times its share in flight; another answers as if nothing were.
#[tokio::test]
async fn a_vendor_that_hangs_takes_only_its_share() {
    let hanging =
        Peer::new(|mut tcp, _| async move { while read_request(&mut tcp).await.is_some() {} }).await;
    let well = Peer::answering(CONFIRMED).await;
    let settings =
        rig::upstream("slow", "kakiyo", &hanging.url(), KEY, "max_in_flight = 4\ntimeout = \"6s\"")
            + &rig::upstream("well", "agentphone", &well.url(), KEY, "max_in_flight = 4");
    let rig = Rig::new(&settings).await;
    let (slow, ()) = tokio::join!(rig.updates("slow", 40), async {
        eventually("the others are refused", async || rig.upstream("slow").stats().shed == 36).await;
        assert_eq!(rig.upstream("slow").stats().in_flight, 4);
        for _ in 0..20 {
            let answer = rig.update("well").await;
            assert_eq!(answer.status, 200);
            assert!(answer.took < Duration::from_secs(3), "{:?}", answer.took);
        }
    });
    let (mut late, mut full) = (0, 0);
    for answer in slow {
        match answer.status {
            504 => late += 1,
            _ => {
                full += 1;
                assert_eq!(answer.outcome(), told(503, "overloaded", "no"));
                assert_eq!(answer.header("retry-after"), Some("1"));
            }
        }
    }
    assert_eq!((late, full), (4, 36));
    let stats = rig.upstream("slow").stats();
    assert_eq!((stats.in_flight, stats.shed), (0, 36));
    rig.stop().await;
}
