//! One vendor account: the way there, and everything that can go wrong on it. It moves bytes, not conversations.

mod authorize;
mod client;
mod connect;
mod trouble;

pub use authorize::{Authorize, AuthorizeLayer};
pub use client::{Client, Exchange, Reply};
pub use connect::{Roots, system_roots};
pub use trouble::{Kind, Trouble};

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::{ServiceBuilder, ServiceExt};

use crate::credentials::Credentials;
use crate::settings;

/// A configured upstream at work. Cheap to share; lives as long as its configuration does.
#[derive(Debug)]
pub struct Upstream {
    /// Its name, as logs and metrics share it.
    pub name: Arc<str>,
    /// What the configuration says.
    pub settings: settings::Upstream,
    /// The gateway's credential at this vendor.
    pub credentials: Credentials,
    stack: LoadShed<ConcurrencyLimit<Authorize<Client>>>,
}

impl Upstream {
    /// Prepares the way to a vendor; connects to nothing yet.
    pub fn new(settings: settings::Upstream) -> Result<Self, String> {
        let client = Client::new(&settings)?;
        let credentials = Credentials::new(&settings)?;
        let header = settings.vendor.spec().credential.header();
        // A request sees the first line first.
        let stack = ServiceBuilder::new()
            // Full is said at once: a queue would only make every caller slow.
            .load_shed()
            // One slow vendor never takes what the others need.
            .concurrency_limit(settings.max_in_flight)
            // Innermost: every attempt has the credential of its own moment, and nothing above sees one.
            .layer(AuthorizeLayer::new(header, credentials.clone()))
            .service(client);
        let name = Arc::from(settings.adapter.name.as_str());
        Ok(Upstream { name, settings, credentials, stack })
    }

    /// Sends a request with the gateway's credential and reads the whole answer, all before `deadline`. The credential is
    /// not in the answer, should the vendor have echoed it.
    pub async fn send(&self, request: Request<Bytes>, deadline: Instant) -> Result<Reply, Trouble> {
        let exchange = Exchange { request, deadline };
        self.stack.clone().oneshot(exchange).await.map_err(|error| match error.downcast::<Trouble>() {
            Ok(trouble) => *trouble,
            // The only other error of this stack is tower's `Overloaded`.
            Err(_) => Trouble::full(self.settings.max_in_flight),
        })
    }
}
