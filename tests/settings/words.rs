//! The exact words of every sort of fault, with its place.

use crate::support::{UPSTREAM, faults};

#[test]
fn the_words_of_faults() {
    // Each stands in front of or behind one good upstream, which takes three lines.
    let cases: &[(&str, &[&str])] = &[
        // Types, strictly.
        (
            "default_upstream = 5\n",
            &["parlance.toml:1:1: default_upstream: is a whole number, but text in quotes is expected"],
        ),
        (
            "[server]\nmax_connections = \"12\"\n",
            &[
                "parlance.toml:5:1: server.max_connections: is text, but a whole number without quotes is expected",
            ],
        ),
        (
            "[server]\nmax_connections = 1.9\n",
            &[
                "parlance.toml:5:1: server.max_connections: is a fraction, but a whole number without quotes is expected",
            ],
        ),
        (
            "[server]\nmax_connections = -1\n",
            &["parlance.toml:5:1: server.max_connections: must be a whole number, 0 or more"],
        ),
        (
            "[log]\naccess = \"on\"\n",
            &["parlance.toml:5:1: log.access: is text, but true or false without quotes is expected"],
        ),
        (
            "[server]\nheader_timeout = 5\n",
            &[
                "parlance.toml:5:1: server.header_timeout: is a whole number, but a duration such as \"250ms\", \"2s\", \"5m\" or \"24h\" is expected",
            ],
        ),
        (
            "[server]\nheader_timeout = \"5 s\"\n",
            &[
                "parlance.toml:5:1: server.header_timeout: \"5 s\" is not a duration such as \"250ms\", \"2s\", \"5m\" or \"24h\"",
            ],
        ),
        (
            "[server]\nmax_body = \"1MB\"\n",
            &[
                "parlance.toml:5:1: server.max_body: \"1MB\" is not a size such as \"512B\", \"256KiB\", \"8MiB\" or \"1GiB\"",
            ],
        ),
        ("routes = \"sales\"\n", &["parlance.toml:1:1: routes: is text, but a list is expected"]),
        ("server = 5\n", &["parlance.toml:1:1: server: is a whole number, but a table is expected"]),
        (
            "[idempotency]\non_store_failure = \"ignore\"\n",
            &["parlance.toml:5:1: idempotency.on_store_failure: must be one of: refuse, proceed"],
        ),
        (
            "[defaults]\nrate_limit = \"fast\"\n",
            &[
                "parlance.toml:5:1: defaults.rate_limit: \"fast\" is not a rate such as \"300/60s\", or \"off\"",
            ],
        ),
        // Unknown keys.
        (
            "[server]\nlisten_on = \"127.0.0.1:80\"\n",
            &["parlance.toml:5:1: server.listen_on: is no known key; did you mean 'listen'?"],
        ),
        (
            "[sever]\nlisten = \"127.0.0.1:80\"\n",
            &["parlance.toml:4:2: sever: is no known key; did you mean 'server'?"],
        ),
        (
            "[log]\nformat = \"json\"\n",
            &["parlance.toml:5:1: log.format: is no known key; known: access, level"],
        ),
        (
            "[upstreams.a]\nvendor = \"chatling\"\ncredential = { value = \"k\" }\nchatbotid = \"1\"\n",
            &["parlance.toml:7:1: upstreams.a.chatbotid: is no known key; did you mean 'chatbot_id'?"],
        ),
        (
            "\"server.listen\" = \"127.0.0.1:80\"\n",
            &[
                "parlance.toml:1:1: server.listen: is no known key: dots and brackets cannot stand in a key here, use a table",
            ],
        ),
        // Ranges.
        (
            "[server]\nheader_timeout = \"0s\"\n",
            &["parlance.toml:5:1: server.header_timeout: must be longer than nothing"],
        ),
        ("[server]\nmax_body = \"0B\"\n", &["parlance.toml:5:1: server.max_body: must be at least 1B"]),
        (
            "[server]\nmax_body = \"1GiB\"\n",
            &["parlance.toml:5:1: server.max_body: is 1GiB, but at most 64MiB is allowed"],
        ),
        (
            "[defaults]\ntimeout = \"2h\"\n",
            &["parlance.toml:5:1: defaults.timeout: is 2h, but at most 1h is allowed"],
        ),
        (
            "[defaults]\nmax_attempts = 0\n",
            &["parlance.toml:5:1: defaults.max_attempts: is 0, but must be from 1 to 10"],
        ),
        (
            "[defaults.circuit]\nsuccess_rate = 1.5\n",
            &["parlance.toml:5:1: defaults.circuit.success_rate: must be from 0.0 to 1.0"],
        ),
        (
            "[defaults.circuit]\nopen_for = \"1m\"\nopen_for_max = \"2s\"\n",
            &["parlance.toml:5:1: defaults.circuit.open_for: is 1m, longer than open_for_max (2s)"],
        ),
        (
            "[defaults]\nconnect_timeout = \"5s\"\ntimeout = \"2s\"\n",
            &[
                "parlance.toml:5:1: defaults.connect_timeout: is 5s, longer than timeout (2s), which covers connecting too",
            ],
        ),
        (
            "[idempotency]\nmax_bytes = \"65GiB\"\n",
            &["parlance.toml:5:1: idempotency.max_bytes: is 65GiB, but at most 64GiB is allowed"],
        ),
        (
            "[idempotency]\nca_file = \"/nowhere/ca.pem\"\n",
            &[
                "parlance.toml:5:1: idempotency.ca_file: the file /nowhere/ca.pem cannot be read (no such file or directory)",
            ],
        ),
        (
            "[idempotency]\nlease = \"9s\"\n",
            &[
                "parlance.toml:5:1: idempotency.lease: is 9s, but must be longer than the longest timeout of an upstream (10s), else a request that still runs could be done twice",
            ],
        ),
        (
            "[log]\nlevel = \"inof\"\n",
            &["parlance.toml:5:1: log.level: 'inof' is no level; did you mean 'info'?"],
        ),
        // Listeners.
        (
            "[server]\nlisten = \"localhost\"\n",
            &[
                "parlance.toml:5:1: server.listen: 'localhost' is no address and port such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080",
            ],
        ),
        (
            "[server]\nlisten = \"0.0.0.0:8080\"\n",
            &[
                "parlance.toml:5:1: server.listen: 0.0.0.0:8080 can be reached from other machines, so callers must be known: add [[callers]] or server.tls.client_ca, or listen on 127.0.0.1",
            ],
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:8080\"\n",
            &[
                "parlance.toml:5:1: admin.listen: 0.0.0.0:8080 is taken by server.listen (127.0.0.1:8080): choose another port",
            ],
        ),
        (
            "[server.tls]\ncertificate = \"/nowhere/tls.crt\"\n",
            &[
                "parlance.toml:4:9: server.tls.key: is missing: the file, in PEM",
                "parlance.toml:5:1: server.tls.certificate: the file /nowhere/tls.crt cannot be read (no such file or directory)",
            ],
        ),
        (
            "[admin]\ntoken = \"t0ps3cret\"\n",
            &[
                "parlance.toml:5:1: admin.token: is text, but a table with one of env, file and value, such as { env = \"CLIENT_SECRET\" } is expected",
            ],
        ),
        // Upstreams.
        (
            "[upstreams.a]\nvendor = \"kakyo\"\ncredential = { value = \"k\" }\n",
            &["parlance.toml:5:1: upstreams.a.vendor: 'kakyo' is no known vendor; did you mean 'kakiyo'?"],
        ),
        (
            "[upstreams.a]\ncredential = { value = \"k\" }\n",
            &[
                "parlance.toml:4:12: upstreams.a.vendor: is missing; known: kakiyo, chatling, sigmamind, cuadra, agentphone",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\n",
            &[
                "parlance.toml:4:12: upstreams.a.credential: is missing: such as { env = \"SALES_API_KEY\" } or { file = \"/run/secrets/sales\" }",
            ],
        ),
        (
            "[upstreams.A]\nvendor = \"kakiyo\"\ncredential = { value = \"k\" }\n",
            &[
                "parlance.toml:4:12: upstreams.A: is no name of an upstream: 1 to 64 lower-case letters, digits, '_' and '-', a letter or digit first",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\ncredential = \"hunter2\"\n",
            &[
                "parlance.toml:6:1: upstreams.a.credential: is text, but a table with one of env, file, value and oauth2, such as { env = \"SALES_API_KEY\" } is expected",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\ncredential = {}\n",
            &[
                "parlance.toml:6:1: upstreams.a.credential: must have one of env, file, value and oauth2, such as { env = \"SALES_API_KEY\" } or { file = \"/run/secrets/sales\" }",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\ncredential = { env = \"A\", value = \"b\" }\n",
            &[
                "parlance.toml:6:1: upstreams.a.credential: must have exactly one of env, file, value and oauth2",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\ncredential = { env = \"NO_SUCH\" }\n",
            &[
                "parlance.toml:6:16: upstreams.a.credential.env: the environment variable NO_SUCH is not set or empty",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\ncredential = { env = \"SPACED\" }\n",
            &[
                "parlance.toml:6:16: upstreams.a.credential.env: the value of the environment variable SPACED holds a blank, a line break or another character that no header can carry (character 8 of 9)",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\ncredential = { file = \"/nowhere/key\" }\n",
            &[
                "parlance.toml:6:16: upstreams.a.credential.file: the file /nowhere/key cannot be read (no such file or directory)",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\ncredential = { value = \"\" }\n",
            &["parlance.toml:6:16: upstreams.a.credential.value: is empty"],
        ),
        (
            "[upstreams.a]\nvendor = \"sigmamind\"\ncredential.oauth2 = { token_url = \"https://t.example/x\", client_id = \"c\", client_secret = { value = \"s\" } }\n",
            &[
                "parlance.toml:6:12: upstreams.a.credential.oauth2: cannot be used: sigmamind takes a key in x-api-key, no token",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"cuadra\"\ncredential.oauth2 = { token_url = \"http://t.example/x\" }\n",
            &[
                "parlance.toml:6:12: upstreams.a.credential.oauth2.client_id: is missing",
                "parlance.toml:6:12: upstreams.a.credential.oauth2.client_secret: is missing: such as { env = \"SALES_API_KEY\" } or { file = \"/run/secrets/sales\" }",
                "parlance.toml:6:23: upstreams.a.credential.oauth2.token_url: sends the credential to t.example over plain http, where it can be read on the way: use https, or set allow_plain_http = true",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\nbase_url = \"http://api.example.com\"\ncredential = { value = \"k\" }\n",
            &[
                "parlance.toml:6:1: upstreams.a.base_url: sends the credential to api.example.com over plain http, where it can be read on the way: use https, or set allow_plain_http = true",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\nbase_url = \"https://user:pa55@api.example.com\"\ncredential = { value = \"k\" }\n",
            &["parlance.toml:6:1: upstreams.a.base_url: must not contain a user name or password"],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\nbase_url = \"https://api.example.com/?x=1\"\ncredential = { value = \"k\" }\n",
            &["parlance.toml:6:1: upstreams.a.base_url: must not have a query or a fragment"],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\nbase_url = \"ftp://api.example.com\"\ncredential = { value = \"k\" }\n",
            &[
                "parlance.toml:6:1: upstreams.a.base_url: has the scheme 'ftp', but only http and https are known",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"kakiyo\"\nchatbot_id = \"1\"\ncredential = { value = \"k\" }\n",
            &["parlance.toml:6:1: upstreams.a.chatbot_id: is a setting of chatling only, not of kakiyo"],
        ),
        (
            "[upstreams.a]\nvendor = \"chatling\"\nchatbot_id = 976\ncredential = { value = \"k\" }\n",
            &[
                "parlance.toml:6:1: upstreams.a.chatbot_id: must be text in quotes, so that no digit of it is lost",
            ],
        ),
        (
            "[upstreams.a]\nvendor = \"chatling\"\nchatbot_id = \"..\"\ncredential = { value = \"k\" }\n",
            &[
                "parlance.toml:6:1: upstreams.a.chatbot_id: must be an id that can stand in a path: 1 to 512 bytes, not '.' or '..'",
            ],
        ),
        // References.
        (
            "default_upstream = \"salse\"\n",
            &["parlance.toml:1:1: default_upstream: 'salse' is no upstream; did you mean 'sales'?"],
        ),
        (
            "[[routes]]\nid = \"x\"\nupstream = \"nowhere\"\n",
            &["parlance.toml:6:1: routes[0].upstream: 'nowhere' is no upstream; known: sales"],
        ),
        (
            "[[routes]]\nupstream = \"sales\"\n",
            &[
                "parlance.toml:4:1: routes[0]: names neither id nor headers and would match every conversation; for those that no rule matches there is default_upstream",
            ],
        ),
        (
            "[[routes]]\nid = \"sales:*\"\nupstream = \"sales\"\n",
            &[
                "parlance.toml:5:1: routes[0].id: never matches: ids that begin with 'sales:' go to that upstream without any rule",
            ],
        ),
        (
            "[[routes]]\nheaders = { \"x y\" = \"1\" }\nupstream = \"sales\"\n",
            &["parlance.toml:5:13: routes[0].headers.x y: 'x y' is no name of a header"],
        ),
        (
            "[[routes]]\nid = \"x\"\n",
            &[
                "parlance.toml:4:1: routes[0].upstream: is missing: where conversations go that match this rule",
            ],
        ),
        // Callers.
        (
            "[[callers]]\nname = \"crm\"\n",
            &[
                "parlance.toml:4:1: callers[0]: needs key_sha256 (printf %s \"$KEY\" | sha256sum) or certificate_names",
            ],
        ),
        (
            "[[callers]]\nname = \"crm\"\nkey_sha256 = \"my-plain-key\"\n",
            &[
                "parlance.toml:6:1: callers[0].key_sha256: must be 64 hexadecimal digits: printf %s \"$KEY\" | sha256sum",
            ],
        ),
        (
            "[[callers]]\nname = \"crm\"\nkey_sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n",
            &[
                "parlance.toml:6:1: callers[0].key_sha256: is the hash of an empty key: the variable was not set when it was made",
            ],
        ),
        (
            "[[callers]]\nname = \"crm\"\ncertificate_names = [\"crm\"]\n",
            &[
                "parlance.toml:6:1: callers[0].certificate_names: needs server.tls.client_ca, without which no certificate is asked for",
            ],
        ),
        // The store.
        (
            "[idempotency]\nstore = \"postgres://u:pa55@h/db\"\n",
            &[
                "parlance.toml:5:1: idempotency.store: must be \"memory\" or the URL of a Valkey or Redis such as redis://host:6379/0 or, with TLS, rediss://host:6379/0",
            ],
        ),
    ];
    for (toml, expected) in cases {
        // A key of the root must come first, a table may come last.
        let text =
            if toml.starts_with('[') { format!("{UPSTREAM}{toml}") } else { format!("{toml}{UPSTREAM}") };
        assert_eq!(faults(&[("parlance.toml", &text)], &[("SPACED", "hunter2 x")]), *expected, "{text}");
    }
}

#[test]
fn faults_of_the_environment_name_the_variable() {
    let with = |variables: &[(&str, &str)]| faults(&[("p.toml", UPSTREAM)], variables);
    assert_eq!(
        with(&[("PARLANCE__SERVER__MAX_BODY", "12")]),
        [
            "PARLANCE__SERVER__MAX_BODY: server.max_body: \"12\" is not a size such as \"512B\", \"256KiB\", \"8MiB\" or \"1GiB\""
        ]
    );
    assert_eq!(
        with(&[("PARLANCE__LOG__ACCESS", "on")]),
        ["PARLANCE__LOG__ACCESS: log.access: is text, but true or false without quotes is expected"]
    );
    assert_eq!(
        with(&[("PARLANCE__SERVR__LISTEN", "x"), ("PARLANCE__SERVR__MAX_BODY", "x")]),
        [
            "PARLANCE__SERVR__LISTEN: servr.listen: 'servr' is no known key; did you mean 'server'?",
            "PARLANCE__SERVR__MAX_BODY: servr.max_body: 'servr' is no known key; did you mean 'server'?",
        ]
    );
    assert_eq!(
        with(&[("PARLANCE__SERVER__LISTN", "x")]),
        ["PARLANCE__SERVER__LISTN: server.listn: is no known key; did you mean 'listen'?"]
    );
    assert_eq!(
        with(&[("PARLANCE__SERVER", "x"), ("PARLANCE__SERVER__LISTEN", "127.0.0.1:1")]),
        [
            "PARLANCE__SERVER: sets a value where PARLANCE__SERVER__LISTEN needs a table; give only one of them"
        ]
    );
    assert_eq!(
        with(&[("PARLANCE__ROUTES__0__ID", "x")]),
        [
            "environment: routes: is a table, but a list is expected (lists can be set in files only, not in the environment)"
        ]
    );
    for odd in ["PARLANCE__", "PARLANCE__SERVER__", "PARLANCE____LISTEN", "PARLANCE__ROUTES[0]__ID"] {
        assert_eq!(
            with(&[(odd, "x")]),
            [format!(
                "{odd}: names no key: two underscores stand between levels, as in PARLANCE__SERVER__LISTEN"
            )]
        );
    }
}
