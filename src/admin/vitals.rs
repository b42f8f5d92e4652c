//! State of the running process that the admin API reports; `runtime` fills it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::edge::InFlight;
use crate::gateway::snapshot::Snapshot;
use crate::server::{ConnectionStats, Connections};
use crate::telemetry::access::AccessLog;
use crate::telemetry::traffic::Answers;

/// State and counters of a running gateway.
#[derive(Debug)]
pub struct RuntimeState {
    /// Connections of the API listener.
    pub api: Arc<Connections>,
    /// Connections of the admin listener.
    pub admin: Arc<Connections>,
    /// Requests of the API listener that are in flight.
    pub load: Arc<InFlight>,
    /// Readiness that `/readyz` reports.
    pub readiness: Readiness,
    /// Active configuration.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Access log, for its count of dropped lines.
    pub log: AccessLog,
    /// Responses to requests for which no upstream was chosen.
    pub answers: Arc<Answers>,
    /// Start of the process.
    pub started: SystemTime,
    /// Results of reloads.
    pub reloads: Arc<Reloads>,
}

/// Snapshot of the counters of a gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RuntimeStats {
    /// Connections of the API listener.
    pub api: ConnectionStats,
    /// Connections of the admin listener.
    pub admin: ConnectionStats,
    /// Requests of the API listener that are in flight.
    pub running: usize,
    /// Requests of the API listener that were refused because `server.max_in_flight` was reached.
    pub shed: u64,
    /// Number of the active configuration, counted from 1.
    pub generation: u64,
    /// Reloads that were applied.
    pub reloads: u64,
    /// Reloads that were rejected.
    pub reloads_rejected: u64,
    /// True while the active configuration is the one in the files.
    pub reloaded: bool,
    /// True from the start of draining.
    pub draining: bool,
    /// Log lines that were dropped because the queue was full.
    pub log_dropped: u64,
}

impl RuntimeState {
    /// Returns the active configuration.
    pub fn live(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Reads the counters.
    pub fn stats(&self) -> RuntimeStats {
        RuntimeStats {
            api: self.api.stats(),
            admin: self.admin.stats(),
            running: self.load.running(),
            shed: self.load.shed(),
            generation: self.snapshot.load().generation,
            reloads: self.reloads.applied(),
            reloads_rejected: self.reloads.rejected(),
            reloaded: self.reloads.rejection().is_none(),
            draining: !self.readiness.get(),
            log_dropped: self.log.dropped(),
        }
    }
}

/// Readiness flag. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets the flag.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Returns the flag.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Results of reloads.
#[derive(Debug, Default)]
pub struct Reloads {
    applied: AtomicU64,
    rejected: AtomicU64,
    rejection: ArcSwapOption<Rejection>,
}

/// Faults of a rejected reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Time of the first attempt with these faults.
    pub at: Timestamp,
    /// All faults, with their places and without a secret.
    pub faults: Vec<String>,
}

impl Reloads {
    /// Reloads that were applied.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// Reloads that were rejected. Repeated attempts with the same faults count once.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Latest rejection; `None` while the active configuration is the one in the files.
    pub fn rejection(&self) -> Option<Arc<Rejection>> {
        self.rejection.load_full()
    }

    /// JSON for `/config`.
    pub fn shown(&self, snapshot: &Snapshot) -> Value {
        json!({
            "generation": snapshot.generation,
            "loaded_at": snapshot.since.to_string(),
            "reloads": self.applied(),
            "reloads_rejected": self.rejected(),
            "last_rejection": self.rejection().map(|rejection| json!({
                "at": rejection.at.to_string(),
                "faults": rejection.faults,
            })),
        })
    }

    pub(crate) fn record_applied(&self, generation: u64) {
        self.applied.fetch_add(1, Ordering::Relaxed);
        self.rejection.store(None);
        tracing::info!(generation, "a changed configuration is at work");
    }

    pub(crate) fn record_rejected(&self, faults: Vec<String>) {
        if self.rejection().is_some_and(|known| known.faults == faults) {
            return;
        }
        self.rejected.fetch_add(1, Ordering::Relaxed);
        for fault in &faults {
            tracing::error!(fault, "the changed configuration is rejected, the old one stays at work");
        }
        self.rejection.store(Some(Arc::new(Rejection { at: Timestamp::now(), faults })));
    }
}
