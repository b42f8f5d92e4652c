//! Collector of everything that is read at a scrape.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use super::sheet::MetricsWriter;
use super::vitals::{RuntimeState, RuntimeStats};
use crate::gateway::snapshot::Snapshot;
use crate::idempotency::turns::TurnStats;
use crate::server::ConnectionStats;
use crate::upstream::credentials;
use crate::upstream::{self, CircuitState, Upstream};

/// Collector over the state of one gateway.
#[derive(Debug)]
pub(super) struct RuntimeCollector {
    state: Arc<RuntimeState>,
}

impl RuntimeCollector {
    pub(super) fn new(state: Arc<RuntimeState>) -> Self {
        RuntimeCollector { state }
    }
}

impl Collector for RuntimeCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut MetricsWriter(encoder);
        let snapshot = self.state.live();
        let stats = self.state.stats();
        let upstreams: Vec<Reading<'_>> =
            snapshot.routes.upstreams().values().map(|it| Reading::of(it)).collect();
        requests(out, &self.state, &upstreams)?;
        load(out, &stats)?;
        attempts(out, &upstreams)?;
        circuits(out, &upstreams)?;
        limits(out, &snapshot, &upstreams)?;
        credentials(out, &upstreams)?;
        idempotency(out, &snapshot)?;
        configuration(out, &snapshot, &stats)?;
        process(out, self.state.started, &stats)
    }
}

/// An upstream with its counters at the scrape.
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

/// One sample for each upstream.
fn each<'a, V>(
    upstreams: &'a [Reading<'a>],
    value: impl Fn(&Reading<'a>) -> V,
) -> impl Iterator<Item = ([(&'static str, &'a str); 1], V)> {
    upstreams.iter().map(move |it| ([it.label()], value(it)))
}

fn requests(out: &mut MetricsWriter<'_>, state: &RuntimeState, upstreams: &[Reading<'_>]) -> fmt::Result {
    let of_upstreams = upstreams.iter().flat_map(|it| it.upstream.traffic.answers.series());
    out.histograms(
        "http_server_request_duration",
        "From the head of a request to the head of its answer.",
        state.answers.series().chain(of_upstreams),
    )?;
    out.histograms(
        "http_client_request_duration",
        "From sending a request to a vendor to the end of its answer, for each attempt.",
        upstreams.iter().flat_map(|it| it.upstream.traffic.exchanges()),
    )?;
    let refusals = upstreams.iter().flat_map(|it| {
        it.upstream.traffic.refusals().map(|(code, count)| ([it.label(), ("code", code)], count))
    });
    out.totals(
        "parlance_refusals",
        "Bodies refused before the vendor was called, under each code that they were refused for.",
        refusals,
    )
}

fn load(out: &mut MetricsWriter<'_>, stats: &RuntimeStats) -> fmt::Result {
    out.gauge("parlance_requests_in_flight", None, "Requests that are being answered.", stats.running)?;
    out.total(
        "parlance_requests_shed",
        "Requests refused because server.max_in_flight were being answered.",
        stats.shed,
    )?;
    let listeners = [("api", stats.api), ("admin", stats.admin)];
    let of = |value: fn(&ConnectionStats) -> u64| {
        listeners.iter().map(move |(name, stats)| ([("listener", *name)], value(stats)))
    };
    out.gauges("parlance_connections_open", None, "Connections that are open.", of(|it| it.open))?;
    out.totals("parlance_connections_accepted", "Connections that were accepted.", of(|it| it.accepted))?;
    let failed = listeners.iter().flat_map(|(name, stats)| {
        [("handshake", stats.handshakes_refused), ("slow_head", stats.heads_late), ("cut_off", stats.cut_off)]
            .map(|(reason, count)| ([("listener", *name), ("reason", reason)], count))
    });
    out.totals("parlance_connections_failed", "Connections that did not end by agreement.", failed)
}

fn attempts(out: &mut MetricsWriter<'_>, upstreams: &[Reading<'_>]) -> fmt::Result {
    out.gauges(
        "parlance_upstream_in_flight",
        None,
        "Exchanges with the vendor under way, pauses between attempts included.",
        each(upstreams, |it| it.stats.in_flight),
    )?;
    out.totals(
        "parlance_upstream_shed",
        "Exchanges refused because the upstream's max_in_flight were under way.",
        each(upstreams, |it| it.stats.shed),
    )?;
    let retries = upstreams.iter().flat_map(|it| {
        let retries = it.stats.retries;
        [("unsent", retries.unsent), ("asked", retries.asked), ("unknown", retries.unknown)]
            .map(|(reason, count)| ([it.label(), ("reason", reason)], count))
    });
    out.totals("parlance_upstream_retries", "Further attempts, by what became of the one before.", retries)?;
    out.totals(
        "parlance_upstream_retries_over_budget",
        "Further attempts that were not made because the budget was used up.",
        each(upstreams, |it| it.stats.retries.over_budget),
    )?;
    out.gauges(
        "parlance_upstream_retry_budget",
        None,
        "Further attempts that could be made at once before the budget is used up.",
        each(upstreams, |it| it.stats.retry_budget),
    )?;
    out.totals(
        "parlance_upstream_connections",
        "Connections made to the vendor.",
        each(upstreams, |it| it.stats.connections),
    )?;
    out.totals(
        "parlance_upstream_connections_failed",
        "Attempts to connect to the vendor that failed.",
        each(upstreams, |it| it.stats.connections_failed),
    )
}

fn circuits(out: &mut MetricsWriter<'_>, upstreams: &[Reading<'_>]) -> fmt::Result {
    let state = |it: &Reading<'_>| match it.stats.circuit {
        CircuitState::Closed => 0u64,
        CircuitState::HalfOpen => 1,
        CircuitState::Open => 2,
    };
    out.gauges(
        "parlance_circuit_state",
        None,
        "0: requests go through. 1: one at a time is let through. 2: requests are refused.",
        each(upstreams, state),
    )?;
    out.totals(
        "parlance_circuit_opened",
        "How often the circuit opened.",
        each(upstreams, |it| it.stats.circuit_opened),
    )?;
    out.totals(
        "parlance_circuit_refused",
        "Attempts refused because the circuit was open.",
        each(upstreams, |it| it.stats.circuit_refused),
    )
}

fn limits(out: &mut MetricsWriter<'_>, snapshot: &Snapshot, upstreams: &[Reading<'_>]) -> fmt::Result {
    let callers =
        snapshot.callers.limited().map(|(name, count)| ([("scope", "caller"), ("caller", name)], count));
    let upstreams = upstreams.iter().map(|it| ([("scope", "upstream"), it.label()], it.stats.rate_limited));
    out.totals("parlance_rate_limited", "Requests over a configured rate limit.", callers.chain(upstreams))
}

fn credentials(out: &mut MetricsWriter<'_>, upstreams: &[Reading<'_>]) -> fmt::Result {
    let now = SystemTime::now();
    // Before the first token there is no age.
    let ages = upstreams.iter().filter(|it| it.credential.generation > 0).map(|it| {
        let since = it.credential.changed.unwrap_or(it.upstream.since);
        ([it.label(), ("source", it.credential.source)], seconds_between(since, now))
    });
    out.gauges(
        "parlance_credential_age",
        Some(&Unit::Seconds),
        "For how long the credential has been in use.",
        ages,
    )?;
    let ends = upstreams.iter().filter_map(|it| {
        Some(([it.label()], seconds_between(SystemTime::UNIX_EPOCH, it.credential.expires?)))
    });
    out.gauges(
        "parlance_credential_expiry_timestamp",
        Some(&Unit::Seconds),
        "When the token ends, as Unix time.",
        ends,
    )?;
    out.totals(
        "parlance_credential_renewals",
        "Tokens fetched, or changes of the credential's file taken over.",
        each(upstreams, |it| it.credential.renewed),
    )?;
    out.totals(
        "parlance_credential_failures",
        "Times that no token was had, or that the credential's file became unusable.",
        each(upstreams, |it| it.credential.failed),
    )?;
    out.gauges(
        "parlance_credential_faulty",
        None,
        "1 while the last attempt to renew the credential is one that failed.",
        each(upstreams, |it| u64::from(it.credential.last_error.is_some())),
    )
}

fn idempotency(out: &mut MetricsWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    let stats = snapshot.idempotency.stats();
    let results = [
        ("first", stats.claims),
        ("replayed", stats.replays),
        ("in_progress", stats.conflicts),
        ("reused", stats.reuses),
        ("outcome_unknown", stats.unknown_outcomes),
        ("share_full", stats.full),
        ("not_guaranteed", stats.not_guaranteed),
    ];
    out.totals(
        "parlance_idempotency",
        "Requests with an Idempotency-Key, by what the key came to.",
        results.map(|(result, count)| ([("result", result)], count)),
    )?;
    out.total(
        "parlance_idempotency_released",
        "Keys freed because nothing was done and the request may be sent again.",
        stats.releases,
    )?;
    out.total(
        "parlance_idempotency_store_failures",
        "Calls of the record store that failed.",
        stats.store_failures,
    )?;
    out.total(
        "parlance_idempotency_records_invalid",
        "Records that could not be read.",
        stats.invalid_records,
    )?;
    out.total(
        "parlance_idempotency_records_lost",
        "Answers that could never be recorded: the same request, sent again, is done again.",
        stats.lost_records,
    )?;
    out.total(
        "parlance_idempotency_leases_lost",
        "Keys whose lease ended before their request was done.",
        stats.lost_leases,
    )?;
    out.total(
        "parlance_idempotency_records_evicted",
        "Answers whose body had to leave the memory of this process before its time; their outcome stays.",
        stats.evicted,
    )?;
    out.total(
        "parlance_idempotency_bodies_too_large",
        "Answers recorded without their body, because it is too large.",
        stats.bodies_too_large,
    )?;
    out.gauge("parlance_idempotency_records", None, "Keys in the memory of this process.", stats.entries)?;
    out.gauge(
        "parlance_idempotency_memory",
        Some(&Unit::Bytes),
        "Answers in the memory of this process.",
        stats.bytes,
    )?;
    out.gauge(
        "parlance_idempotency_in_flight",
        None,
        "Requests with a key that are being done, and answers that wait to be recorded.",
        stats.running,
    )?;
    out.gauge(
        "parlance_idempotency_store_up",
        None,
        "1 where the shared store could be reached when it was last needed, or none is used.",
        u64::from(stats.connected),
    )?;
    turns(out, &snapshot.idempotency.turns().stats())
}

fn turns(out: &mut MetricsWriter<'_>, stats: &TurnStats) -> fmt::Result {
    out.total("parlance_turns_waited", "Updates that waited for their turn.", stats.waited)?;
    out.total("parlance_turns_busy", "Updates whose turn had not come at their deadline.", stats.busy)?;
    out.total(
        "parlance_turns_leases_lost",
        "Turns whose lease had ended before their update was sent.",
        stats.lost,
    )?;
    out.gauge("parlance_turns_waiting", None, "Updates that wait for their turn.", stats.waiting)
}

fn configuration(out: &mut MetricsWriter<'_>, snapshot: &Snapshot, stats: &RuntimeStats) -> fmt::Result {
    out.gauge(
        "parlance_config_generation",
        None,
        "Which configuration is at work, counted from 1.",
        snapshot.generation,
    )?;
    out.total("parlance_config_reloads", "Configurations that took the place of another.", stats.reloads)?;
    out.total(
        "parlance_config_reload_rejected",
        "Changed configurations that were rejected whole.",
        stats.reloads_rejected,
    )?;
    out.gauge(
        "parlance_config_last_reload_success",
        None,
        "1 where what stands in the files is at work, 0 where it was rejected.",
        u64::from(stats.reloaded),
    )?;
    out.gauge(
        "parlance_config_last_reload_success_timestamp",
        Some(&Unit::Seconds),
        "Since when the configuration is at work, as Unix time.",
        snapshot.since.as_millisecond() as f64 / 1000.0,
    )
}

fn process(out: &mut MetricsWriter<'_>, started: SystemTime, stats: &RuntimeStats) -> fmt::Result {
    out.info("parlance_build", "What runs.", [("version", env!("CARGO_PKG_VERSION"))])?;
    out.gauge(
        "process_start_time",
        Some(&Unit::Seconds),
        "Since when it runs, as Unix time.",
        seconds_between(SystemTime::UNIX_EPOCH, started),
    )?;
    out.gauge(
        "parlance_draining",
        None,
        "1 from the signal to stop on; not ready then.",
        u64::from(stats.draining),
    )?;
    let tasks = tokio::runtime::Handle::try_current().map_or(0, |it| it.metrics().num_alive_tasks());
    out.gauge("parlance_tasks", None, "Tasks of the runtime that are asnapshot.", tasks)?;
    out.total(
        "parlance_log_lines_dropped",
        "Lines of the log that found no room because nobody read standard output.",
        stats.log_dropped,
    )
}

/// Seconds between two times; 0 if the clock was set back.
fn seconds_between(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap_or_default().as_secs_f64()
}
