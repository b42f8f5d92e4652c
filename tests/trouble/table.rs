//! The faults as data: one line a case. The ids are those of the test programme's table of upstream faults.

/// The answer that the caller must get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) applied: &'static str,
}

/// One fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) id: &'static str,
    /// The sandbox's rule without `vendor`. `{key}` stands for the credential, `{trap}` for an address that nobody may
    /// call.
    pub(crate) rule: &'static str,
    pub(crate) told: Told,
    /// Requests that the vendor sees: where an unknown outcome is not repeated, and where it is.
    pub(crate) sent: (usize, usize),
    /// The answer where an unknown outcome is repeated, if that is another one.
    pub(crate) told_repeating: Option<Told>,
    /// A body too large for the buffers on the way, at the vendors that take one.
    pub(crate) large: bool,
    /// Only this vendor.
    pub(crate) only: Option<&'static str>,
    /// The `Retry-After` that the caller must get; `None`: none.
    pub(crate) retry_after: Option<&'static str>,
    /// It is over only when the deadline is, which is then a near one.
    pub(crate) waits: bool,
}

const OK: Told = Told { status: 200, code: "", applied: "" };

const fn told(status: u16, code: &'static str, applied: &'static str) -> Told {
    Told { status, code, applied }
}

const fn case(id: &'static str, rule: &'static str, told: Told, plain: usize, repeating: usize) -> Case {
    let sent = (plain, repeating);
    Case {
        id,
        rule,
        told,
        sent,
        told_repeating: None,
        large: false,
        only: None,
        retry_after: None,
        waits: false,
    }
}

impl Case {
    const fn repeated_to(self, told: Told) -> Case {
        Case { told_repeating: Some(told), ..self }
    }

    const fn large(self) -> Case {
        Case { large: true, ..self }
    }

    const fn only(self, vendor: &'static str) -> Case {
        Case { only: Some(vendor), ..self }
    }

    const fn waits(self) -> Case {
        Case { waits: true, ..self }
    }

    const fn after(self, seconds: &'static str) -> Case {
        Case { retry_after: Some(seconds), ..self }
    }
}

const UNREACHABLE: Told = told(502, "vendor-unreachable", "unknown");
const LATE: Told = told(504, "vendor-timeout", "unknown");
const STALLED: Told = told(504, "vendor-timeout", "yes");
const CUT: Told = told(502, "vendor-invalid-response", "yes");
const GARBAGE: Told = told(502, "vendor-invalid-response", "unknown");
const ERROR: Told = told(502, "vendor-error", "unknown");
const AWAY: Told = told(503, "vendor-unavailable", "unknown");
const LIMITED: Told = told(429, "vendor-rate-limited", "no");
const REJECTED: Told = told(422, "vendor-rejected", "no");
const ODD: Told = told(502, "vendor-unexpected-status", "unknown");

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    // Before the request.
    case("A3 silent", r#""mode":"silent_on_accept","count":0"#, LATE, 0, 0).waits(),
    // The request was sent, no answer came.
    case("A10 reset", r#""mode":"reset_before_body","count":0"#, UNREACHABLE, 1, 3),
    case("A10 large", r#""mode":"reset_before_body","count":0"#, UNREACHABLE, 1, 3).large(),
    case("A10 once", r#""mode":"reset_before_body""#, UNREACHABLE, 1, 2).repeated_to(OK),
    case("A11 reset", r#""mode":"reset_after_request","count":0"#, UNREACHABLE, 1, 3),
    case("A11 reset applied", r#""mode":"reset_after_request","apply":true,"count":0"#, UNREACHABLE, 1, 3),
    case("A11 close", r#""mode":"close_after_request","count":0"#, UNREACHABLE, 1, 3),
    case("A11 once", r#""mode":"reset_after_request","apply":true"#, UNREACHABLE, 1, 2).repeated_to(OK),
    case("A11 close once", r#""mode":"close_after_request","apply":true"#, UNREACHABLE, 1, 2).repeated_to(OK),
    case("A16 hang", r#""mode":"hang""#, LATE, 1, 1).waits(),
    case("A16 hang applied", r#""mode":"hang","apply":true"#, LATE, 1, 1).waits(),
    case("A16 late", r#""mode":"delay","delay_ms":3000"#, LATE, 1, 1).waits(),
    case("A17", r#""mode":"drip","part":"status_line","interval_ms":200"#, LATE, 1, 1).waits(),
    case("A17 headers", r#""mode":"drip","part":"headers","interval_ms":100"#, LATE, 1, 1).waits(),
    case("A49", r#""mode":"stop_reading","max_ms":4000"#, LATE, 1, 1).large().waits(),
    // The answer broke off.
    case("A12", r#""mode":"reset_mid_body","bytes":7,"count":0"#, CUT, 1, 1),
    case("A12 empty", r#""mode":"reset_mid_body","bytes":0,"count":0"#, CUT, 1, 1),
    case("A18", r#""mode":"drip","part":"body","interval_ms":60"#, STALLED, 1, 1).waits(),
    case("A19", r#""mode":"stall","bytes":7,"max_ms":4000"#, STALLED, 1, 1).waits(),
    case("A20", r#""mode":"truncate","bytes":7,"count":0"#, CUT, 1, 1),
    case("A20 reset", r#""mode":"truncate","bytes":7,"reset":true,"count":0"#, CUT, 1, 1),
    case("A20 error", r#""mode":"truncate","status":409,"bytes":1,"apply":false"#, told(409, "vendor-conflict", "no"), 1, 1),
    case("A22", r#""mode":"close_delimited""#, OK, 1, 1),
    case("A22 cut", r#""mode":"close_delimited","bytes":9,"count":0"#, CUT, 1, 1),
    // The answer's framing.
    case("A21", r#""mode":"extra_bytes""#, OK, 1, 1),
    case("A23 chunked", r#""mode":"chunked","chunk_bytes":5"#, OK, 1, 1),
    case("A23 size", r#""mode":"bad_chunk","kind":"size","count":0"#, CUT, 1, 1),
    case("A23 end", r#""mode":"bad_chunk","kind":"missing_end","count":0"#, CUT, 1, 1),
    case("A23 extension", r#""mode":"bad_chunk","kind":"huge_extension","count":0"#, CUT, 1, 1),
    case("A23 line end", r#""mode":"bad_chunk","kind":"no_line_end","count":0"#, CUT, 1, 1),
    case("A23 overflow", r#""mode":"bad_chunk","kind":"size_overflow","count":0"#, CUT, 1, 1),
    case("A23 trailers", r#""mode":"chunked","trailers":[["x-trailer","v"]]"#, OK, 1, 1),
    case("A23 trailers too long", r#""mode":"bad_chunk","kind":"trailers","count":0"#, CUT, 1, 1),
    case("A24 garbage", r#""mode":"garbage","count":0"#, GARBAGE, 1, 3),
    case("A24 garbage once", r#""mode":"garbage","apply":true"#, GARBAGE, 1, 2).repeated_to(OK),
    case("A24 HTTP/0.9", r#""mode":"raw","data":"<html></html>","count":0"#, GARBAGE, 1, 3),
    case("A24 version", r#""mode":"raw","data":"HTTP/3.1 200 OK\r\n\r\n{}","count":0"#, GARBAGE, 1, 3),
    case("A24 lengths", r#""mode":"raw","data":"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}","count":0"#, GARBAGE, 1, 3),
    case("A24 bare CR", r#""mode":"raw","data":"HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 2\r\n\r\n{}","count":0"#, GARBAGE, 1, 3),
    case("A24 folded", r#""mode":"raw","data":"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\n{}","count":0"#, GARBAGE, 1, 3),
    case("A24 half a head", r#""mode":"raw","data":"HTTP/1.1 200 OK\r\nconte","count":0"#, UNREACHABLE, 1, 3),
    case("A33 000", r#""mode":"raw","data":"HTTP/1.1 000 \r\ncontent-length: 0\r\n\r\n","count":0"#, GARBAGE, 1, 3),
    // The answer's size.
    case("A25", r#""mode":"oversize","bytes":65536"#, told(502, "vendor-response-too-large", "yes"), 1, 1),
    case("A25 endless", r#""mode":"oversize","endless":true,"max_ms":4000"#, told(502, "vendor-response-too-large", "yes"), 1, 1),
    case("A25 error", r#""mode":"oversize","bytes":65536,"status":422,"apply":false"#, REJECTED, 1, 1),
    // The answer's content.
    case("A26 gzip", r#""mode":"respond_after_apply","headers":[["content-encoding","gzip"]]"#, CUT, 1, 1),
    case("A26 unknown", r#""mode":"respond_after_apply","headers":[["content-encoding","zz"]]"#, CUT, 1, 1),
    case("A27 cut", r##""mode":"respond_after_apply","body":"{\"a\":""##, CUT, 1, 1),
    case("A27 trailing", r#""mode":"respond_after_apply","body":"{} x""#, CUT, 1, 1),
    case("A27 BOM", r#""mode":"respond_after_apply","body_base64":"77u/e30=""#, CUT, 1, 1),
    case("A27 NaN", r#""mode":"respond_after_apply","body":"{\"a\":NaN}""#, CUT, 1, 1),
    case("A27 UTF-8", r#""mode":"respond_after_apply","body_base64":"eyJhIjoi/yJ9""#, CUT, 1, 1),
    case("A28 list", r#""mode":"respond_after_apply","body":"[]""#, CUT, 1, 1),
    case("A28 text", r#""mode":"respond_after_apply","body":"\"ok\"""#, CUT, 1, 1),
    case("A28 null", r#""mode":"respond_after_apply","body":"null""#, CUT, 1, 1),
    case("A29 page", r#""mode":"respond_after_apply","body":"<html>{key}</html>","headers":[["content-type","text/html"]]"#, CUT, 1, 1),
    case("A29 type", r#""mode":"respond_after_apply","headers":[["content-type","text/html"]]"#, CUT, 1, 1),
    case("A30 204", r#""mode":"empty""#, OK, 1, 1),
    case("A30 205", r#""mode":"empty","status":205"#, OK, 1, 1),
    case("A30 200", r#""mode":"empty","status":200"#, OK, 1, 1),
    // The answer's status.
    case("A31 301", r#""mode":"status","status":301,"headers":[["location","{trap}"]],"count":0"#, ODD, 1, 1),
    case("A31 303", r#""mode":"status","status":303,"headers":[["location","{trap}"]],"count":0"#, ODD, 1, 1),
    case("A31 307", r#""mode":"status","status":307,"headers":[["location","{trap}"]],"count":0"#, ODD, 1, 1),
    case("A31 308 itself", r#""mode":"status","status":308,"headers":[["location","/"]],"count":0"#, ODD, 1, 1),
    case("A32 100", r#""mode":"interim","interim_status":100"#, OK, 1, 1),
    case("A32 103", r#""mode":"interim","n":5"#, OK, 1, 1),
    case("A32 for ever", r#""mode":"interim","n":100000,"interval_ms":1"#, LATE, 1, 1).waits(),
    case("A32 101", r#""mode":"switch_101","max_ms":4000,"count":0"#, ODD, 1, 1),
    case("A33 299", r#""mode":"respond_after_apply","status":299"#, OK, 1, 1),
    case("A33 600", r#""mode":"status","status":600,"count":0"#, ODD, 1, 1),
    case("A33 999", r#""mode":"status","status":999,"count":0"#, ODD, 1, 1),
    case("A34 401", r#""mode":"status","status":401,"count":0"#, told(502, "vendor-unauthenticated", "no"), 1, 1),
    case("A35 400", r#""mode":"status","status":400,"body":"{\"message\":\"{key} is wrong\"}""#, REJECTED, 1, 1),
    case("A35 402", r#""mode":"status","status":402"#, told(402, "vendor-payment-required", "no"), 1, 1),
    case("A35 403", r#""mode":"status","status":403"#, told(403, "vendor-forbidden", "no"), 1, 1),
    case("A35 404", r#""mode":"status","status":404"#, told(404, "conversation-not-found", "no"), 1, 1),
    case("A35 409", r#""mode":"status","status":409"#, told(409, "vendor-conflict", "no"), 1, 1),
    case("A35 410", r#""mode":"status","status":410"#, told(404, "conversation-not-found", "no"), 1, 1),
    case("A35 413", r#""mode":"status","status":413"#, REJECTED, 1, 1),
    case("A35 418", r#""mode":"status","status":418"#, told(502, "vendor-unexpected-status", "no"), 1, 1),
    case("A35 422 page", r#""mode":"status","status":422,"body":"<html>{key}</html>""#, REJECTED, 1, 1),
    case("A36 seconds", r#""mode":"status","status":429,"headers":[["retry-after","30"]]"#, LIMITED, 1, 1).after("30"),
    case("A36 past date", r#""mode":"status","status":429,"count":0,"headers":[["retry-after","Wed, 21 Oct 2015 07:28:00 GMT"]]"#, LIMITED, 3, 3).after("1"),
    case("A36 zero", r#""mode":"status","status":429,"count":0,"headers":[["retry-after","0"]]"#, LIMITED, 3, 3).after("1"),
    case("A36 zero once", r#""mode":"status","status":429,"headers":[["retry-after","0"]]"#, OK, 2, 2),
    case("A36 huge", r#""mode":"status","status":429,"headers":[["retry-after","1000000000000"]]"#, LIMITED, 1, 1).after("3600"),
    case("A36 negative", r#""mode":"status","status":429,"headers":[["retry-after","-5"]]"#, LIMITED, 1, 1),
    case("A36 text", r#""mode":"status","status":429,"headers":[["retry-after","soon"]]"#, LIMITED, 1, 1),
    case("A36 absent", r#""mode":"status","status":429"#, LIMITED, 1, 1),
    case("A37 500", r#""mode":"status","status":500,"count":0"#, ERROR, 1, 3),
    case("A37 500 applied", r#""mode":"respond_after_apply","status":500,"body":"{key}","count":0"#, ERROR, 1, 3),
    case("A37 500 once", r#""mode":"status","status":500"#, ERROR, 1, 2).repeated_to(OK),
    case("A37 501", r#""mode":"status","status":501,"count":0"#, ERROR, 1, 3),
    case("A37 502", r#""mode":"status","status":502,"count":0"#, ERROR, 1, 3),
    case("A37 503", r#""mode":"status","status":503,"count":0"#, AWAY, 1, 3),
    case("A37 503 later", r#""mode":"status","status":503,"headers":[["retry-after","30"]]"#, AWAY, 1, 1).after("30"),
    case("A37 503 soon", r#""mode":"status","status":503,"headers":[["retry-after","1"]]"#, OK, 2, 2),
    case("A37 504", r#""mode":"status","status":504,"count":0"#, ERROR, 1, 3),
    case("A37 507", r#""mode":"status","status":507,"count":0"#, ERROR, 1, 3),
    case("A37 520", r#""mode":"status","status":520,"count":0"#, ERROR, 1, 3),
    case("A38", r#""mode":"respond_after_apply","body":"{\"status\":\"error\",\"message\":\"no\"}","count":0"#, told(422, "vendor-rejected", "unknown"), 1, 1).only("chatling"),
    case("A47", r#""mode":"respond_after_apply","body":"{\"id\":\"x\",\"note\":\"{key}\"}","headers":[["x-key","{key}"]]"#, OK, 1, 1).only("agentphone"),
    // It answers without having read the body.
    case("A50", r#""mode":"early_response","status":413"#, REJECTED, 1, 1).large(),
    case("A50 401", r#""mode":"early_response","status":401,"count":0"#, told(502, "vendor-unauthenticated", "no"), 1, 1).large(),
];
