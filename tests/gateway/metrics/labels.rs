//! Whatever callers and vendors make up, the number of series is bounded and none of it is in a label.

use serde_json::json;
use testkit::Request;

use super::{BODY, ID, scrape};
use crate::setup::usual;

/// Texts that must not be in the exposition, in any spelling.
const MARK: &str = "zzmark";

/// Requests that try to get a text of their own into the metrics.
fn hostile(round: usize) -> Vec<Request> {
    let mark = format!("{MARK}{round}");
    let id = format!("sales:{mark}");
    let mut all = vec![
        Request::patch(&id, BODY),
        Request::patch(&format!("{mark}:x"), BODY),
        Request::patch(&format!("sales:%22%7D%20{mark}%0A"), BODY),
        Request::new("GET", &format!("/{mark}")),
        Request::new("GET", &format!("/conversations/a/{mark}")),
        Request::new(&mark.to_uppercase(), &format!("/conversations/{id}")),
        Request::new(&mark.to_uppercase(), &format!("/{mark}")),
        Request::patch(&format!("{ID}?{mark}=1"), BODY),
        Request::patch(ID, &format!("{{\"{mark}\":1}}")),
        Request::patch(ID, &format!("{{\"context\":\"{mark}\"}}")),
        Request::patch(ID, BODY).set("Content-Type", &format!("application/{mark}")),
    ];
    let headers = ["X-Request-Id", "Idempotency-Key", "Authorization", "traceparent", "Prefer", "X-Tenant"];
    all.extend(headers.map(|name| Request::patch(ID, BODY).header(name, &mark)));
    all.push(Request::patch(ID, BODY).set("Host", &format!("{mark}\",le=\"1")));
    all
}

#[test]
fn no_caller_and_no_vendor_makes_a_series() {
    let rig = usual();
    // What a vendor may make up: statuses, and texts in them.
    let statuses = [201, 299, 402, 410, 422, 451, 499, 520, 599, 600, 777, 999];
    let round = |round: usize, shift: u16| {
        for request in hostile(round) {
            // Not judged: some of it is not HTTP that a schema knows.
            rig.connect().exchange(&request);
        }
        for status in statuses {
            let status = if matches!(status, 299 | 499 | 599 | 777) { status - shift } else { status };
            let mark = format!("{MARK}{round}");
            rig.fault(json!({
                "vendor": "kakiyo", "mode": "status", "status": status,
                "headers": [["X-Error", mark], ["Content-Type", "application/json"]],
                "body": { "error": mark, "code": mark, "message": mark },
            }));
            rig.connect().exchange(&Request::patch(ID, BODY));
        }
        scrape(&rig)
    };
    let first = round(0, 0);
    let second = round(1, 1);
    assert_eq!(first.series(), second.series(), "the second round found a series that the first had not");
    let requests =
        |exposition: &super::Exposition| exposition.value("http_server_request_duration_seconds_count", &[]);
    assert_eq!(requests(&second), 2.0 * requests(&first), "they were all counted");
    let text = rig.ask_admin(&Request::new("GET", "/metrics"));
    let text = text.text().to_lowercase();
    for leaked in [MARK, "chat_12345abcde", &rig.key("kakiyo").to_lowercase()] {
        assert!(!text.contains(leaked), "{leaked}");
    }
    assert!(second.series().len() < 3_000, "{}", second.series().len());
    // The log must hold request ids, so it is not judged by the mark.
    rig.finish();
}
