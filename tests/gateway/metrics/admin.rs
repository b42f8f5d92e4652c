//! The listener that serves metrics, and the callers that it serves.

use std::io::Write;
use std::process::{Command, Stdio};

use testkit::Request;

use super::{BODY, Exposition, ID, scrape};
use crate::setup::{usual, with};

#[test]
fn they_are_read_and_nothing_else() {
    let rig = usual();
    scrape(&rig);
    let head = rig.ask_admin(&Request::new("HEAD", "/metrics"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.header("content-type").unwrap().starts_with("application/openmetrics-text"), "{head:?}");
    assert_eq!(head.header("cache-control"), Some("no-store"));
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = rig.ask_admin(&Request::new(method, "/metrics"));
        answer.is_problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    // Never on the API listener.
    rig.send(&Request::new("GET", "/metrics")).is_problem(404, "not-found");
    rig.finish();
}

#[test]
fn off_loopback_they_stay_open_and_the_rest_does_not() {
    for token in ["", "token = { value = \"the-admin-token\" }\n"] {
        let rig = with(&format!("[admin]\nlisten = \"0.0.0.0:0\"\n{token}")).keeping("the-admin-token");
        let answer = rig.ask_admin(&Request::new("GET", "/metrics"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        Exposition::parse(answer.text());
        let closed = rig.ask_admin(&Request::new("GET", "/config"));
        assert_eq!(closed.status, if token.is_empty() { 404 } else { 401 });
        rig.finish();
    }
}

#[test]
#[ignore = "needs Python with prometheus-client==0.26.0; METRICS_PYTHON names the interpreter"]
fn another_reader_of_open_metrics_takes_them() {
    let rig = usual();
    assert_eq!(rig.patch(ID, BODY).status, 200);
    assert_eq!(rig.patch(ID, r#"{"bogus":1}"#).status, 422);
    let text = rig.ask_admin(&Request::new("GET", "/metrics"));
    let script = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
        print(len(list(read(sys.stdin.read()))))";
    let python = std::env::var("METRICS_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(python);
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&text.body).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let read: usize = String::from_utf8_lossy(&out.stdout).trim().parse().unwrap();
    assert_eq!(read, Exposition::parse(text.text()).families.len());
    rig.finish();
}
