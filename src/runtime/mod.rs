//! One running gateway: both listeners over one live configuration, from start to drained.

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

/// How long the last answers may take to reach those who asked: the admin listener's, and those that shutdown ends.
const FLUSH_GRACE: Duration = Duration::from_millis(400);

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    api: SocketAddr,
    admin: SocketAddr,
    live: Arc<ArcSwap<Snapshot>>,
    readiness: Readiness,
    vitals: Arc<RuntimeState>,
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
    pub async fn start(live: Snapshot, log: AccessLog) -> io::Result<Self> {
        let settings = Arc::clone(&live.settings);
        let live = Arc::new(ArcSwap::from_pointee(live));
        let api = BoundListener::new(settings.server.listen).await?;
        let admin = BoundListener::new(settings.admin.listen).await?;
        let (api_address, admin_address) = (api.address(), admin.address());
        let readiness = Readiness::default();
        let (phase, api_phase) = watch::channel(Phase::Serving);
        let (admin_phase, its_phase) = watch::channel(Phase::Serving);
        let vitals = Arc::new(RuntimeState {
            api: Arc::default(),
            admin: Arc::default(),
            load: Arc::default(),
            readiness: readiness.clone(),
            live: Arc::clone(&live),
            log: log.clone(),
            answers: Arc::new(Answers::without_upstream()),
            started: SystemTime::now(),
            reloads: Arc::default(),
        });

        let (load, answers) = (Arc::clone(&vitals.load), Arc::clone(&vitals.answers));
        let shutdown = Shutdown::default();
        let edge = edge::service(Arc::clone(&live), shutdown.clone(), load, log, answers);
        let current = Arc::clone(&live);
        let profile = move || {
            let live = current.load();
            let server = &live.settings.server;
            let limits = Limits { grace: server.drain_timeout + FLUSH_GRACE, ..Limits::from(server) };
            ConnectionConfig { limits, tls: live.tls.clone() }
        };
        let serving = tokio::spawn(api.serve(edge, profile, api_phase, Arc::clone(&vitals.api)));

        let resources = Admin::new(Arc::clone(&live), readiness.clone(), Arc::clone(&vitals), admin_address);
        let current = Arc::clone(&live);
        let profile = move || {
            let limits = Limits { grace: FLUSH_GRACE, ..Limits::from(&current.load().settings.server) };
            ConnectionConfig { limits, tls: None }
        };
        let serving_admin =
            tokio::spawn(admin.serve(resources, profile, its_phase, Arc::clone(&vitals.admin)));

        readiness.set(true);
        tracing::info!(listener = "api", address = %api_address, "listening");
        tracing::info!(listener = "admin", address = %admin_address, "listening");
        Ok(Gateway {
            api: api_address,
            admin: admin_address,
            live,
            readiness,
            vitals,
            phase,
            admin_phase,
            shutdown,
            serving,
            serving_admin,
            reload: Arc::default(),
            reloading: None,
        })
    }

    /// The API listener's address.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// The admin listener's address.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The configuration at work just now.
    pub fn live(&self) -> Arc<Snapshot> {
        self.live.load_full()
    }

    /// What its parts count.
    pub fn vitals(&self) -> Arc<RuntimeState> {
        Arc::clone(&self.vitals)
    }

    /// Follows the source that its configuration was made of: changes are at work within about a second.
    pub fn follow(&mut self, source: Source) {
        let reloader = Reloader::new(source, Arc::clone(&self.live), Arc::clone(&self.vitals.reloads));
        let following = tokio::spawn(reloader.run(Arc::clone(&self.reload))).abort_handle();
        if let Some(before) = self.reloading.replace(following) {
            before.abort();
        }
    }

    /// Reads the source that is followed again, changed or not.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Waits for the end of a listener that was not told to end, which only a defect brings about. Cancel safe.
    pub async fn ended(&mut self) {
        tokio::select! {
            _ = &mut self.serving => {}
            _ = &mut self.serving_admin => {}
        }
    }

    /// Says that it is not ready, goes on serving for `drain_delay`, then takes nothing new and finishes what is in
    /// flight. What still runs after `drain_timeout` is answered at once, with what is known of it by then. Gives whether
    /// everything was answered.
    pub async fn drain(self) -> bool {
        let delay = self.live.load().settings.server.drain_delay;
        if let Some(reloading) = &self.reloading {
            reloading.abort();
        }
        self.readiness.set(false);
        tracing::info!(delay_ms = delay.as_millis(), "draining");
        self.phase.send_replace(Phase::Leaving);
        tokio::time::sleep(delay).await;
        self.phase.send_replace(Phase::Stopping);
        let live = self.live.load_full();
        let limit = Instant::now() + live.settings.server.drain_timeout;
        let serving = self.serving;
        let mut finish = pin!(async {
            let answered = serving.await.unwrap_or(false);
            // Updates with a key run on when their callers have gone.
            answered & timeout_at(limit + FLUSH_GRACE, live.idempotency.idle()).await.is_ok()
        });
        let in_time = timeout_at(limit, finish.as_mut()).await;
        if in_time.is_err() {
            let requests = self.vitals.load.running();
            tracing::warn!(requests, "server.drain_timeout is over: what still runs is answered now");
            self.shutdown.trigger();
        }
        self.admin_phase.send_replace(Phase::Stopping);
        let finished = match in_time {
            Ok(finished) => finished,
            Err(_) => finish.await,
        };
        // Nobody is owed an answer about the health of what has stopped.
        let _ = self.serving_admin.await;
        tracing::info!(finished, "stopped");
        finished
    }
}
