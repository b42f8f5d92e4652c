use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use tower::retry::Retry;
use tower::{Service, ServiceExt};

use super::*;
use crate::types::code::ProxyError;

/// Requests that a vendor received, with their times.
type Requests = Vec<(Instant, Request<Bytes>)>;

/// A vendor that answers from a list, repeating its last entry, and records the requests.
#[derive(Clone)]
struct Scripted {
    answers: Arc<Vec<Answer>>,
    seen: Arc<Mutex<Requests>>,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Status(u16, Option<&'static str>),
    Fails(TransportErrorKind, Applied),
}

use Answer::{Fails, Status};

impl Service<UpstreamRequest> for Scripted {
    type Response = Reply;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, TransportError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, exchange: UpstreamRequest) -> Self::Future {
        let mut seen = self.seen.lock().unwrap();
        let answer = *self.answers.get(seen.len()).or(self.answers.last()).unwrap();
        seen.push((Instant::now(), exchange.request));
        Box::pin(async move {
            match answer {
                Fails(kind, applied) => {
                    Err(TransportError::new(applied, ProxyError::ConnectionTerminated, "Broken.")
                        .with_kind(kind))
                }
                Status(status, after) => {
                    let mut reply = Response::new(Bytes::new());
                    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
                    if let Some(after) = after {
                        reply.headers_mut().insert("retry-after", HeaderValue::from_static(after));
                    }
                    Ok(reply.into())
                }
            }
        })
    }
}

fn retries(max_attempts: u32, retry_unknown: bool) -> Retries {
    Retries {
        max_attempts,
        retry_unknown,
        budget: RetryBudget::new(Instant::now()),
        unsent: AtomicU64::new(0),
        asked: AtomicU64::new(0),
        unknown: AtomicU64::new(0),
        over_budget: AtomicU64::new(0),
    }
}

struct Seen {
    result: Result<Reply, TransportError>,
    requests: Requests,
}

async fn run(retries: &Retries, answers: &[Answer], within: Duration) -> Seen {
    send(retries, http::Method::PATCH, answers, within).await
}

async fn send(retries: &Retries, method: http::Method, answers: &[Answer], within: Duration) -> Seen {
    let vendor = Scripted { answers: Arc::new(answers.to_vec()), seen: Arc::default() };
    let seen = Arc::clone(&vendor.seen);
    let stack = Retry::new(Policy::new(retries), vendor);
    let request = Request::builder()
        .method(method)
        .uri("http://vendor.test/chats/1")
        .header("idempotency-key", "one and the same")
        .body(Bytes::from_static(b"{\"title\":\"a\"}"))
        .unwrap();
    let deadline = (Instant::now() + within).into_std();
    let result = stack.oneshot(UpstreamRequest::new(request, deadline)).await;
    let requests = std::mem::take(&mut *seen.lock().unwrap());
    Seen { result, requests }
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn what_is_repeated_and_what_is_not() {
    let no = Applied::No;
    let unknown = Applied::Unknown;
    let yes = Applied::Yes;
    // Answer, and number of attempts without and with retry_unknown.
    let table: &[(Answer, usize, usize)] = &[
        (Fails(TransportErrorKind::Unreachable, no), 3, 3),
        (Fails(TransportErrorKind::Timeout, no), 3, 3),
        (Fails(TransportErrorKind::Unreachable, unknown), 1, 3),
        (Fails(TransportErrorKind::Invalid, unknown), 1, 3),
        (Fails(TransportErrorKind::Invalid, yes), 1, 1),
        (Fails(TransportErrorKind::Timeout, yes), 1, 1),
        (Fails(TransportErrorKind::TooLarge, yes), 1, 1),
        (Fails(TransportErrorKind::Full, no), 1, 1),
        (Fails(TransportErrorKind::Unavailable, no), 1, 1),
        (Fails(TransportErrorKind::RateLimited, no), 1, 1),
        (Fails(TransportErrorKind::Unauthenticated, no), 1, 1),
        (Status(200, None), 1, 1),
        (Status(302, None), 1, 1),
        (Status(400, Some("1")), 1, 1),
        (Status(401, None), 1, 1),
        (Status(409, None), 1, 1),
        (Status(422, None), 1, 1),
        (Status(429, None), 1, 1),
        (Status(429, Some("soon")), 1, 1),
        (Status(429, Some("2")), 3, 3),
        (Status(429, Some("60")), 1, 1),
        (Status(500, None), 1, 3),
        (Status(502, Some("1")), 1, 3),
        (Status(503, None), 1, 3),
        (Status(503, Some("2")), 3, 3),
        (Status(503, Some("60")), 1, 1),
        (Status(504, None), 1, 3),
    ];
    for (answer, without, with) in table {
        for (retry_unknown, attempts) in [(false, *without), (true, *with)] {
            let seen = run(&retries(3, retry_unknown), &[*answer], LONG).await;
            assert_eq!(seen.requests.len(), attempts, "{answer:?}, retry_unknown = {retry_unknown}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_the_same_request() {
    let seen = run(&retries(3, true), &[Status(500, None)], LONG).await;
    assert_eq!(seen.requests.len(), 3);
    for (_, request) in &seen.requests {
        assert_eq!(request.method(), http::Method::PATCH);
        assert_eq!(request.uri(), "http://vendor.test/chats/1");
        assert_eq!(request.headers()["idempotency-key"], "one and the same");
        assert_eq!(request.body(), "{\"title\":\"a\"}");
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_are_within_their_bounds_and_differ() {
    fastrand::seed(1);
    let mut all = Vec::new();
    for _ in 0..50 {
        let seen =
            run(&retries(4, false), &[Fails(TransportErrorKind::Unreachable, Applied::No)], LONG).await;
        let times: Vec<Instant> = seen.requests.iter().map(|request| request.0).collect();
        let pauses: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (pause, most) in pauses.iter().zip([100, 200, 400]) {
            // Tokio's timer rounds up to a millisecond.
            assert!(*pause <= Duration::from_millis(most + 1), "{pauses:?}");
        }
        all.extend(pauses);
    }
    all.sort();
    all.dedup();
    assert!(all.len() > 50, "full jitter");
}

#[tokio::test(start_paused = true)]
async fn the_vendors_time_is_kept_and_the_deadline_too() {
    let seen = run(&retries(3, false), &[Status(429, Some("3")), Status(200, None)], LONG).await;
    let waited = seen.requests[1].0 - seen.requests[0].0;
    assert!((Duration::from_secs(3)..=Duration::from_millis(3101)).contains(&waited), "{waited:?}");
    assert_eq!(seen.result.unwrap().status(), 200);

    let start = Instant::now();
    let seen = run(&retries(3, false), &[Status(429, Some("3"))], Duration::from_secs(3)).await;
    assert_eq!((seen.requests.len(), start.elapsed()), (1, Duration::ZERO), "not begun");
    assert_eq!(seen.result.unwrap().status(), 429);

    let seen = run(
        &retries(10, false),
        &[Fails(TransportErrorKind::Timeout, Applied::No)],
        Duration::from_millis(50),
    )
    .await;
    assert!(seen.requests.iter().all(|(at, _)| *at < start + LONG));
    assert!(seen.requests.len() < 10);
}

/// A read changes nothing: it is repeated after any outcome, and leaves no doubt about the update.
#[tokio::test(start_paused = true)]
async fn reads_are_repeated() {
    for answer in [Fails(TransportErrorKind::Unreachable, Applied::Unknown), Status(500, None)] {
        let seen = send(&retries(3, false), http::Method::GET, &[answer, Status(404, None)], LONG).await;
        assert_eq!(seen.requests.len(), 2, "{answer:?}");
        assert!(!seen.result.unwrap().maybe_applied);
    }
}

#[tokio::test(start_paused = true)]
async fn one_attempt_means_one() {
    let seen = run(&retries(1, true), &[Fails(TransportErrorKind::Unreachable, Applied::No)], LONG).await;
    assert_eq!(seen.requests.len(), 1);
}

/// The last attempt's outcome does not hide that an earlier one may have been applied.
#[tokio::test(start_paused = true)]
async fn an_earlier_unknown_is_not_forgotten() {
    let first = Fails(TransportErrorKind::Unreachable, Applied::Unknown);
    for last in
        [Fails(TransportErrorKind::Unavailable, Applied::No), Fails(TransportErrorKind::Full, Applied::No)]
    {
        let error = run(&retries(3, true), &[first, last], LONG).await.result.unwrap_err();
        assert_eq!(error.applied, Applied::Unknown, "{last:?}");
    }
    for first in [first, Status(500, None), Status(503, Some("1"))] {
        let reply = run(&retries(3, true), &[first, Status(404, None)], LONG).await.result.unwrap();
        assert!(reply.maybe_applied, "{first:?}");
    }
    for first in [Fails(TransportErrorKind::Unreachable, Applied::No), Status(429, Some("1"))] {
        let reply = run(&retries(3, true), &[first, Status(404, None)], LONG).await.result.unwrap();
        assert!(!reply.maybe_applied, "{first:?}");
        let error =
            run(&retries(3, true), &[first, Fails(TransportErrorKind::Full, Applied::No)], LONG).await.result;
        assert_eq!(error.unwrap_err().applied, Applied::No, "{first:?}");
    }
    let error = run(&retries(3, true), &[first, Fails(TransportErrorKind::TooLarge, Applied::Yes)], LONG)
        .await
        .result;
    assert_eq!(error.unwrap_err().applied, Applied::Yes);
}

/// An unreachable vendor gets 20 % more attempts and ten per second, not three times as many.
#[tokio::test(start_paused = true)]
async fn the_budget_bounds_what_is_repeated() {
    let retries = Arc::new(retries(3, false));
    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..2_000 {
        let retries = Arc::clone(&retries);
        running.spawn(async move {
            run(&retries, &[Fails(TransportErrorKind::Unreachable, Applied::No)], LONG).await.requests.len()
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let attempts: usize = running.join_all().await.iter().sum();
    let seconds = start.elapsed().as_secs_f64();
    let most = 2_000.0 * 1.2 + 10.0 * (seconds + 1.0);
    assert!((attempts as f64) <= most, "{attempts} attempts in {seconds} s, at most {most}");
    let stats = retries.stats();
    assert_eq!(stats.unsent as usize, attempts - 2_000);
    assert!(stats.over_budget > 0 && stats.unsent > 400, "{stats:?}");
}
