//! Defaults, files and environment on top of one another.

use std::time::Duration;

use parlance::settings::{self, OnStoreFailure, Store};
use serde_json::{Value, json};

use crate::support::{HASH, UPSTREAM, faults, good, load};

#[test]
fn the_environment_comes_last() {
    let settings = load(
        &[("parlance.toml", &format!("{UPSTREAM}[server]\nmax_connections = 5\n"))],
        &[
            ("PARLANCE__SERVER__MAX_CONNECTIONS", "7"),
            ("PARLANCE__LOG__ACCESS", "false"),
            ("PARLANCE__LOG__LEVEL", ""),
            ("PARLANCE__DEFAULTS__CIRCUIT__SUCCESS_RATE", "0.25"),
            ("PARLANCE__UPSTREAMS__SALES__BASE_URL", "http://127.0.0.1:9"),
            ("PARLANCE__UPSTREAMS__BOT__VENDOR", "chatling"),
            ("PARLANCE__UPSTREAMS__BOT__CHATBOT_ID", "0123"),
            ("PARLANCE__UPSTREAMS__BOT__CREDENTIAL__ENV", "BOT"),
            ("PARLANCE_PORT", "tcp://10.0.0.1:80"),
            ("PARLANCE_SERVER__LISTEN", "ignored"),
            ("BOT", "bot-key"),
        ],
    )
    .unwrap();
    assert_eq!(settings.server.max_connections, 7);
    assert!(!settings.log.access);
    assert_eq!(settings.log.level, "info");
    let sales = &settings.upstreams["sales"];
    assert_eq!(sales.circuit.success_rate, 0.25);
    assert_eq!(sales.adapter.origin.authority().as_str(), "127.0.0.1:9");
    assert!(sales.allow_private);
    let bot = &settings.upstreams["bot"];
    assert_eq!(bot.adapter.setting("chatbot_id"), Some("0123"));
    assert_eq!(bot.credential.initial().unwrap().expose(), "bot-key");
    assert!(!bot.allow_private);
}

#[test]
fn the_environment_alone_is_a_configuration() {
    let settings = load(
        &[],
        &[
            ("PARLANCE__UPSTREAMS__SALES__VENDOR", "kakiyo"),
            ("PARLANCE__UPSTREAMS__SALES__CREDENTIAL__VALUE", "0042"),
        ],
    )
    .unwrap();
    assert_eq!(settings.upstreams["sales"].credential.initial().unwrap().expose(), "0042");
}

#[test]
fn later_files_win_table_by_table() {
    let base = format!(
        "{UPSTREAM}timeout = \"3s\"\n[server]\nmax_connections = 5\n[[routes]]\nid = \"a\"\nupstream = \"sales\"\n[[routes]]\nid = \"b\"\nupstream = \"sales\"\n"
    );
    let over =
        "upstreams:\n  sales:\n    max_attempts: 1\n    timeout: null\nroutes:\n- id: c\n  upstream: sales\n";
    let settings = load(&[("base.toml", &base), ("over.yaml", over)], &[]).unwrap();
    assert_eq!(settings.upstreams["sales"].max_attempts, 1);
    assert_eq!(settings.upstreams["sales"].timeout, Duration::from_secs(10), "a null takes a value back");
    assert_eq!(settings.server.max_connections, 5);
    assert_eq!(settings.routes.iter().map(|r| r.id.as_ref().unwrap().as_str()).collect::<Vec<_>>(), ["c"]);
    assert_eq!(settings.files.len(), 2);
    // A fault is shown in the file that its value comes from.
    assert_eq!(
        faults(&[("base.toml", &base), ("over.yaml", "routes:\n- id: c\n  upstream: nobody\n")], &[]),
        ["over.yaml:3:3: routes[0].upstream: 'nobody' is no upstream; known: sales"]
    );
}

#[test]
fn the_three_formats_are_equal() {
    let toml = format!(
        "default_upstream = \"a\"\n[server]\nmax_body = \"1KiB\"\n[upstreams.a]\nvendor = \"chatling\"\nchatbot_id = \"007\"\ncredential.value = \"k\"\nhttp2 = false\ncircuit.success_rate = 0.75\n[[routes]]\nid = \"x*\"\nheaders = {{ x-a = \"1\" }}\nupstream = \"a\"\n[[callers]]\nname = \"c\"\nkey_sha256 = [\"{HASH}\"]\n"
    );
    let yaml = format!(
        "default_upstream: a\nserver:\n  max_body: 1KiB\nupstreams:\n  a:\n    vendor: chatling\n    chatbot_id: '007'\n    credential: {{ value: k }}\n    http2: false\n    circuit: {{ success_rate: 0.75 }}\nroutes:\n- id: x*\n  headers: {{ x-a: '1' }}\n  upstream: a\ncallers:\n- name: c\n  key_sha256: [\"{HASH}\"]\nadmin:\n"
    );
    let json = json!({
        "$schema": "x.json", "default_upstream": "a", "server": { "max_body": "1KiB" },
        "upstreams": { "a": { "vendor": "chatling", "chatbot_id": "007", "credential": { "value": "k" }, "http2": false,
            "circuit": { "success_rate": 0.75 } } },
        "routes": [{ "id": "x*", "headers": { "x-a": "1" }, "upstream": "a" }],
        "callers": [{ "name": "c", "key_sha256": [HASH] }], "log": null,
    })
    .to_string();
    let shown = |name: &str, text: &str| {
        let mut shown = settings::redacted(&load(&[(name, text)], &[]).unwrap());
        shown["files"] = Value::Null;
        shown
    };
    let expected = shown("p.toml", &toml);
    assert_eq!(expected["upstreams"]["a"]["chatbot_id"], "007");
    assert_eq!(shown("p.yaml", &yaml), expected);
    assert_eq!(shown("p.yml", &yaml), expected);
    assert_eq!(shown("p.json", &json), expected);
}

#[test]
fn built_in_defaults() {
    let settings = good(
        "[upstreams.a]\nvendor = \"cuadra\"\ncredential.value = \"k\"\n[upstreams.b]\nvendor = \"chatling\"\ncredential.value = \"k\"\n",
    );
    let server = &settings.server;
    assert_eq!(server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:9090");
    assert_eq!((server.max_body, server.max_connections, server.max_in_flight), (256 * 1024, 4096, 1024));
    assert_eq!(server.drain_delay, Duration::from_secs(5));
    assert_eq!(server.drain_timeout, Duration::from_secs(25));
    assert!(server.workers.is_none() && server.tls.is_none() && settings.admin.token.is_none());
    let (a, b) = (&settings.upstreams["a"], &settings.upstreams["b"]);
    assert_eq!(a.connect_timeout, Duration::from_secs(2));
    assert_eq!(a.timeout, Duration::from_secs(10));
    assert_eq!((a.max_response, a.max_in_flight, a.max_attempts), (8 * 1024 * 1024, 256, 3));
    assert!(a.retry_unknown && !b.retry_unknown, "only where the vendor takes an idempotency key");
    for upstream in [a, b] {
        let published = upstream.vendor.spec().rate_limit;
        let limit =
            upstream.rate_limit.map(|rate| (rate.requests, u32::try_from(rate.per.as_secs()).unwrap()));
        assert_eq!(limit, published);
        assert!(
            !upstream.allow_private && !upstream.allow_plain_http && !upstream.adapter.allow_vendor_fields
        );
        assert!(upstream.http2);
    }
    let idempotency = &settings.idempotency;
    assert!(matches!(idempotency.store, Store::Memory));
    assert_eq!((idempotency.ttl, idempotency.lease), (Duration::from_secs(86_400), Duration::from_secs(30)));
    assert_eq!(idempotency.on_store_failure, OnStoreFailure::Refuse);
    assert_eq!((idempotency.max_entries, idempotency.max_bytes), (1_000_000, 64 << 20));
    assert!(idempotency.ca_file.is_none());
    assert!(settings.log.access);
    assert!(settings.routes.is_empty() && settings.callers.is_empty() && settings.default_upstream.is_none());
}

#[test]
fn what_is_derived_from_other_keys() {
    let with = |extra: &str| good(&format!("{UPSTREAM}{extra}"));
    // A short timeout takes connecting with it; a long one takes the lease with it.
    assert_eq!(with("timeout = \"1s\"\n").upstreams["sales"].connect_timeout, Duration::from_secs(1));
    assert_eq!(with("timeout = \"60s\"\n").idempotency.lease, Duration::from_secs(65));
    // An upstream's own key wins over [defaults], key by key.
    let settings = with(
        "timeout = \"4s\"\ncircuit.failures = 2\nrate_limit = \"off\"\n[defaults]\ntimeout = \"5s\"\nmax_attempts = 1\ncircuit.failures = 9\ncircuit.open_for = \"40s\"\nrate_limit = \"5/1s\"\n[upstreams.b]\nvendor = \"kakiyo\"\ncredential.value = \"k\"\n",
    );
    let (sales, b) = (&settings.upstreams["sales"], &settings.upstreams["b"]);
    assert_eq!((sales.timeout, b.timeout), (Duration::from_secs(4), Duration::from_secs(5)));
    assert_eq!((sales.circuit.failures, b.circuit.failures), (2, 9));
    assert_eq!((sales.max_attempts, b.max_attempts), (1, 1));
    assert_eq!(sales.circuit.open_for_max, Duration::from_secs(40));
    assert!(sales.rate_limit.is_none());
    assert_eq!(b.rate_limit.unwrap().to_string(), "5/1s");
    // An address that the operator wrote is meant; a name that turns out to be one is not.
    let private = |url: &str| with(&format!("base_url = \"{url}\"\n")).upstreams["sales"].allow_private;
    for url in ["http://127.0.0.1:9", "http://[::1]:9", "http://localhost:9", "https://10.0.0.5"] {
        assert!(private(url), "{url}");
    }
    assert!(!private("https://api.example.com"));
}
