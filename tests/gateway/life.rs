//! Start, log, stop.

use serde_json::{Value, json};
use testkit::Request;
use testkit::blocking::eventually;

use crate::setup::{usual, with};

const ID: &str = "sales:chat_12345abcde";

#[test]
fn what_is_in_flight_is_finished_before_the_end() {
    let rig = usual();
    rig.fault(json!({ "vendor": "kakiyo", "mode": "delay", "delay_ms": 1000 }));
    let request = Request::patch(ID, r#"{"context":"in flight"}"#);
    let mut connection = rig.connect();
    connection.write(&request.encode());
    eventually("the request has reached the vendor", || rig.sent("kakiyo").len() == 1);
    rig.signal("TERM");
    let answer = connection.reply();
    rig.judge(&request, &answer);
    assert_eq!((answer.status, &answer.json()["context"]), (200, &json!("in flight")), "{}", answer.text());
    rig.ended();
}

#[test]
fn while_it_stops_it_is_alive_but_not_ready() {
    let rig = with("[server]\ndrain_delay = \"800ms\"\n");
    rig.signal("TERM");
    eventually("it says that it is not ready", || {
        rig.ask_admin(&Request::new("GET", "/readyz")).status == 503
    });
    assert_eq!(rig.ask_admin(&Request::new("GET", "/livez")).status, 200);
    // Whoever has not heard of it yet is still served.
    assert_eq!(rig.patch(ID, r#"{"context":"late"}"#).status, 200);
    rig.ended();
}

#[test]
fn ctrl_c_ends_it_too() {
    let rig = usual();
    rig.signal("INT");
    rig.ended();
}

#[test]
fn what_takes_too_long_is_answered_all_the_same() {
    let rig = with("[server]\ndrain_timeout = \"200ms\"\n");
    rig.fault(json!({ "vendor": "kakiyo", "mode": "hang" }));
    let mut connection = rig.connect();
    let request = Request::patch(ID, r#"{"context":"c"}"#);
    connection.write(&request.encode());
    eventually("the request has reached the vendor", || rig.sent("kakiyo").len() == 1);
    rig.signal("TERM");
    let answer = connection.reply();
    rig.judge(&request, &answer);
    answer.is_problem(504, "vendor-timeout");
    assert_eq!(answer.json()["update_applied"], "unknown");
    assert_eq!(answer.header("connection"), Some("close"));
    let ended = rig.ended();
    assert!(ended.lines.iter().any(|line| line.contains("drain_timeout")), "{:#?}", ended.lines);
}

#[test]
fn every_request_is_one_line_without_a_secret() {
    let rig = usual().keeping("body-of-the-caller").keeping("chat_12345abcde").keeping("sent-by-the-vendor");
    rig.fault(json!({
        "vendor": "agentphone", "mode": "status", "status": 400,
        "body": { "detail": format!("key {} is sent-by-the-vendor", rig.key("agentphone")) },
    }));
    // Not judged, as the id stands in the answers.
    let ask = |request: &Request| rig.connect().exchange(request).status;
    let patch = |id: &str| Request::patch(id, r#"{"context":{"a":"body-of-the-caller"}}"#);
    let statuses = [
        ask(&patch(ID).header("X-Request-Id", "first")),
        ask(&patch("sms:conv_def456").header("X-Request-Id", "second")),
        ask(&Request::new("GET", &format!("/nowhere?key={}", rig.key("kakiyo")))
            .header("X-Request-Id", "third")),
    ];
    assert_eq!(statuses, [200, 422, 404]);
    // The log is judged at the end: no line holds what is kept.
    let ended = rig.finish();
    let lines: Vec<Value> = ended.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |id: &str| {
        let mut of = lines.iter().filter(|line| line["request_id"] == id);
        let line = of.next().unwrap_or_else(|| panic!("no line of {id} in {lines:#?}"));
        assert!(of.next().is_none(), "{id} is there twice");
        line
    };
    let told = |line: &Value| {
        json!([line["method"], line["status"], line["vendor"], line["upstream"], line["code"]])
    };
    assert_eq!(told(of("first")), json!(["PATCH", 200, "kakiyo", "sales", null]));
    assert_eq!(told(of("second")), json!(["PATCH", 422, "agentphone", "sms", "vendor-rejected"]));
    assert_eq!(told(of("third")), json!(["GET", 404, null, null, "not-found"]));
    assert_eq!(of("second")["update_applied"], "no");
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    assert!(of("first")["duration_ms"].as_f64().unwrap() >= of("first")["upstream_ms"].as_f64().unwrap());
}

#[test]
fn the_log_can_do_without_requests() {
    let rig = with("[log]\naccess = false\n");
    assert_eq!(rig.patch(ID, r#"{"context":"c"}"#).status, 200);
    let ended = rig.finish();
    assert!(!ended.lines.iter().any(|line| line.contains("\"target\":\"access\"")), "{:#?}", ended.lines);
    assert!(ended.lines.iter().any(|line| line.contains("listening")));
}
