//! Middleware that adds the gateway's credential to a request, and repeats it once with another after a 401.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, StatusCode};
use tower::{Service, ServiceExt};

use super::credentials::{Credentials, Key};
use super::transport::{Reply, TransportError, UpstreamRequest};

/// Authorizes every request of the inner service. Stands below the retries, so that each attempt has the current
/// credential. A 401 is repeated at most once, with another credential and before the same deadline. A credential that
/// the vendor echoes is removed from the response, in whatever spelling.
#[derive(Debug)]
pub struct Authorize<S> {
    inner: S,
    header: HeaderName,
    credentials: Credentials,
}

impl<S> Authorize<S> {
    /// A service that sends `credentials` in `header` to `inner`.
    pub fn new(inner: S, header: HeaderName, credentials: Credentials) -> Self {
        Authorize { inner, header, credentials }
    }

    /// The inner service.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<'a, S> Service<UpstreamRequest> for &'a Authorize<S>
where
    S: Sync,
    &'a S: Service<UpstreamRequest, Response = Reply, Error = TransportError, Future: Send>,
{
    type Response = Reply;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, TransportError>> + Send + 'a>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        (&self.inner).poll_ready(cx)
    }

    fn call(&mut self, exchange: UpstreamRequest) -> Self::Future {
        Box::pin(authorized(&self.header, &self.credentials, &self.inner, exchange))
    }
}

async fn authorized<S>(
    header: &HeaderName,
    credentials: &Credentials,
    mut inner: S,
    exchange: UpstreamRequest,
) -> Result<Reply, TransportError>
where
    S: Service<UpstreamRequest, Response = Reply, Error = TransportError>,
{
    let deadline = exchange.deadline.clone();
    let key = credentials.current(&deadline).await?;
    let repeat = credentials.is_renewable().then(|| exchange.clone());
    let reply = attempt(&mut inner, header, &key, exchange).await?;
    let (StatusCode::UNAUTHORIZED, Some(exchange)) = (reply.status(), repeat) else { return Ok(reply) };
    let other = credentials.renew(&key, &deadline).await?;
    if Arc::ptr_eq(&key, &other) {
        return Ok(reply);
    }
    inner.ready().await?;
    let mut reply = attempt(&mut inner, header, &other, exchange).await?;
    // The vendor may still speak of the one that it refused.
    reply.response = reply.response.map(|body| key.redact(body));
    Ok(reply)
}

async fn attempt<S>(
    inner: &mut S,
    header: &HeaderName,
    key: &Key,
    mut exchange: UpstreamRequest,
) -> Result<Reply, TransportError>
where
    S: Service<UpstreamRequest, Response = Reply, Error = TransportError>,
{
    exchange.request.headers_mut().insert(header.clone(), key.header().clone());
    let mut reply = inner.call(exchange).await?;
    if reply.status() != StatusCode::UNAUTHORIZED {
        key.accept();
    }
    reply.response = reply.response.map(|body| key.redact(body));
    Ok(reply)
}
