//! State of the running process that the admin listener shows; `runtime` fills it.

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

/// What the parts of a running gateway count. Shared with whoever reads it.
#[derive(Debug)]
pub struct RuntimeState {
    /// Connections of the API listener.
    pub api: Arc<Connections>,
    /// Connections of the admin listener.
    pub admin: Arc<Connections>,
    /// Requests to the API that are in flight.
    pub load: Arc<InFlight>,
    /// Readiness that `/readyz` reports.
    pub readiness: Readiness,
    /// Configuration at work.
    pub live: Arc<ArcSwap<Snapshot>>,
    /// Access log, for its count of dropped lines.
    pub log: AccessLog,
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

impl RuntimeState {
    /// The configuration at work.
    pub fn live(&self) -> Arc<Snapshot> {
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

/// Whether new requests are welcome.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says so.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether they are.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What became of the attempts to reload.
#[derive(Debug, Default)]
pub struct Reloads {
    taken: AtomicU64,
    rejected: AtomicU64,
    rejection: ArcSwapOption<Rejection>,
}

/// Why the configuration as it stands now is not the one at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// When it was first found.
    pub at: Timestamp,
    /// Every fault, with its place and without a secret.
    pub faults: Vec<String>,
}

impl Reloads {
    /// Configurations that took the place of another.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Configurations that were rejected. One that is tried again and again counts once.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Why what stands in the files is not at work; none while it is.
    pub fn rejection(&self) -> Option<Arc<Rejection>> {
        self.rejection.load_full()
    }

    /// For the admin listener.
    pub fn shown(&self, live: &Snapshot) -> Value {
        json!({
            "generation": live.generation,
            "loaded_at": live.since.to_string(),
            "reloads": self.taken(),
            "reloads_rejected": self.rejected(),
            "last_rejection": self.rejection().map(|rejection| json!({
                "at": rejection.at.to_string(),
                "faults": rejection.faults,
            })),
        })
    }

    pub(crate) fn take(&self, generation: u64) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.rejection.store(None);
        tracing::info!(generation, "a changed configuration is at work");
    }

    pub(crate) fn reject(&self, faults: Vec<String>) {
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
