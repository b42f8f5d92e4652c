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
