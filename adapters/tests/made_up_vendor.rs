//! Two vendors that do not exist, described and decoded through the public API alone. They use everything that the
//! contract can express and that no real vendor needs yet.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use bytes::Bytes;
use http::{Method, Request, Response, header};
use parlance_adapters::canonical::{Conversation, Field, Patch, Reported, Status, Time};
use parlance_adapters::json::Reader;
use parlance_adapters::reading::{self, Unmapped};
use parlance_adapters::{
    ALL, Adapter, BodyFormat, Conversion, Credential, DecodeContext, DecodeError, EncodeRequest, Encoded,
    Endpoint, Example, NullHandling, Origin, Row, Spec, Target, UpstreamCall, ValidationError,
    VendorEndpoint, decode, docs, fault_codes, fields, locate,
};
use serde_json::{Value, json};

const REPORTED: &[&str] = &["title", "status", "tags", "context", "created_at"];
const VERSION: &[(&str, &str)] = &[("x-api-version", "2026-01")];
const STATES: &[(&str, &str)] = &[("active", "open"), ("ended", "closed")];

/// Updates by `PUT` of an enveloped object and by `POST` of a form, reads by another path.
static DESK: Spec = Spec {
    vendor: "desk",
    title: "Desk",
    docs: "https://desk.example/api",
    base_url: "https://desk.example/api",
    credential: Credential::Header("x-key"),
    settings: &[],
    update: &[
        Endpoint {
            method: Method::PUT,
            path: "/tickets/{id}",
            headers: VERSION,
            rows: &[
                row(Field::Context, "custom", Conversion::Object, NullHandling::Refused),
                row(Field::Status, "state", Conversion::Word(STATES), NullHandling::Refused),
                row(Field::Tags, "labels", Conversion::Strings, NullHandling::Refused),
                row(Field::Title, "subject", Conversion::Text { max: Some(4) }, NullHandling::Sent),
            ],
            body: BodyFormat::JsonEnvelope("ticket"),
        },
        Endpoint {
            method: Method::POST,
            path: "/tickets/{id}/notes",
            headers: &[],
            rows: &[row(
                Field::Instructions,
                "note",
                Conversion::Text { max: None },
                NullHandling::EmptyText,
            )],
            body: BodyFormat::Form,
        },
    ],
    read: Some(Endpoint {
        method: Method::GET,
        path: "/inbox/{id}/full",
        headers: VERSION,
        rows: &[],
        body: BodyFormat::Empty,
    }),
    reported_members: REPORTED,
    read_members: REPORTED,
    idempotency_key: false,
    rate_limit: None,
    example: Example { id: "1", settings: &[], patch: r#"{"title":"x"}"# },
    is_payment_required: |_| false,
};

/// Updates by `POST` of a form in which the context is JSON text.
static FORM: Spec = Spec {
    vendor: "form",
    title: "Form",
    docs: "https://form.example/api",
    base_url: "https://form.example",
    credential: Credential::Bearer,
    settings: &[],
    update: &[Endpoint {
        method: Method::POST,
        path: "/c/{id}",
        headers: &[],
        rows: &[
            row(
                Field::Context,
                "attrs",
                Conversion::ContextAsText { max_utf16: 20 },
                NullHandling::EmptyText,
            ),
            row(Field::Archived, "done", Conversion::Flag, NullHandling::Refused),
            row(
                Field::Contact,
                "who",
                Conversion::Id { min: 1, max: Some(8), prefix: "" },
                NullHandling::Refused,
            ),
        ],
        body: BodyFormat::Form,
    }],
    read: Some(Endpoint::get("/c/{id}")),
    reported_members: REPORTED,
    read_members: REPORTED,
    idempotency_key: true,
    rate_limit: None,
    example: Example { id: "1", settings: &[], patch: r#"{"archived":true}"# },
    is_payment_required: |_| false,
};

const fn row(field: Field, wire: &'static str, conversion: Conversion, null: NullHandling) -> Row {
    let reported = match field {
        Field::Context => "custom",
        Field::Status => "state",
        Field::Tags => "labels",
        Field::Title => "subject",
        _ => wire,
    };
    Row { field, wire, reported, conversion, null }
}

struct MadeUp(&'static Spec);

impl Adapter for MadeUp {
    fn spec(&self) -> &'static Spec {
        self.0
    }

    fn decode<'a>(
        &self,
        cx: &DecodeContext<'a>,
        reply: &'a Response<Bytes>,
    ) -> Result<Conversation<'a>, DecodeError> {
        let mut unmapped = Unmapped::default();
        let (mut title, mut status, mut tags) = (Reported::Absent, Reported::Absent, Reported::Absent);
        let (mut context, mut created_at) = (Reported::Absent, Reported::Absent);
        let mut reader = Reader::lenient(reply.body())?;
        reader.object(|key, reader| {
            if key.name() != "ticket" {
                let value = reader.raw()?;
                unmapped.keep(key, value);
                return Ok(());
            }
            reader.object(|key, reader| {
                let value = reader.raw()?;
                match &*key.name() {
                    "number" => unmapped.id(cx.vendor_id(), key, value),
                    "subject" => unmapped.take(&mut title, key, value, reading::string),
                    "state" => unmapped.status(&mut status, key, value, |word| match word {
                        "open" => Status::Active,
                        "closed" => Status::Ended,
                        _ => Status::Other,
                    }),
                    "labels" => unmapped.take(&mut tags, key, value, reading::strings),
                    "custom" => unmapped.take(&mut context, key, value, reading::context),
                    "created" => unmapped.take(&mut created_at, key, value, Time::from_unix_seconds),
                    _ => unmapped.keep(key, value),
                }
                Ok(())
            })
        })?;
        reader.end()?;
        Ok(Conversation {
            subject: unmapped.subject,
            is_confirmation: false,
            title,
            status,
            archived: Reported::Absent,
            important: Reported::Absent,
            tags,
            context,
            instructions: Reported::Absent,
            agent: Reported::Absent,
            contact: Reported::Absent,
            created_at,
            updated_at: Reported::Absent,
            last_message_at: Reported::Absent,
            message_count: Reported::Absent,
            messages: None,
            vendor_data: unmapped.members,
            warnings: Vec::new(),
        })
    }
}

static DESK_ADAPTER: &dyn Adapter = &MadeUp(&DESK);
static FORM_ADAPTER: &dyn Adapter = &MadeUp(&FORM);

fn endpoint(adapter: &dyn Adapter) -> VendorEndpoint {
    let settings = adapter.spec().example.settings;
    VendorEndpoint {
        name: "up".to_owned(),
        origin: Origin::parse(adapter.spec().base_url).unwrap(),
        settings: settings.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
        headers: Vec::new(),
        allow_vendor_fields: true,
    }
}

fn target(adapter: &dyn Adapter) -> Target {
    locate(adapter.spec(), &endpoint(adapter), "17").unwrap()
}

fn encode(adapter: &dyn Adapter, body: &str, merge: bool) -> Result<Encoded, ValidationError> {
    let (endpoint, target) = (endpoint(adapter), target(adapter));
    let body = Bytes::copy_from_slice(body.as_bytes());
    let patch = Patch::parse(&body).unwrap();
    adapter.encode(&EncodeRequest {
        endpoint: &endpoint,
        target: &target,
        patch: &patch,
        merge,
        lenient: false,
        idempotency_key: Some("key-1"),
    })
}

fn ready(adapter: &dyn Adapter, body: &str) -> UpstreamCall {
    match encode(adapter, body, false).unwrap_or_else(|error| panic!("{body}: {error}")) {
        Encoded::Ready(call) => call,
        Encoded::NeedsStored(_) => panic!("{body} is no merge patch"),
    }
}

/// Pointer and code of each fault.
fn faults(adapter: &dyn Adapter, body: &str) -> Vec<(String, &'static str)> {
    let error = encode(adapter, body, false).unwrap_err();
    error.faults.into_iter().map(|fault| (fault.pointer, fault.code.as_str())).collect()
}

fn line(request: &Request<Bytes>) -> String {
    let body = str::from_utf8(request.body()).unwrap();
    format!("{} {} {body}", request.method(), request.uri())
}

fn reply(body: impl Into<Bytes>) -> Response<Bytes> {
    Response::new(body.into())
}

fn written(conversation: &Conversation<'_>) -> Value {
    let mut out = Vec::new();
    conversation.write("up:17", "made-up", "up", &[], &mut out);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn a_patch_goes_to_the_endpoint_of_its_members() {
    for (adapter, body, sent) in [
        (
            DESK_ADAPTER,
            r#"{"title":"Ab"}"#,
            r#"PUT https://desk.example/api/tickets/17 {"ticket":{"subject":"Ab"}}"#,
        ),
        (
            DESK_ADAPTER,
            r#"{"status":"ended","tags":["a", "b"],"title":null}"#,
            r#"PUT https://desk.example/api/tickets/17 {"ticket":{"state":"closed","labels":["a", "b"],"subject":null}}"#,
        ),
        (
            DESK_ADAPTER,
            r#"{"tags":[]}"#,
            r#"PUT https://desk.example/api/tickets/17 {"ticket":{"labels":[]}}"#,
        ),
        (
            DESK_ADAPTER,
            r#"{"vendor_fields":{"urgent":true},"title":"x"}"#,
            r#"PUT https://desk.example/api/tickets/17 {"ticket":{"urgent":true,"subject":"x"}}"#,
        ),
        (
            DESK_ADAPTER,
            r#"{"instructions":"a&b = \"c\" é\n"}"#,
            "POST https://desk.example/api/tickets/17/notes note=a%26b%20%3D%20%22c%22%20%C3%A9%0A",
        ),
        (DESK_ADAPTER, r#"{"instructions":null}"#, "POST https://desk.example/api/tickets/17/notes note="),
        (
            DESK_ADAPTER,
            r#"{"vendor_fields":{"x y":1,"l":["a"]},"instructions":"n"}"#,
            "POST https://desk.example/api/tickets/17/notes x%20y=1&l=%5B%22a%22%5D&note=n",
        ),
        (
            FORM_ADAPTER,
            r#"{"context":{"k": [1.50]},"archived":true,"contact":{"id":"c-1"}}"#,
            "POST https://form.example/c/17 attrs=%7B%22k%22%3A%5B1.50%5D%7D&done=true&who=c-1",
        ),
    ] {
        assert_eq!(line(&ready(adapter, body).request), sent);
    }
}

#[test]
fn headers_are_those_of_the_endpoint() {
    let header = |call: &Request<Bytes>, name: &str| {
        call.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    let put = ready(DESK_ADAPTER, r#"{"title":"x"}"#).request;
    assert_eq!(header(&put, "x-api-version").as_deref(), Some("2026-01"));
    assert_eq!(header(&put, "content-type").as_deref(), Some("application/json"));
    assert_eq!(header(&put, "idempotency-key"), None);
    let post = ready(DESK_ADAPTER, r#"{"instructions":"x"}"#).request;
    assert_eq!(header(&post, "x-api-version"), None);
    assert_eq!(header(&post, "content-type").as_deref(), Some("application/x-www-form-urlencoded"));
    let keyed = ready(FORM_ADAPTER, r#"{"archived":false}"#).request;
    assert_eq!(header(&keyed, "idempotency-key").as_deref(), Some("key-1"));

    let read = DESK_ADAPTER.read_request(&endpoint(DESK_ADAPTER), &target(DESK_ADAPTER)).unwrap().unwrap();
    assert_eq!(line(&read), "GET https://desk.example/api/inbox/17/full ");
    assert_eq!(header(&read, "x-api-version").as_deref(), Some("2026-01"));
    assert_eq!(header(&read, "content-type"), None);
}

#[test]
fn members_of_two_endpoints_cannot_be_combined() {
    let error = encode(DESK_ADAPTER, r#"{"title":"x","instructions":"y"}"#, false).unwrap_err();
    for fault in &error.faults {
        assert_eq!(fault.code.as_str(), "cannot-combine");
        assert!(["'title'", "'instructions'"].iter().all(|name| fault.detail.contains(name)), "{error}");
    }
    let pointers: Vec<_> = error.faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, ["/title", "/instructions"]);

    // With every other fault of the body.
    let all = faults(DESK_ADAPTER, r#"{"title":"too long","instructions":7,"tags":["a"],"strange":1}"#);
    let expected = [
        ("/title", "too-long"),
        ("/instructions", "wrong-type"),
        ("/strange", "unknown-field"),
        ("/title", "cannot-combine"),
        ("/instructions", "cannot-combine"),
        ("/tags", "cannot-combine"),
    ];
    assert_eq!(all, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
}

#[test]
fn words_and_lists_are_checked() {
    for (adapter, body, expected) in [
        (DESK_ADAPTER, r#"{"status":"paused"}"#, vec![("/status", "unknown-value")]),
        (DESK_ADAPTER, r#"{"status":"open"}"#, vec![("/status", "unknown-value")]),
        (DESK_ADAPTER, r#"{"status":1}"#, vec![("/status", "wrong-type")]),
        (DESK_ADAPTER, r#"{"status":null}"#, vec![("/status", "null-not-allowed")]),
        (DESK_ADAPTER, r#"{"tags":"a"}"#, vec![("/tags", "wrong-type")]),
        (
            DESK_ADAPTER,
            r#"{"tags":["a",1,null]}"#,
            vec![("/tags/1", "wrong-type"), ("/tags/2", "wrong-type")],
        ),
        (DESK_ADAPTER, r#"{"tags":null}"#, vec![("/tags", "null-not-allowed")]),
        (FORM_ADAPTER, r#"{"status":"active"}"#, vec![("/status", "read-only-field")]),
        (FORM_ADAPTER, r#"{"tags":[]}"#, vec![("/tags", "unknown-field")]),
        (FORM_ADAPTER, r#"{"title":"x"}"#, vec![("/title", "unsupported-field")]),
        (FORM_ADAPTER, r#"{"contact":{"id":""}}"#, vec![("/contact/id", "too-short")]),
        (FORM_ADAPTER, r#"{"contact":{"id":"123456789"}}"#, vec![("/contact/id", "too-long")]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|(at, code)| (at.to_owned(), code)).collect();
        assert_eq!(faults(adapter, body), expected, "{body}");
    }
}

/// The API has the members and faults of the real vendors only.
#[test]
fn a_member_that_no_vendor_takes_is_unknown() {
    let known: Vec<Field> = fields().collect();
    for adapter in ALL {
        for field in Field::ALL.iter().filter(|field| !known.contains(field)) {
            let body = format!("{{\"{}\":null}}", field.name());
            let [(pointer, code)] = &faults(*adapter, &body)[..] else { panic!("one fault of {body}") };
            assert_eq!(*pointer, format!("/{}", field.name()));
            assert!(["unknown-field", "read-only-field"].contains(code), "{code}");
        }
    }
    let rows = || ALL.iter().flat_map(|adapter| adapter.spec().rows());
    let words = rows().any(|row| matches!(row.conversion, Conversion::Word(_)));
    assert_eq!(fault_codes().any(|code| code.as_str() == "unknown-value"), words);
    let several = ALL.iter().any(|adapter| adapter.spec().update.len() > 1);
    assert_eq!(fault_codes().any(|code| code.as_str() == "cannot-combine"), several);
    assert!(fault_codes().any(|code| code.as_str() == "too-long"));
}

#[test]
fn a_context_is_merged_in_an_envelope_and_in_a_form() {
    let stored = reply(r#"{"ticket":{"number":"17","custom":{"a":1.50,"b":{"c":1}}}}"#);
    let Ok(Encoded::NeedsStored(pending)) =
        encode(DESK_ADAPTER, r#"{"title":"x","context":{"b":{"c":null},"d":2},"tags":["t"]}"#, true)
    else {
        panic!("a merge")
    };
    let unmerged = pending.clone().into_unmerged();
    assert!(
        line(&unmerged.request)
            .ends_with(r#"{"ticket":{"subject":"x","custom":{"b":{"c":null},"d":2},"labels":["t"]}}"#)
    );
    let target = target(DESK_ADAPTER);
    let read = decode(DESK_ADAPTER, &DecodeContext::of_read(&target), &stored).unwrap();
    let call = pending.merge(&read).unwrap();
    assert!(
        line(&call.request)
            .ends_with(r#"{"ticket":{"subject":"x","custom":{"a":1.50,"b":{},"d":2},"labels":["t"]}}"#),
        "{}",
        line(&call.request)
    );
    let confirmed =
        decode(DESK_ADAPTER, &DecodeContext::of_update(&target, &call), &reply("")).map(|it| written(&it));
    assert_eq!(confirmed.unwrap()["context"], json!({"a": 1.5, "b": {}, "d": 2}));

    // The stored text of an object is merged as an object; the limit holds for the result.
    for (stored, sent) in [
        (
            r#"{"ticket":{"number":17,"custom":"{\"a\": 1}"}}"#,
            Some("attrs=%7B%22a%22%3A1%2C%22b%22%3A2%7D&done=true"),
        ),
        (r#"{"ticket":{"number":17,"custom":"no object"}}"#, Some("attrs=%7B%22b%22%3A2%7D&done=true")),
        (r#"{"ticket":{"number":17,"custom":null}}"#, Some("attrs=%7B%22b%22%3A2%7D&done=true")),
        (r#"{"ticket":{"number":17}}"#, Some("attrs=%7B%22b%22%3A2%7D&done=true")),
        (r#"{"ticket":{"number":17,"custom":"{\"long\":\"0123456789\"}"}}"#, None),
    ] {
        let Ok(Encoded::NeedsStored(pending)) =
            encode(FORM_ADAPTER, r#"{"context":{"b":2},"archived":true}"#, true)
        else {
            panic!("a merge")
        };
        let stored = reply(stored);
        let merged = pending.merge(&decode(FORM_ADAPTER, &DecodeContext::of_read(&target), &stored).unwrap());
        match sent {
            Some(sent) => assert_eq!(str::from_utf8(merged.unwrap().request.body()).unwrap(), sent),
            None => assert_eq!(merged.unwrap_err().faults[0].code.as_str(), "too-long"),
        }
    }
}

#[test]
fn an_answer_has_times_states_and_tags_and_may_have_no_body() {
    let call = ready(DESK_ADAPTER, r#"{"status":"ended","tags":["a"]}"#);
    let target = target(DESK_ADAPTER);
    let cx = DecodeContext::of_update(&target, &call);
    let body =
        r#"{"ticket":{"number":17,"state":"closed","labels":["a"],"created":1718379934.25,"x":1},"y":2}"#;
    let full = reply(body);
    let answer = written(&decode(DESK_ADAPTER, &cx, &full).unwrap());
    assert_eq!(
        answer,
        json!({
            "id": "up:17", "vendor": "made-up", "upstream": "up", "status": "ended", "tags": ["a"],
            "created_at": "2024-06-14T15:45:34.25Z", "vendor_data": {"x": 1, "y": 2},
        })
    );
    let odd = reply(r#"{"ticket":{"number":18,"state":"waiting","labels":["a",1],"created":"soon"}}"#);
    let answer = written(&decode(DESK_ADAPTER, &cx, &odd).unwrap());
    assert_eq!(answer["status"], "other");
    assert_eq!(
        answer["vendor_data"],
        json!({"number": 18, "state": "waiting", "labels": ["a", 1], "created": "soon"})
    );
    let empty = reply("");
    let confirmed = written(&decode(DESK_ADAPTER, &cx, &empty).unwrap());
    assert_eq!((&confirmed["status"], &confirmed["tags"]), (&json!("ended"), &json!(["a"])));

    // A read must have a body, and no answer may have a coding or another type than JSON.
    let read = DecodeContext::of_read(&target);
    assert!(matches!(decode(DESK_ADAPTER, &read, &empty), Err(DecodeError::Invalid(_))));
    for (name, value) in [(header::CONTENT_ENCODING, "br"), (header::CONTENT_TYPE, "text/html")] {
        let mut reply = reply(body);
        reply.headers_mut().insert(name, value.parse().unwrap());
        for cx in [&cx, &read] {
            let error = decode(DESK_ADAPTER, cx, &reply).unwrap_err();
            assert!(error.to_string().contains(value), "{error}");
        }
    }
}

#[test]
fn the_members_that_an_error_names_are_found_in_an_envelope() {
    let mut reply = reply(
        r#"{"detail":[{"loc":["body","ticket","labels",0],"msg":"bad"},{"loc":["note"],"msg":"worse"}]}"#,
    );
    *reply.status_mut() = http::StatusCode::UNPROCESSABLE_ENTITY;
    let fields = DESK_ADAPTER.failure(&reply).fields;
    assert_eq!(
        fields,
        [("/tags/0".to_owned(), "bad".to_owned()), ("/instructions".to_owned(), "worse".to_owned())]
    );
}

#[test]
fn the_matrix_describes_words_and_lists() {
    let described: Vec<_> = DESK.rows().map(docs::describe).collect();
    assert_eq!(described[1], "\"active\" or \"ended\"; no null");
    assert_eq!(described[2], "list of strings; no null");
}
