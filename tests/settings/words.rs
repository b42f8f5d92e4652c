//! The exact words of every sort of fault, with its place.

use crate::support::{UPSTREAM, faults, vendors};

#[test]
fn the_words_of_faults() {
    let table = include_str!("words.txt").replace("${vendors}", &vendors());
    let mut wrong = Vec::new();
    let mut cases = 0;
    // The first paragraph says what the table is, others name its parts.
    for case in table.split("\n\n").skip(1).filter(|case| !case.starts_with('#')) {
        let of_configuration = |line: &&str| !line.starts_with("> ");
        let toml = case.lines().filter(of_configuration).fold(String::new(), |text, line| text + line + "\n");
        let expected: Vec<&str> = case.lines().filter_map(|line| line.strip_prefix("> ")).collect();
        // A key of the root must come first, a table may come last.
        let text =
            if toml.starts_with('[') { format!("{UPSTREAM}{toml}") } else { format!("{toml}{UPSTREAM}") };
        let found = faults(&[("parlance.toml", &text)], &[("SPACED", "hunter2 x")]);
        if found != expected {
            wrong.push(format!("{toml}says {found:#?}\nnot {expected:#?}"));
        }
        cases += 1;
    }
    assert!(cases > 60, "{cases} cases were read");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
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
