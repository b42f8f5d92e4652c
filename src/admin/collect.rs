//! Everything that is read at the moment of a scrape.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use super::sheet::MetricsWriter;
use super::vitals::{RuntimeState, Stats};
use crate::gateway::snapshot::Snapshot;
use crate::server::ConnectionStats;
use crate::upstream::credentials;
use crate::upstream::{self, CircuitState, Upstream};

/// The parts of one gateway that count.
#[derive(Debug)]
pub(super) struct RuntimeCollector {
    vitals: Arc<RuntimeState>,
}

impl RuntimeCollector {
    pub(super) fn new(vitals: Arc<RuntimeState>) -> Self {
        RuntimeCollector { vitals }
    }
}

impl Collector for RuntimeCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sheet = &mut MetricsWriter(encoder);
        let live = self.vitals.live();
        let stats = self.vitals.stats();
        let upstreams: Vec<Reading<'_>> =
            live.routes.upstreams().values().map(|it| Reading::of(it)).collect();
        requests(sheet, &self.vitals, &upstreams)?;
        load(sheet, &stats)?;
        attempts(sheet, &upstreams)?;
        circuits(sheet, &upstreams)?;
        limits(sheet, &live, &upstreams)?;
        credentials(sheet, &upstreams)?;
        idempotency(sheet, &live)?;
        configuration(sheet, &live, &stats)?;
        process(sheet, self.vitals.started, &stats)
    }
}

/// An upstream, and its counters at one moment.
struct Reading<'a> {
    upstream: &'a Upstream,
    stats: upstream::Stats,
    credential: credentials::Stats,
}

impl<'a> Reading<'a> {
    fn of(upstream: &'a Upstream) -> Self {
        Reading { upstream, stats: upstream.stats(), credential: upstream.credentials.stats() }
    }

    fn label(&self) -> (&'static str, &'a str) {
        ("upstream", &self.upstream.name)
    }
}

/// One number of each upstream.
fn each<'a, V>(
    upstreams: &'a [Reading<'a>],
    value: impl Fn(&Reading<'a>) -> V,
) -> impl Iterator<Item = ([(&'static str, &'a str); 1], V)> {
    upstreams.iter().map(move |it| ([it.label()], value(it)))
}

fn requests(sheet: &mut MetricsWriter<'_>, vitals: &RuntimeState, upstreams: &[Reading<'_>]) -> fmt::Result {
    let of_upstreams = upstreams.iter().flat_map(|it| it.upstream.traffic.answers.series());
    sheet.histograms(
        "http_server_request_duration",
        "From the head of a request to the head of its answer.",
        vitals.answers.series().chain(of_upstreams),
    )?;
    sheet.histograms(
        "http_client_request_duration",
        "From sending a request to a vendor to the end of its answer, for each attempt.",
        upstreams.iter().flat_map(|it| it.upstream.traffic.exchanges()),
    )?;
    let refusals = upstreams.iter().flat_map(|it| {
        it.upstream.traffic.refusals().map(|(code, count)| ([it.label(), ("code", code)], count))
    });
    sheet.totals(
        "parlance_refusals",
        "Bodies refused before the vendor was called, under each code that they were refused for.",
        refusals,
    )
}

fn load(sheet: &mut MetricsWriter<'_>, stats: &Stats) -> fmt::Result {
    sheet.gauge("parlance_requests_in_flight", None, "Requests that are being answered.", stats.running)?;
    sheet.total(
        "parlance_requests_shed",
        "Requests refused because server.max_in_flight were being answered.",
        stats.shed,
    )?;
    let listeners = [("api", stats.api), ("admin", stats.admin)];
    let of = |value: fn(&ConnectionStats) -> u64| {
        listeners.iter().map(move |(name, stats)| ([("listener", *name)], value(stats)))
    };
    sheet.gauges("parlance_connections_open", None, "Connections that are open.", of(|it| it.open))?;
    sheet.totals("parlance_connections_accepted", "Connections that were accepted.", of(|it| it.accepted))?;
    let failed = listeners.iter().flat_map(|(name, stats)| {
        [("handshake", stats.handshakes_refused), ("slow_head", stats.heads_late), ("cut_off", stats.cut_off)]
            .map(|(reason, count)| ([("listener", *name), ("reason", reason)], count))
    });
    sheet.totals("parlance_connections_failed", "Connections that did not end by agreement.", failed)
}

fn attempts(sheet: &mut MetricsWriter<'_>, upstreams: &[Reading<'_>]) -> fmt::Result {
    sheet.gauges(
        "parlance_upstream_in_flight",
        None,
        "Exchanges with the vendor under way, pauses between attempts included.",
        each(upstreams, |it| it.stats.in_flight),
    )?;
    sheet.totals(
        "parlance_upstream_shed",
        "Exchanges refused because the upstream's max_in_flight were under way.",
        each(upstreams, |it| it.stats.shed),
    )?;
    let retries = upstreams.iter().flat_map(|it| {
        let retries = it.stats.retries;
        [("unsent", retries.unsent), ("asked", retries.asked), ("unknown", retries.unknown)]
            .map(|(reason, count)| ([it.label(), ("reason", reason)], count))
    });
    sheet.totals(
        "parlance_upstream_retries",
        "Further attempts, by what became of the one before.",
        retries,
    )?;
    sheet.totals(
        "parlance_upstream_retries_over_budget",
        "Further attempts that were not made because the budget was used up.",
        each(upstreams, |it| it.stats.retries.over_budget),
    )?;
    sheet.gauges(
        "parlance_upstream_retry_budget",
        None,
        "Further attempts that could be made at once before the budget is used up.",
        each(upstreams, |it| it.stats.retry_budget),
    )?;
    sheet.totals(
        "parlance_upstream_connections",
        "Connections made to the vendor.",
        each(upstreams, |it| it.stats.connections),
    )?;
    sheet.totals(
        "parlance_upstream_connections_failed",
        "Attempts to connect to the vendor that failed.",
        each(upstreams, |it| it.stats.connections_failed),
    )
}

fn circuits(sheet: &mut MetricsWriter<'_>, upstreams: &[Reading<'_>]) -> fmt::Result {
    let state = |it: &Reading<'_>| match it.stats.circuit {
        CircuitState::Closed => 0u64,
        CircuitState::HalfOpen => 1,
        CircuitState::Open => 2,
    };
    sheet.gauges(
        "parlance_circuit_state",
        None,
        "0: requests go through. 1: one at a time is let through. 2: requests are refused.",
        each(upstreams, state),
    )?;
    sheet.totals(
        "parlance_circuit_opened",
        "How often the circuit opened.",
        each(upstreams, |it| it.stats.circuit_opened),
    )?;
    sheet.totals(
        "parlance_circuit_refused",
        "Attempts refused because the circuit was open.",
        each(upstreams, |it| it.stats.circuit_refused),
    )
}

fn limits(sheet: &mut MetricsWriter<'_>, live: &Snapshot, upstreams: &[Reading<'_>]) -> fmt::Result {
    let callers =
        live.callers.limited().map(|(name, count)| ([("scope", "caller"), ("caller", name)], count));
    let upstreams = upstreams.iter().map(|it| ([("scope", "upstream"), it.label()], it.stats.rate_limited));
    sheet.totals("parlance_rate_limited", "Requests over a configured rate limit.", callers.chain(upstreams))
}

fn credentials(sheet: &mut MetricsWriter<'_>, upstreams: &[Reading<'_>]) -> fmt::Result {
    let now = SystemTime::now();
    // Where no token was fetched yet there is none that could be old.
    let ages = upstreams.iter().filter(|it| it.credential.generation > 0).map(|it| {
        let since = it.credential.changed.unwrap_or(it.upstream.since);
        ([it.label(), ("source", it.credential.source)], seconds_between(since, now))
    });
    sheet.gauges(
        "parlance_credential_age",
        Some(&Unit::Seconds),
        "For how long the credential has been in use.",
        ages,
    )?;
    let ends = upstreams.iter().filter_map(|it| {
        Some(([it.label()], seconds_between(SystemTime::UNIX_EPOCH, it.credential.expires?)))
    });
    sheet.gauges(
        "parlance_credential_expiry_timestamp",
        Some(&Unit::Seconds),
        "When the token ends, as Unix time.",
        ends,
    )?;
    sheet.totals(
        "parlance_credential_renewals",
        "Tokens fetched, or changes of the credential's file taken over.",
        each(upstreams, |it| it.credential.renewed),
    )?;
    sheet.totals(
        "parlance_credential_failures",
        "Times that no token was had, or that the credential's file became unusable.",
        each(upstreams, |it| it.credential.failed),
    )?;
    sheet.gauges(
        "parlance_credential_faulty",
        None,
        "1 while the last attempt to renew the credential is one that failed.",
        each(upstreams, |it| u64::from(it.credential.last_error.is_some())),
    )
}

fn idempotency(sheet: &mut MetricsWriter<'_>, live: &Snapshot) -> fmt::Result {
    let stats = live.idempotency.stats();
    let results = [
        ("first", stats.claims),
        ("replayed", stats.replays),
        ("in_progress", stats.conflicts),
        ("reused", stats.reuses),
        ("not_guaranteed", stats.not_guaranteed),
    ];
    sheet.totals(
        "parlance_idempotency",
        "Requests with an Idempotency-Key, by what the key came to.",
        results.map(|(result, count)| ([("result", result)], count)),
    )?;
    sheet.total(
        "parlance_idempotency_released",
        "Keys freed because nothing was done and the request may be sent again.",
        stats.releases,
    )?;
    sheet.total(
        "parlance_idempotency_store_failures",
        "Calls of the record store that failed.",
        stats.store_failures,
    )?;
    sheet.total(
        "parlance_idempotency_records_invalid",
        "Records that could not be read.",
        stats.invalid_records,
    )?;
    sheet.total(
        "parlance_idempotency_records_lost",
        "Answers that could never be recorded: the same request, sent again, is done again.",
        stats.lost_records,
    )?;
    sheet.total(
        "parlance_idempotency_leases_lost",
        "Keys whose lease ended before their request was done.",
        stats.lost_leases,
    )?;
    sheet.total(
        "parlance_idempotency_records_evicted",
        "Answers that had to leave the memory of this process before their time.",
        stats.evicted,
    )?;
    sheet.gauge(
        "parlance_idempotency_records",
        None,
        "Keys in the memory of this process.",
        stats.entries,
    )?;
    sheet.gauge(
        "parlance_idempotency_memory",
        Some(&Unit::Bytes),
        "Answers in the memory of this process.",
        stats.bytes,
    )?;
    sheet.gauge(
        "parlance_idempotency_in_flight",
        None,
        "Requests with a key that are being done, and answers that wait to be recorded.",
        stats.running,
    )?;
    sheet.gauge(
        "parlance_idempotency_store_up",
        None,
        "1 where the shared store could be reached when it was last needed, or none is used.",
        u64::from(stats.connected),
    )
}

fn configuration(sheet: &mut MetricsWriter<'_>, live: &Snapshot, stats: &Stats) -> fmt::Result {
    sheet.gauge(
        "parlance_config_generation",
        None,
        "Which configuration is at work, counted from 1.",
        live.generation,
    )?;
    sheet.total(
        "parlance_config_reloads",
        "Configurations that took the place of another.",
        stats.reloads,
    )?;
    sheet.total(
        "parlance_config_reload_rejected",
        "Changed configurations that were rejected whole.",
        stats.reloads_rejected,
    )?;
    sheet.gauge(
        "parlance_config_last_reload_success",
        None,
        "1 where what stands in the files is at work, 0 where it was rejected.",
        u64::from(stats.reloaded),
    )?;
    sheet.gauge(
        "parlance_config_last_reload_success_timestamp",
        Some(&Unit::Seconds),
        "Since when the configuration is at work, as Unix time.",
        live.since.as_millisecond() as f64 / 1000.0,
    )
}

fn process(sheet: &mut MetricsWriter<'_>, started: SystemTime, stats: &Stats) -> fmt::Result {
    sheet.info("parlance_build", "What runs.", [("version", env!("CARGO_PKG_VERSION"))])?;
    sheet.gauge(
        "process_start_time",
        Some(&Unit::Seconds),
        "Since when it runs, as Unix time.",
        seconds_between(SystemTime::UNIX_EPOCH, started),
    )?;
    sheet.gauge(
        "parlance_draining",
        None,
        "1 from the signal to stop on; not ready then.",
        u64::from(stats.draining),
    )?;
    let tasks = tokio::runtime::Handle::try_current().map_or(0, |it| it.metrics().num_alive_tasks());
    sheet.gauge("parlance_tasks", None, "Tasks of the runtime that are alive.", tasks)?;
    sheet.total(
        "parlance_log_lines_dropped",
        "Lines of the log that found no room because nobody read standard output.",
        stats.log_dropped,
    )
}

/// Zero where a clock was set back in between.
fn seconds_between(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap_or_default().as_secs_f64()
}
