//! From typed keys to settings that fit together. Nothing stops at the first fault: every check notes what it finds
//! and goes on with something harmless.

mod callers;
mod checker;
mod credential;
mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use self::checker::Checker;
use crate::settings::checked::{Admin, Idempotency, Log, Server, ServerTls, Settings, Store};
use crate::settings::diagnose::{Faults, did_you_mean};
use crate::settings::raw::credential::StoreText;
use crate::settings::raw::units::{Size, Time};
use crate::settings::raw::{self, Raw};
use crate::settings::typed::Extras;

const HOUR: u64 = 3600;

/// Checks everything; none where something is missing that nothing harmless can stand in for.
pub(crate) fn check(
    raw: Raw,
    extras: &Extras,
    files: &[PathBuf],
    env: &BTreeMap<String, String>,
    faults: &mut Faults,
) -> Option<Settings> {
    let mut checker = Checker { faults, env };
    let server = checker.server(&raw.server);
    let admin = checker.admin(&raw.admin);
    let upstreams = upstream::upstreams(&mut checker, &raw.upstreams, &raw.defaults, extras);
    // Names that are given, even those of faulty upstreams: a reference to one of them is no second fault.
    let names: Vec<String> = {
        let lost = checker.faults.left_out_below("upstreams").map(str::to_owned);
        raw.upstreams.keys().cloned().chain(lost).collect()
    };
    if let Some(name) = &raw.default_upstream {
        checker.known_upstream("default_upstream", name, &names);
    }
    let routes = callers::routes(&mut checker, raw.routes, &names);
    let callers = callers::callers(&mut checker, raw.callers, &names);
    if let (Some(server), Some(admin)) = (&server, &admin) {
        checker.listeners(server, admin, !callers.is_empty());
    }
    let with_client_ca = raw.server.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    for (index, caller) in callers.iter().enumerate() {
        if !caller.certificate_names.is_empty()
            && !with_client_ca
            && !checker.faults.lost_part_of("server.tls")
        {
            let key = format!("callers[{index}].certificate_names");
            checker.faults.add(&key, "needs server.tls.client_ca, without which no certificate is asked for");
        }
    }
    let longest = upstreams.values().map(|upstream| upstream.timeout).max().unwrap_or_default();
    let idempotency = checker.idempotency(&raw.idempotency, longest);
    let log = checker.log(raw.log);
    Some(Settings {
        server: server?,
        admin: admin?,
        default_upstream: raw.default_upstream,
        upstreams,
        routes,
        callers,
        idempotency,
        log,
        files: files.to_vec(),
    })
}

impl Checker<'_> {
    fn server(&mut self, raw: &raw::Server) -> Option<Server> {
        let hour = Time::secs(HOUR);
        let day = Time::secs(24 * HOUR);
        let listen = self.address("server.listen", &raw.listen);
        let server = |listen, workers, tls, checker: &mut Self| Server {
            listen,
            max_body: checker.size("server.max_body", raw.max_body, Size::mib(64)),
            header_timeout: checker.time("server.header_timeout", raw.header_timeout, hour),
            body_timeout: checker.time("server.body_timeout", raw.body_timeout, hour),
            idle_timeout: checker.time("server.idle_timeout", raw.idle_timeout, day),
            max_connection_age: checker.time("server.max_connection_age", raw.max_connection_age, day),
            max_connections: checker.count("server.max_connections", raw.max_connections, 1..=1_000_000),
            max_in_flight: checker.count("server.max_in_flight", raw.max_in_flight, 1..=1_000_000),
            drain_delay: checker.time_or_zero("server.drain_delay", raw.drain_delay, hour),
            drain_timeout: checker.time("server.drain_timeout", raw.drain_timeout, hour),
            workers,
            tls,
        };
        let workers = raw.workers.map(|workers| self.count("server.workers", workers, 1..=1024));
        let tls = raw.tls.as_ref().and_then(|tls| self.tls(tls));
        // An address that cannot be read must not hide the faults of the other keys.
        let checked = server(
            listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
            workers.and_then(NonZeroUsize::new),
            tls,
            self,
        );
        listen.map(|_| checked)
    }

    fn tls(&mut self, raw: &raw::ServerTls) -> Option<ServerTls> {
        let mut file = |name: &str, path: &Option<String>, needed: bool, holds: &str| {
            let key = format!("server.tls.{name}");
            match path {
                Some(path) => self.pem(&key, path, holds),
                None => {
                    if needed {
                        self.faults.add(&key, "is missing: the file, in PEM");
                    }
                    None
                }
            }
        };
        let certificate = file("certificate", &raw.certificate, true, "CERTIFICATE-----");
        let key = file("key", &raw.key, true, "PRIVATE KEY-----");
        let client_ca = file("client_ca", &raw.client_ca, false, "CERTIFICATE-----");
        Some(ServerTls { certificate: certificate?, key: key?, client_ca })
    }

    fn admin(&mut self, raw: &raw::Admin) -> Option<Admin> {
        let listen = self.address("admin.listen", &raw.listen);
        let token = raw.token.as_ref().and_then(|token| self.secret("admin.token", token));
        let token = token.and_then(|token| token.initial().cloned());
        Some(Admin { listen: listen?, token })
    }

    fn listeners(&mut self, server: &Server, admin: &Admin, has_callers: bool) {
        let with_certificates = server.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let lost = self.faults.lost_part_of("callers") || self.faults.lost_part_of("server.tls");
        let named = server.tls.is_none() && self.faults.is_in_file("server.tls.client_ca");
        if !server.listen.ip().is_loopback() && !has_callers && !with_certificates && !lost && !named {
            self.faults.add(
                "server.listen",
                format!(
                    "{} can be reached from other machines, so callers must be known: \
                     add [[callers]] or server.tls.client_ca, or listen on 127.0.0.1",
                    server.listen
                ),
            );
        }
        let (api, other) = (server.listen, admin.listen);
        let overlap = api.ip() == other.ip() || api.ip().is_unspecified() || other.ip().is_unspecified();
        if api.port() == other.port() && api.port() != 0 && overlap {
            let message = format!("{other} is taken by server.listen ({api}): choose another port");
            self.faults.add("admin.listen", message);
        }
    }

    fn idempotency(&mut self, raw: &raw::Idempotency, longest: Duration) -> Idempotency {
        let store = match &raw.store {
            StoreText::Written(text) => self.store(text.clone()),
            StoreText::Found(source) => {
                let url = self.secret("idempotency.store", source);
                url.and_then(|url| url.initial().cloned()).map_or(Store::Memory, |url| self.store(url))
            }
        };
        let needed = longest + Duration::from_secs(5);
        let lease = match raw.lease {
            None => needed.max(Duration::from_secs(30)),
            Some(lease) => {
                let Time(lease) = Time(self.time("idempotency.lease", lease, Time::secs(2 * HOUR)));
                if lease <= longest {
                    let message = format!(
                        "is {}, but must be longer than the longest timeout of an upstream ({}), \
                         else a request that still runs could be done twice",
                        Time(lease),
                        Time(longest)
                    );
                    self.faults.add("idempotency.lease", message);
                }
                lease
            }
        };
        let ca_file = raw.ca_file.as_ref();
        let ca_file = ca_file.and_then(|path| self.pem("idempotency.ca_file", path, "CERTIFICATE-----"));
        Idempotency {
            store,
            ca_file,
            ttl: self.time("idempotency.ttl", raw.ttl, Time::secs(30 * 24 * HOUR)),
            max_entries: self.count("idempotency.max_entries", raw.max_entries, 1..=10_000_000),
            max_bytes: self.size("idempotency.max_bytes", raw.max_bytes, Size::mib(64 * 1024)),
            lease,
            store_timeout: self.time("idempotency.store_timeout", raw.store_timeout, Time::secs(60)),
            on_store_failure: raw.on_store_failure,
        }
    }

    fn log(&mut self, raw: raw::Log) -> Log {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        for directive in raw.level.split(',') {
            let level = directive.rsplit('=').next().unwrap_or_default().trim();
            if !LEVELS.contains(&level) {
                let message = format!("'{level}' is no level; {}", did_you_mean(level, &LEVELS));
                self.faults.add("log.level", message);
            }
        }
        Log { access: raw.access, level: raw.level }
    }
}
