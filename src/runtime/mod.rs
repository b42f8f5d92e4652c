//! A running gateway: start, drain and stop of both listeners over one active configuration.

pub mod reload;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout_at};

use self::reload::{Reloader, Source};
use crate::admin::Admin;
use crate::admin::vitals::{Readiness, RuntimeState};
use crate::edge;
use crate::gateway::snapshot::Snapshot;
use crate::server::{BoundListener, ConnectionConfig, Limits, Phase};
use crate::telemetry::access::AccessLog;
use crate::telemetry::traffic::Answers;
use crate::types::deadline::Shutdown;

/// Grace period for final responses to reach their callers.
const FLUSH_GRACE: Duration = Duration::from_millis(400);

/// A gateway that serves requests.
#[derive(Debug)]
pub struct Gateway {
    api: SocketAddr,
    admin: SocketAddr,
    state: Arc<RuntimeState>,
    phase: watch::Sender<Phase>,
    admin_phase: watch::Sender<Phase>,
    shutdown: Shutdown,
    serving: JoinHandle<bool>,
    serving_admin: JoinHandle<bool>,
    reload: Arc<Notify>,
    reloading: Option<AbortHandle>,
}

impl Gateway {
    /// Binds both listeners and serves.
    ///
    /// # Errors
    /// An address that cannot be bound.
    pub async fn start(snapshot: Snapshot, log: AccessLog) -> io::Result<Self> {
        let settings = Arc::clone(&snapshot.settings);
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let api = BoundListener::new(settings.server.listen).await?;
        let admin = BoundListener::new(settings.admin.listen).await?;
        let (api_address, admin_address) = (api.address(), admin.address());
        let (phase, api_phases) = watch::channel(Phase::Serving);
        let (admin_phase, admin_phases) = watch::channel(Phase::Serving);
        let state = Arc::new(RuntimeState {
            api: Arc::default(),
            admin: Arc::default(),
            load: Arc::default(),
            readiness: Readiness::default(),
            snapshot: Arc::clone(&snapshot),
            log: log.clone(),
            answers: Arc::new(Answers::without_upstream()),
            started: SystemTime::now(),
            reloads: Arc::default(),
        });

        let (load, answers) = (Arc::clone(&state.load), Arc::clone(&state.answers));
        let shutdown = Shutdown::default();
        let edge = edge::service(Arc::clone(&snapshot), shutdown.clone(), load, log, answers);
        let current = Arc::clone(&snapshot);
        let config = move || {
            let snapshot = current.load();
            let server = &snapshot.settings.server;
            let limits = Limits { grace: server.drain_timeout + FLUSH_GRACE, ..Limits::from(server) };
            ConnectionConfig { limits, tls: snapshot.tls.clone() }
        };
        let serving = tokio::spawn(api.serve(edge, config, api_phases, Arc::clone(&state.api)));

        let resources = Admin::new(Arc::clone(&state), admin_address);
        let config = move || {
            let limits = Limits { grace: FLUSH_GRACE, ..Limits::from(&snapshot.load().settings.server) };
            ConnectionConfig { limits, tls: None }
        };
        let serving_admin =
            tokio::spawn(admin.serve(resources, config, admin_phases, Arc::clone(&state.admin)));

        state.readiness.set(true);
        tracing::info!(listener = "api", address = %api_address, "listening");
        tracing::info!(listener = "admin", address = %admin_address, "listening");
        Ok(Gateway {
            api: api_address,
            admin: admin_address,
            state,
            phase,
            admin_phase,
            shutdown,
            serving,
            serving_admin,
            reload: Arc::default(),
            reloading: None,
        })
    }

    /// Address of the API listener.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Address of the admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Active configuration.
    pub fn live(&self) -> Arc<Snapshot> {
        self.state.live()
    }

    /// State and counters.
    pub fn vitals(&self) -> Arc<RuntimeState> {
        Arc::clone(&self.state)
    }

    /// Follows `source`, from which the configuration was loaded. Changes are applied within about 1 s.
    pub fn follow(&mut self, source: Source) {
        let reloader =
            Reloader::new(source, Arc::clone(&self.state.snapshot), Arc::clone(&self.state.reloads));
        let following = tokio::spawn(reloader.run(Arc::clone(&self.reload))).abort_handle();
        if let Some(previous) = self.reloading.replace(following) {
            previous.abort();
        }
    }

    /// Reloads the followed source, changed or not.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Waits until a listener ends by itself, which is a defect. Cancel safe.
    pub async fn ended(&mut self) {
        tokio::select! {
            _ = &mut self.serving => {}
            _ = &mut self.serving_admin => {}
        }
    }

    /// Reports not ready, serves for `drain_delay`, then accepts no connection and finishes the requests in flight. Those
    /// that still run after `drain_timeout` get a response at once, with what is known by then. Returns true if every
    /// request got a response.
    pub async fn drain(self) -> bool {
        let delay = self.state.snapshot.load().settings.server.drain_delay;
        if let Some(reloading) = &self.reloading {
            reloading.abort();
        }
        self.state.readiness.set(false);
        tracing::info!(delay_ms = delay.as_millis(), "draining");
        self.phase.send_replace(Phase::Leaving);
        tokio::time::sleep(delay).await;
        self.phase.send_replace(Phase::Stopping);
        let snapshot = self.state.live();
        let limit = Instant::now() + snapshot.settings.server.drain_timeout;
        let serving = self.serving;
        let mut finish = pin!(async {
            let answered = serving.await.unwrap_or(false);
            // Updates that have a key, or were sent, continue after their callers hang up.
            answered & timeout_at(limit + FLUSH_GRACE, snapshot.idempotency.idle()).await.is_ok()
        });
        let in_time = timeout_at(limit, finish.as_mut()).await;
        if in_time.is_err() {
            let requests = self.state.load.running();
            tracing::warn!(requests, "server.drain_timeout is over: what still runs is answered now");
            self.shutdown.trigger();
        }
        self.admin_phase.send_replace(Phase::Stopping);
        let finished = match in_time {
            Ok(finished) => finished,
            Err(_) => finish.await,
        };
        // Requests to the admin listener are not part of the result.
        let _ = self.serving_admin.await;
        tracing::info!(finished, "stopped");
        finished
    }
}
