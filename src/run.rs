//! One running gateway: both listeners over one live configuration, from start to drained.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout_at};

use crate::admin::{Admin, Readiness};
use crate::deadline::Cutoff;
use crate::layers::Load;
use crate::live::Live;
use crate::metrics::Answers;
use crate::reload::{Reloader, Reloads, Source};
use crate::server::{Bound, ConnectionStats, Connections, Limits, Phase, Profile};
use crate::stack;
use crate::telemetry::AccessLog;

/// How long the last answers may take to reach those who asked: the admin listener's, and those of the cutoff.
const FAREWELL: Duration = Duration::from_millis(400);

/// What the parts of a running gateway count. Shared with whoever reads it.
#[derive(Debug)]
pub struct Vitals {
    api: Arc<Connections>,
    admin: Arc<Connections>,
    load: Arc<Load>,
    readiness: Readiness,
    live: Arc<ArcSwap<Live>>,
    log: AccessLog,
    /// Answers to requests for which no upstream was chosen.
    pub answers: Arc<Answers>,
    /// Since when it runs.
    pub started: SystemTime,
    /// What became of the attempts to reload.
    pub reloads: Arc<Reloads>,
}

/// The counters of a gateway at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections of the API listener.
    pub api: ConnectionStats,
    /// Connections of the admin listener.
    pub admin: ConnectionStats,
    /// Requests to the API that are being answered.
    pub running: usize,
    /// Requests to the API that were refused because too many were running.
    pub shed: u64,
    /// Which configuration is at work, counted from 1.
    pub generation: u64,
    /// Configurations that took the place of another.
    pub reloads: u64,
    /// Configurations that were rejected.
    pub reloads_rejected: u64,
    /// Whether what stands in the files is at work.
    pub reloaded: bool,
    /// Whether new requests are no longer welcome.
    pub draining: bool,
    /// Lines of the log that found no room.
    pub log_dropped: u64,
}

impl Vitals {
    /// The configuration at work.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// The counters now.
    pub fn stats(&self) -> Stats {
        Stats {
            api: self.api.stats(),
            admin: self.admin.stats(),
            running: self.load.running(),
            shed: self.load.shed(),
            generation: self.live.load().generation,
            reloads: self.reloads.taken(),
            reloads_rejected: self.reloads.rejected(),
            reloaded: self.reloads.rejection().is_none(),
            draining: !self.readiness.get(),
            log_dropped: self.log.dropped(),
        }
    }
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    api: SocketAddr,
    admin: SocketAddr,
    live: Arc<ArcSwap<Live>>,
    readiness: Readiness,
    vitals: Arc<Vitals>,
    phase: watch::Sender<Phase>,
    admin_phase: watch::Sender<Phase>,
    cutoff: Cutoff,
    serving: JoinHandle<bool>,
    serving_admin: JoinHandle<bool>,
    reload: Arc<Notify>,
    reloading: Option<AbortHandle>,
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
        let (phase, api_phase) = watch::channel(Phase::Serving);
        let (admin_phase, its_phase) = watch::channel(Phase::Serving);
        let vitals = Arc::new(Vitals {
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
        let cutoff = Cutoff::default();
        let edge = stack::edge(Arc::clone(&live), cutoff.clone(), load, log, answers);
        let current = Arc::clone(&live);
        let profile = move || {
            let live = current.load();
            let server = &live.settings.server;
            let limits = Limits { grace: server.drain_timeout + FAREWELL, ..Limits::from(server) };
            Profile { limits, tls: live.tls.clone() }
        };
        let serving = tokio::spawn(api.serve(edge, profile, api_phase, Arc::clone(&vitals.api)));

        let resources = Admin::new(Arc::clone(&live), readiness.clone(), Arc::clone(&vitals), admin_address);
        let current = Arc::clone(&live);
        let profile = move || {
            let limits = Limits { grace: FAREWELL, ..Limits::from(&current.load().settings.server) };
            Profile { limits, tls: None }
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
            cutoff,
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
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// What its parts count.
    pub fn vitals(&self) -> Arc<Vitals> {
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
            answered & timeout_at(limit + FAREWELL, live.idempotency.idle()).await.is_ok()
        });
        let in_time = timeout_at(limit, finish.as_mut()).await;
        if in_time.is_err() {
            let requests = self.vitals.load.running();
            tracing::warn!(requests, "server.drain_timeout is over: what still runs is answered now");
            self.cutoff.cut();
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
