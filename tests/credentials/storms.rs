//! Many requests at once on a token that is no longer good.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use parlance::upstream::Authorize;
use parlance::upstream::credentials::Credentials;
use parlance::upstream::transport::{Reply, TransportError, UpstreamRequest};
use serde_json::{Value, json};
use testkit::record;
use tower::{Service, ServiceExt};

use crate::rig::{OAUTH, Rig};

const MANY: usize = 1000;
/// Sockets that one request takes in this process: both ends of caller and gateway, and of gateway and vendor.
const SOCKETS: usize = 4;

/// The number of requests that can be under way at a time with as many files as the process may have open.
fn many() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = open_files.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(MANY);
    MANY.min(soft / (2 * SOCKETS))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_requests_on_a_revoked_token_fetch_one() {
    let rig = Rig::new().await;
    let gateway = rig.gateway(OAUTH, &rig.oauth2(""), "timeout = \"60s\"\nconnect_timeout = \"60s\"").await;
    let update = gateway.updater();
    for wave in 0..3 {
        // The first finds no token at all.
        if wave > 0 {
            rig.control("POST", "/tokens/revoke", Value::Null).await;
        }
        let tasks: Vec<_> = (0..many()).map(|_| update()).collect();
        let mut statuses = Vec::new();
        for task in tasks {
            statuses.push(task.await.unwrap());
        }
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        assert_eq!(rig.token_requests().await, wave + 1);
    }
    let refused = rig.received(OAUTH, "PATCH").await.iter().filter(|entry| entry.status == Some(401)).count();
    assert!(refused > 1, "{refused}");
    let stats = gateway.upstream.credentials.stats();
    assert_eq!((stats.generation, stats.renewed, stats.failed), (3, 3, 0));
    gateway.end().await;
}

/// A vendor that refuses one token, but only once all who have it came.
struct Revoking {
    calls: AtomicUsize,
    all: tokio::sync::Barrier,
    revoked: HeaderValue,
}

impl<'a> Service<UpstreamRequest> for &'a Revoking {
    type Response = Reply;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, TransportError>> + Send + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, exchange: UpstreamRequest) -> Self::Future {
        let vendor = *self;
        Box::pin(async move {
            vendor.calls.fetch_add(1, Ordering::Relaxed);
            let mut answer = Response::new(Bytes::new());
            if exchange.request.headers()[header::AUTHORIZATION] == vendor.revoked {
                *answer.status_mut() = http::StatusCode::UNAUTHORIZED;
                vendor.all.wait().await;
            }
            Ok(answer.into())
        })
    }
}

/// All of the thousand are refused before the first asks for another token, and ask before it is there, whatever the
/// machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_refusals_at_once_are_one_token_request_and_one_repeat_each() {
    let rig = Rig::new().await;
    let settings = rig.settings(OAUTH, &rig.oauth2(""), "");
    let credentials = Credentials::new(&settings.upstreams["it"]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let revoked = credentials.current(&deadline.into()).await.unwrap().header().clone();
    rig.token_fault(json!({"mode": "delay", "delay_ms": 500})).await;
    let vendor = Revoking { calls: AtomicUsize::new(0), all: tokio::sync::Barrier::new(MANY), revoked };
    let service = Arc::new(Authorize::new(vendor, header::AUTHORIZATION, credentials.clone()));
    let tasks: Vec<_> = (0..MANY)
        .map(|_| {
            let exchange = UpstreamRequest::new(Request::new(Bytes::new()), deadline);
            let service = Arc::clone(&service);
            tokio::spawn(async move { service.as_ref().oneshot(exchange).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    // The first token was asked for before it was revoked.
    let requests = rig.token_requests().await - 1;
    record(&format!("token requests for a revoked token, {MANY} waiting"), requests, MANY);
    for answer in answers {
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert_eq!(service.inner().calls.load(Ordering::Relaxed), 2 * MANY);
    assert_eq!(requests, 1);
}
