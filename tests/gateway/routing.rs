//! Which upstream serves an id.

use serde_json::json;
use testkit::{Reply, Request};

use crate::setup::with;

type Headers = [(&'static str, &'static str)];

/// The upstream's name and the vendor's id that a dry run gives; or the problem's code.
fn served(answer: &Reply) -> String {
    match answer.status {
        200 => {
            let shown = answer.json();
            let url = shown["request"]["url"].as_str().unwrap();
            let id = match shown["vendor"].as_str() {
                Some("kakiyo") => url.rsplit('/').nth(1),
                _ => url.rsplit('/').next(),
            };
            format!("{} {}", shown["upstream"].as_str().unwrap(), id.unwrap())
        }
        _ => answer.code(),
    }
}

fn dry(id: &str, headers: &Headers) -> Request {
    let mut request = Request::new("PATCH", &format!("/conversations/{id}?dry_run=true"))
        .header("Content-Type", "application/json")
        .body(r#"{"context":{"a":1}}"#);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}

#[test]
fn the_first_rule_that_fits_decides_then_the_default() {
    let rig = with(
        r#"
default_upstream = "sales"
[[routes]]
id = "conv_*"
headers = { x-tenant = "acme" }
upstream = "planning"
[[routes]]
id = "conv_*"
upstream = "sms"
[[routes]]
id = "chat-?"
upstream = "voice"
[[routes]]
headers = { x-tenant = "voices", x-region = "eu" }
upstream = "voice"
[[routes]]
id = "conv_never"
upstream = "sales"
"#,
    );
    let table: &[(&str, &Headers, &str)] = &[
        // A configured upstream's name in front wins over every rule.
        ("voice:conv_1", &[("X-Tenant", "acme")], "voice conv_1"),
        ("sales:1", &[], "sales 1"),
        // Split at the first colon; the rest is the vendor's.
        ("sms:a:b:c", &[], "sms a%3Ab%3Ac"),
        ("sms%3Aa%3ab", &[], "sms a%3Ab"),
        ("sms::a", &[], "sms %3Aa"),
        // No upstream before the colon: the whole is the vendor's id, and rules see the whole.
        ("conv_:1", &[], "sms conv_%3A1"),
        ("nobody:1", &[], "sales nobody%3A1"),
        (":1", &[], "sales %3A1"),
        ("SMS:1", &[], "sales SMS%3A1"),
        // Rules: everything that one names must fit, the first that fits wins.
        ("conv_1", &[("X-Tenant", "acme")], "planning conv_1"),
        ("conv_1", &[("x-tenant", "ACME")], "sms conv_1"),
        ("conv_1", &[("x-tenant", "acme2")], "sms conv_1"),
        ("conv_never", &[], "sms conv_never"),
        ("conv_", &[], "sms conv_"),
        ("xconv_1", &[], "sales xconv_1"),
        ("chat-1", &[], "voice chat-1"),
        ("chat-12", &[], "sales chat-12"),
        ("chat-", &[], "sales chat-"),
        // The pattern sees the decoded id.
        ("%63onv_1", &[], "sms conv_1"),
        ("1", &[("x-tenant", "voices")], "sales 1"),
        ("1", &[("x-tenant", "voices"), ("x-region", "eu")], "voice 1"),
    ];
    for (id, headers, expected) in table {
        let answer = rig.send(&dry(id, headers));
        assert_eq!(served(&answer), *expected, "{id} {headers:?}: {}", answer.text());
    }
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn without_a_default_there_may_be_no_route() {
    let rig = with("[[routes]]\nid = \"conv_*\"\nupstream = \"sms\"\n");
    for id in ["1", "nobody:1", "xconv_1"] {
        rig.patch(id, r#"{"context":{"a":1}}"#).is_problem(404, "no-route");
    }
    assert_eq!(served(&rig.send(&dry("conv_1", &[]))), "sms conv_1");
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn the_answers_id_names_the_upstream_however_it_was_found() {
    let rig = with("default_upstream = \"sms\"\n");
    let answer = rig.patch("conv_def456", r#"{"title":"t"}"#);
    assert_eq!(answer.json()["id"], json!("sms:conv_def456"), "{}", answer.text());
    let problem = rig.patch("conv_nobody", r#"{"title":"t"}"#);
    problem.is_problem(404, "conversation-not-found");
    assert_eq!(problem.json()["upstream"], "sms");
    rig.finish();
}

#[test]
fn an_id_that_names_no_upstream_is_told_the_nearest() {
    let rig = with("default_upstream = \"sms\"\n[[routes]]\nid = \"plannin:*\"\nupstream = \"planning\"\n");
    for (id, hint) in [
        ("smss:conv_nobody", "'smss' is no upstream (did you mean 'sms'?), so the whole was taken"),
        ("plannin:chat_nobody", "'plannin' is no upstream (did you mean 'planning'?)"),
        ("elsewhere:conv_nobody", "'elsewhere' is no upstream, so the whole"),
    ] {
        for key in [None, Some(id)] {
            let mut request = Request::patch(id, r#"{"title":"t"}"#);
            if let Some(key) = key {
                request = request.header("Idempotency-Key", key);
            }
            for request in [request, Request::new("GET", &format!("/conversations/{id}"))] {
                let problem = rig.send(&request);
                problem.is_problem(404, "conversation-not-found");
                let detail = problem.json()["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains(hint), "{detail}");
                let by = if id.starts_with("plannin") { "routes[0]." } else { "default_upstream." };
                assert!(detail.contains(&format!("chosen by {by}")), "{detail}");
            }
        }
    }
    // Nothing is said of an id without a colon, and of one that names its upstream.
    for id in ["conv_nobody", "sms:smss:conv_nobody"] {
        let problem = rig.patch(id, r#"{"title":"t"}"#);
        problem.is_problem(404, "conversation-not-found");
        assert!(!problem.json()["detail"].as_str().unwrap().contains("is no upstream"), "{}", problem.text());
    }
    rig.finish();
    let rig = with("");
    let problem = rig.patch("smss:conv_1", r#"{"title":"t"}"#);
    problem.is_problem(404, "no-route");
    let detail = problem.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.ends_with("'smss' is no upstream (did you mean 'sms'?)."), "{detail}");
    rig.finish();
}

#[test]
fn a_caller_is_told_no_upstream_that_it_may_not_use() {
    let hash = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"; // of `key`
    let rig =
        with(&format!("[[callers]]\nname = \"crm\"\nkey_sha256 = \"{hash}\"\nupstreams = [\"sales\"]\n"));
    for (id, hint) in [("smss:1", "'smss' is no upstream."), ("salez:1", "did you mean 'sales'?")] {
        let request = Request::patch(id, r#"{"title":"t"}"#).header("Authorization", "Bearer key");
        let problem = rig.send(&request);
        problem.is_problem(404, "no-route");
        assert!(problem.json()["detail"].as_str().unwrap().contains(hint), "{}", problem.text());
    }
    rig.finish();
}

#[test]
fn a_dry_run_says_why_its_upstream_was_chosen() {
    let rig = with(
        "default_upstream = \"sms\"\n[[routes]]\nid = \"a*\"\nupstream = \"sales\"\n[[routes]]\nid = \"b*\"\nupstream = \"sms\"\n",
    );
    for (id, route) in
        [("sms:1", "prefix"), ("b1", "routes[1]"), ("a1", "routes[0]"), ("c", "default_upstream")]
    {
        assert_eq!(rig.send(&dry(id, &[])).json()["route"], route, "{id}");
    }
    rig.finish();
}
