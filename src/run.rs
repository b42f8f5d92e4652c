//! One running gateway: both listeners over one live configuration, from start to drained.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{Admin, Readiness};
use crate::api::Api;
use crate::live::Live;
use crate::server::{Bound, Limits};
use crate::stack;
use crate::telemetry::AccessLog;

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    api: SocketAddr,
    admin: SocketAddr,
    live: Arc<ArcSwap<Live>>,
    readiness: Readiness,
    stop: watch::Sender<bool>,
    stop_admin: watch::Sender<bool>,
    serving: JoinHandle<bool>,
    serving_admin: JoinHandle<bool>,
}

impl Gateway {
    /// Binds both listeners and serves.
    pub async fn start(live: Live, log: AccessLog) -> io::Result<Self> {
        let settings = Arc::clone(&live.settings);
        let live = Arc::new(ArcSwap::from_pointee(live));
        let api = Bound::new(settings.server.listen).await?;
        let admin = Bound::new(settings.admin.listen).await?;
        let (api_address, admin_address) = (api.address(), admin.address());
        let readiness = Readiness::default();
        let (stop, stopped) = watch::channel(false);
        let (stop_admin, admin_stopped) = watch::channel(false);

        let limits = Limits::from(&settings.server);
        let edge = stack::edge(Api::new(Arc::clone(&live)), settings.server.max_in_flight, log);
        let serving = tokio::spawn(api.serve(edge, limits.clone(), stopped, settings.server.drain_timeout));
        let resources = Admin::new(Arc::clone(&live), readiness.clone(), admin_address);
        let grace = std::time::Duration::from_secs(1);
        let serving_admin = tokio::spawn(admin.serve(resources, limits, admin_stopped, grace));
        readiness.set(true);
        tracing::info!(listener = "api", address = %api_address, "listening");
        tracing::info!(listener = "admin", address = %admin_address, "listening");
        Ok(Gateway {
            api: api_address,
            admin: admin_address,
            live,
            readiness,
            stop,
            stop_admin,
            serving,
            serving_admin,
        })
    }

    /// What serves now.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// The API listener's address.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// The admin listener's address.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Says that it is not ready, goes on serving for `drain_delay`, then takes nothing new and finishes what is in
    /// flight. Gives whether all of it was finished in time.
    pub async fn drain(self) -> bool {
        let server = self.live.load().settings.server.clone();
        self.readiness.set(false);
        tracing::info!(delay_ms = server.drain_delay.as_millis(), "draining");
        tokio::time::sleep(server.drain_delay).await;
        // The receivers live as long as their tasks, which end only when told to.
        let _ = self.stop.send(true);
        let begun = tokio::time::Instant::now();
        let mut finished = self.serving.await.unwrap_or(false);
        // Updates with a key run on when their callers have gone.
        let live = self.live.load_full();
        finished &=
            tokio::time::timeout_at(begun + server.drain_timeout, live.idempotency.idle()).await.is_ok();
        let _ = self.stop_admin.send(true);
        let _ = self.serving_admin.await;
        tracing::info!(finished, "stopped");
        finished
    }
}
