//! Upstreams: what each sets itself, else `[defaults]`, else the built-in default.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderValue;
use parlance_adapters::{ALL, SettingPlacement, Spec};
use serde_json::Value;

use super::checker::Checker;
use crate::settings::checked::{Circuit, Rate, Upstream, Vendor};
use crate::settings::diagnose::{TRY_DEMO, did_you_mean};
use crate::settings::raw::units::{Size, Time};
use crate::settings::raw::upstream::{self as raw, BUILTIN, Shared};
use crate::settings::secret::Secret;
use crate::settings::typed::Extras;
use crate::settings::value_error::ValueError;

/// All upstreams that are good enough to be used; whatever is wrong with the others was noted.
pub(crate) fn upstreams(
    checker: &mut Checker<'_>,
    raw: &BTreeMap<String, raw::Upstream>,
    defaults: &Shared,
    extras: &Extras,
) -> BTreeMap<String, Upstream> {
    if raw.is_empty() && !checker.faults.lost_part_of("upstreams") {
        let vendors: Vec<&str> = ALL.iter().map(|vendor| vendor.spec().vendor).collect();
        let message = format!(
            "there is none: add a table [upstreams.<name>] with vendor ({}) and credential{TRY_DEMO}",
            vendors.join(", ")
        );
        checker.faults.add("upstreams", message);
    }
    ranges(checker, "defaults", defaults);
    if defaults.connect_timeout.is_some() || defaults.timeout.is_some() {
        timeouts(checker, "defaults", defaults);
    }
    let none = BTreeMap::new();
    let mut upstreams = BTreeMap::new();
    for (name, table) in raw {
        let checked = upstream(checker, name, table, defaults, extras.get(name).unwrap_or(&none));
        upstreams.extend(checked.map(|upstream| (name.clone(), upstream)));
    }
    upstreams
}

fn upstream(
    checker: &mut Checker<'_>,
    name: &str,
    raw: &raw::Upstream,
    defaults: &Shared,
    extras: &BTreeMap<String, Value>,
) -> Option<Upstream> {
    let outer = format!("upstreams.{name}");
    upstream_name(checker, &outer, name);
    let vendor = vendor(checker, &outer, raw.vendor.as_deref());
    let own = raw.shared();
    ranges(checker, &outer, &own);
    let overridden = own.connect_timeout.is_some() || own.timeout.is_some();
    let shared = own.or(defaults);
    if overridden {
        timeouts(checker, &outer, &shared);
    }
    let allow_plain_http = shared.allow_plain_http.unwrap_or(BUILTIN.allow_plain_http);
    let allow_private = shared.allow_private.unwrap_or(BUILTIN.allow_private);
    let spec = vendor.map(|vendor| vendor.spec());
    let base_url = raw.base_url.as_deref().or(spec.map(|spec| spec.base_url));
    let origin = base_url.and_then(|url| checker.url(&format!("{outer}.base_url"), url, allow_plain_http));
    let (settings, headers) = settings(checker, &outer, spec, extras);
    let credential =
        checker.credential(&outer, raw.credential.as_ref(), spec, allow_plain_http, allow_private);
    let ca_file = shared.ca_file.as_ref().and_then(|path| {
        let key =
            if raw.ca_file.is_some() { format!("{outer}.ca_file") } else { "defaults.ca_file".to_owned() };
        checker.pem(&key, path, "CERTIFICATE-----")
    });
    let (vendor, spec, (origin, named)) = (vendor?, spec?, origin?);
    let timeout = shared.timeout.unwrap_or(BUILTIN.timeout).0;
    // A published limit is the vendor's own: another base URL (a proxy, a test) has limits that only its operator knows.
    let published = spec
        .rate_limit
        .filter(|_| raw.base_url.is_none())
        .map(|(requests, seconds)| Rate { requests, per: Duration::from_secs(seconds.into()) });
    Some(Upstream {
        vendor,
        adapter: parlance_adapters::VendorEndpoint {
            name: name.to_owned(),
            origin,
            settings,
            headers,
            allow_vendor_fields: shared.allow_vendor_fields.unwrap_or(BUILTIN.allow_vendor_fields),
        },
        credential: credential?,
        ca_file,
        connect_timeout: shared.connect_timeout.map_or(timeout.min(BUILTIN.connect_timeout.0), |time| time.0),
        timeout,
        max_response: shared.max_response.unwrap_or(BUILTIN.max_response).0,
        max_in_flight: whole(shared.max_in_flight, BUILTIN.max_in_flight),
        max_attempts: whole(shared.max_attempts, BUILTIN.max_attempts),
        retry_unknown: shared.retry_unknown.unwrap_or(spec.idempotency_key),
        allow_private: allow_private || named,
        allow_plain_http,
        pool_idle_timeout: shared.pool_idle_timeout.unwrap_or(BUILTIN.pool_idle_timeout).0,
        max_connection_age: shared.max_connection_age.unwrap_or(BUILTIN.max_connection_age).0,
        http2: shared.http2.unwrap_or(BUILTIN.http2),
        rate_limit: shared.rate_limit.map_or(published, |limit| limit.0),
        circuit: circuit(raw.circuit.as_ref(), defaults.circuit.as_ref()),
    })
}

fn upstream_name(checker: &mut Checker<'_>, key: &str, name: &str) {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.starts_with(known) && name.chars().all(|c| known(c) || c == '_' || c == '-');
    if !good || name.len() > 64 {
        let message = "is no name of an upstream: 1 to 64 lower-case letters, digits, '_' and '-', a letter or digit first";
        checker.faults.add(key, message);
    }
}

fn vendor(checker: &mut Checker<'_>, outer: &str, name: Option<&str>) -> Option<Vendor> {
    let key = format!("{outer}.vendor");
    let known: Vec<&str> = ALL.iter().map(|vendor| vendor.spec().vendor).collect();
    let Some(name) = name else {
        checker.faults.add(&key, format!("is missing; known: {}", known.join(", ")));
        return None;
    };
    let found = parlance_adapters::vendor(name).map(Vendor);
    if found.is_none() {
        checker.faults.add(&key, format!("'{name}' is no known vendor; {}", did_you_mean(name, &known)));
    }
    found
}

type Settings = (Vec<(&'static str, String)>, Vec<(http::HeaderName, HeaderValue)>);

/// The settings that only this vendor has.
fn settings(
    checker: &mut Checker<'_>,
    outer: &str,
    spec: Option<&Spec>,
    extras: &BTreeMap<String, Value>,
) -> Settings {
    let (mut settings, mut headers) = (Vec::new(), Vec::new());
    for (name, value) in extras {
        let key = format!("{outer}.{name}");
        let Some(spec) = spec else { continue };
        let Some(setting) = spec.settings.iter().find(|setting| setting.key == name) else {
            let theirs = ALL.iter().map(|vendor| vendor.spec());
            let owners: Vec<&str> = theirs
                .filter(|other| other.settings.iter().any(|setting| setting.key == name))
                .map(|other| other.vendor)
                .collect();
            let message = format!("is a setting of {} only, not of {}", owners.join(" and "), spec.vendor);
            checker.faults.add(&key, message);
            continue;
        };
        let Some(text) = value.as_str() else {
            checker.faults.add(&key, "must be text in quotes, so that no digit of it is lost");
            continue;
        };
        match setting.place {
            SettingPlacement::Path => {
                if text.is_empty()
                    || text.len() > 512
                    || matches!(text, "." | "..")
                    || text.chars().any(char::is_control)
                {
                    checker
                        .faults
                        .add(&key, "must be an id that can stand in a path: 1 to 512 bytes, not '.' or '..'");
                    continue;
                }
            }
            SettingPlacement::Header(header) => {
                match Secret::header_safe(text)
                    .and(HeaderValue::from_str(text).map_err(|e| ValueError::new(e.to_string())))
                {
                    Ok(value) => headers.push((http::HeaderName::from_static(header), value)),
                    Err(what) => {
                        checker.faults.add(&key, what);
                        continue;
                    }
                }
            }
        }
        settings.push((setting.key, text.to_owned()));
    }
    (settings, headers)
}

/// Checks that each given value is within its range.
fn ranges(checker: &mut Checker<'_>, outer: &str, shared: &Shared) {
    let hour = Time::secs(3600);
    for (name, time) in [
        ("connect_timeout", shared.connect_timeout),
        ("timeout", shared.timeout),
        ("pool_idle_timeout", shared.pool_idle_timeout),
    ] {
        time.map(|time| checker.time(&format!("{outer}.{name}"), time, hour));
    }
    let age = shared.max_connection_age;
    age.map(|age| checker.time(&format!("{outer}.max_connection_age"), age, Time::secs(24 * 3600)));
    shared.max_response.map(|size| checker.size(&format!("{outer}.max_response"), size, Size::mib(256)));
    shared.max_in_flight.map(|number| checker.count(&format!("{outer}.max_in_flight"), number, 1..=100_000));
    shared.max_attempts.map(|number| checker.count(&format!("{outer}.max_attempts"), number, 1..=10));
    let Some(circuit) = &shared.circuit else { return };
    let outer = format!("{outer}.circuit");
    circuit.failures.map(|number| checker.count(&format!("{outer}.failures"), number, 0..=100_000));
    circuit.min_requests.map(|number| checker.count(&format!("{outer}.min_requests"), number, 1..=100_000));
    for (name, time) in
        [("window", circuit.window), ("open_for", circuit.open_for), ("open_for_max", circuit.open_for_max)]
    {
        time.map(|time| checker.time(&format!("{outer}.{name}"), time, hour));
    }
    if circuit.success_rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
        checker.faults.add(&format!("{outer}.success_rate"), "must be from 0.0 to 1.0");
    }
    if let (Some(first), Some(most)) = (circuit.open_for, circuit.open_for_max)
        && first.0 > most.0
    {
        checker
            .faults
            .add(&format!("{outer}.open_for"), format!("is {first}, longer than open_for_max ({most})"));
    }
}

/// Connecting is a part of the whole, so it cannot be given longer.
fn timeouts(checker: &mut Checker<'_>, outer: &str, shared: &Shared) {
    let Some(connect) = shared.connect_timeout else { return };
    let whole = shared.timeout.unwrap_or(BUILTIN.timeout);
    if connect.0 > whole.0 {
        let key = format!("{outer}.connect_timeout");
        let message = format!("is {connect}, longer than timeout ({whole}), which covers connecting too");
        checker.faults.add(&key, message);
    }
}

fn circuit(own: Option<&raw::Circuit>, defaults: Option<&raw::Circuit>) -> Circuit {
    fn pick<T: Copy>(
        own: Option<&raw::Circuit>,
        defaults: Option<&raw::Circuit>,
        field: impl Fn(&raw::Circuit) -> Option<T>,
    ) -> Option<T> {
        own.and_then(&field).or_else(|| defaults.and_then(&field))
    }
    let time = |given: Option<Time>, default: Time| given.unwrap_or(default).0;
    let open_for = pick(own, defaults, |circuit| circuit.open_for);
    let open_for = time(open_for, BUILTIN.open_for);
    Circuit {
        failures: whole(pick(own, defaults, |circuit| circuit.failures), BUILTIN.failures),
        window: time(pick(own, defaults, |circuit| circuit.window), BUILTIN.window),
        min_requests: whole(pick(own, defaults, |circuit| circuit.min_requests), BUILTIN.min_requests),
        success_rate: pick(own, defaults, |circuit| circuit.success_rate).unwrap_or(BUILTIN.success_rate),
        open_for,
        open_for_max: time(pick(own, defaults, |circuit| circuit.open_for_max), BUILTIN.open_for_max)
            .max(open_for),
    }
}

/// A number whose range was checked.
fn whole<T: TryFrom<u64>>(given: Option<u64>, default: T) -> T {
    given.and_then(|number| T::try_from(number).ok()).unwrap_or(default)
}
