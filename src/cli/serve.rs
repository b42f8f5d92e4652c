//! `parlance serve`: telemetry, then the gateway, until a signal.

use std::io;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::terminal::{CliError, Signals};
use crate::runtime::Gateway;
use crate::runtime::reload::Source;
use crate::telemetry::access::AccessLog;
use crate::telemetry::log::{self, LogQueue};

/// Builds a runtime of `workers` threads; `None` for one for each CPU.
pub(super) fn runtime(workers: Option<usize>) -> io::Result<Runtime> {
    match workers {
        // A single worker needs no work stealing.
        Some(1) => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        Some(workers) => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
        }
        None => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
    }
}

/// Serves until a signal.
pub(super) fn serve(source: Source) -> Result<(), CliError> {
    let settings = source.load().map_err(CliError::faults)?;
    let lines = LogQueue::start(io::stdout())?;
    log::init(&lines, &settings.log.level)?;
    let access = if settings.log.access {
        AccessLog::new(Some(lines.clone()))
    } else {
        AccessLog::without_requests(lines.clone())
    };
    let runtime = runtime(settings.server.workers.map(usize::from))?;
    let served = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let mut hangup = signal(SignalKind::hangup())?;
        let snapshot = source.build(settings, None).map_err(CliError::faults)?;
        let mut gateway = Gateway::start(snapshot, access).await?;
        gateway.follow(source);
        loop {
            tokio::select! {
                () = signals.stop() => break,
                _ = hangup.recv() => gateway.reload(),
                () = gateway.ended() => return Err("a listener ended by a defect".into()),
            }
        }
        tokio::select! {
            finished = gateway.drain() => match finished {
                true => Ok(()),
                false => Err("connections were cut off: they took longer than server.drain_timeout".into()),
            },
            () = signals.stop() => Err("stopped by a second signal before requests in flight were finished".into()),
        }
    });
    // Does not wait for tasks that still run.
    runtime.shutdown_background();
    lines.flush();
    served
}
