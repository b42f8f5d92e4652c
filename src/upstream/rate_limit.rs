//! Rate limit of one upstream as middleware: keeps to the limit that the vendor publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use tower::Service;

use super::gate::Gated;
use super::transport::{Reply, TransportError, TransportErrorKind, UpstreamRequest};
use crate::settings::Rate;
use crate::types::code::ProxyError;
use crate::types::rate_limiter::RateLimiter;
use crate::types::retry_after::ceil_secs;

/// Rate limiter of one upstream, and its counter. Clones share both.
#[derive(Debug, Clone)]
pub(super) struct Bucket(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None` without a limit.
    limiter: Option<(RateLimiter, Rate)>,
    refused: AtomicU64,
}

impl Bucket {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        let limiter = rate.map(|rate| (RateLimiter::new(rate.requests, rate.per), rate));
        Bucket(Arc::new(Shared { limiter, refused: AtomicU64::new(0) }))
    }

    /// Number of refused requests.
    pub(super) fn refused(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    fn take(&self) -> Result<(), TransportError> {
        let Some((limiter, rate)) = &self.0.limiter else { return Ok(()) };
        limiter.check().map_err(|wait| {
            self.0.refused.fetch_add(1, Relaxed);
            let detail = format!("This upstream may be sent {rate} and was");
            TransportError::shed(
                TransportErrorKind::RateLimited,
                ProxyError::HttpRequestDenied,
                ceil_secs(wait),
                &detail,
            )
        })
    }
}

/// Refuses requests over the limit at once; none waits.
#[derive(Debug)]
pub(super) struct RateLimited<S> {
    pub(super) inner: S,
    pub(super) bucket: Bucket,
}

impl<'a, S> Service<UpstreamRequest> for &'a RateLimited<S>
where
    &'a S: Service<UpstreamRequest, Response = Reply, Error = TransportError>,
{
    type Response = Reply;
    type Error = TransportError;
    type Future = Gated<<&'a S as Service<UpstreamRequest>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        (&self.inner).poll_ready(cx)
    }

    fn call(&mut self, exchange: UpstreamRequest) -> Self::Future {
        match self.bucket.take() {
            Ok(()) => Gated::Passed { inner: (&self.inner).call(exchange) },
            Err(error) => Gated::refused(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::code::Applied;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_its_share_of_the_time() {
        let bucket = Bucket::new(Some(Rate { requests: 4, per: Duration::from_secs(10) }));
        for _ in 0..4 {
            bucket.take().unwrap();
        }
        let error = bucket.take().unwrap_err();
        assert_eq!(
            (error.kind, error.applied, error.retry_after),
            (TransportErrorKind::RateLimited, Applied::No, Some(3))
        );
        tokio::time::advance(Duration::from_millis(2499)).await;
        assert_eq!(bucket.take().unwrap_err().retry_after, Some(1));
        tokio::time::advance(Duration::from_millis(1)).await;
        bucket.take().unwrap();
        assert!(bucket.take().is_err());
        assert_eq!(bucket.refused(), 3);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((0..9).filter(|_| bucket.take().is_ok()).count(), 4, "what is not used is not saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_refuses_nothing() {
        let bucket = Bucket::new(None);
        assert!((0..10_000).all(|_| bucket.take().is_ok()));
    }
}
