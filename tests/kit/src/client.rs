//! A client that pools its connections.

use std::fmt::Display;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

use crate::{PATIENCE, Reply, Request};

/// A client that speaks HTTP/1.1 or HTTP/2.
#[derive(Debug, Clone)]
pub struct Client(legacy::Client<HttpConnector, Full<Bytes>>);

/// The end of a request without a reply.
#[derive(Debug)]
pub struct NoReply {
    /// True where something may have been sent.
    pub sent: bool,
}

impl Default for Client {
    fn default() -> Self {
        Client::new(false)
    }
}

impl Client {
    /// A client without connections; with `http2`, it speaks nothing but HTTP/2.
    #[must_use]
    pub fn new(http2: bool) -> Self {
        Client(legacy::Client::builder(TokioExecutor::new()).http2_only(http2).build_http())
    }

    /// Sends a request and waits for the reply.
    pub async fn send(&self, address: impl Display, request: &Request) -> Reply {
        let reply = tokio::time::timeout(PATIENCE, self.try_send(address, request)).await;
        reply.unwrap_or_else(|_| panic!("no reply in time to {request:?}")).unwrap()
    }

    /// Sends a request to a listener, `host:port`.
    ///
    /// # Errors
    ///
    /// Fails when no whole reply comes.
    pub async fn try_send(&self, address: impl Display, request: &Request) -> Result<Reply, NoReply> {
        let mut wanted = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("http://{address}{}", request.target));
        for (name, value) in &request.headers {
            wanted = wanted.header(name, value.as_bytes());
        }
        let wanted = wanted.body(Full::from(request.body.clone())).unwrap();
        let begun = Instant::now();
        let exchange = async {
            let reply =
                self.0.request(wanted).await.map_err(|error| NoReply { sent: !error.is_connect() })?;
            let (head, body) = reply.into_parts();
            let body = body.collect().await.map_err(|_| NoReply { sent: true })?;
            Ok((head, body.to_bytes(), begun.elapsed()))
        };
        exchange.await.map(|(head, body, took): (http::response::Parts, Bytes, Duration)| {
            let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
            Reply { status: head.status.as_u16(), headers: headers.collect(), body: body.into(), took }
        })
    }
}
