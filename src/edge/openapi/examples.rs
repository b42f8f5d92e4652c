//! Examples of problems, rendered as the gateway renders them.

use parlance_adapters::ALL;
use serde_json::{Map, Value, json};

use crate::types::code::{AnsweredBy, Applied, Code};
use crate::types::problem::{FieldError, Problem, VendorPart};
use crate::types::remedies;

const REQUEST_ID: &str = "0199f3a1-7c55-7b06-9d3e-2f6a51c0e7aa";

/// One example for each code, by code.
pub(super) fn problems() -> Value {
    Value::Object(
        Code::ALL.iter().map(|code| (code.as_str().to_owned(), example(*code))).collect::<Map<_, _>>(),
    )
}

/// References to the examples of these codes.
pub(super) fn references(codes: &[Code]) -> Value {
    let reference = |code: &Code| {
        (code.as_str().to_owned(), json!({ "$ref": format!("#/components/examples/{}", code.as_str()) }))
    };
    Value::Object(codes.iter().map(reference).collect::<Map<_, _>>())
}

fn example(code: Code) -> Value {
    let mut problem = Problem::new(code, remedies::of(code).cause.replace('`', ""));
    problem.applied = applied(code);
    if code.answered_by() == AnsweredBy::Vendor {
        problem.vendor = Some(Box::new(VendorPart {
            vendor: ALL.first().map_or("", |adapter| adapter.spec().vendor),
            upstream: "sales".to_owned(),
            status: vendor_status(code),
            ..VendorPart::default()
        }));
    }
    let error = |code: &'static str, detail: &str| FieldError {
        pointer: "/title".to_owned(),
        code,
        detail: detail.to_owned(),
    };
    match code {
        Code::InvalidPatch => {
            problem.errors.push(error("too-long", "The title has 612 characters; at most 500 are accepted."));
        }
        Code::VendorRejected => {
            problem.errors.push(error(Code::VendorRejected.as_str(), "Title must not contain a line break."));
            if let Some(part) = &mut problem.vendor {
                part.code = Some("validation_error".to_owned());
                part.message = Some("Title must not contain a line break.".to_owned());
            }
        }
        _ => {}
    }
    let (_, _, body) = problem.into_parts(REQUEST_ID);
    json!({
        "summary": code.title(),
        "value": serde_json::from_slice::<Value>(&body).unwrap_or_default(),
    })
}

/// State of the update in the example.
fn applied(code: Code) -> Applied {
    match code {
        Code::VendorInvalidResponse | Code::VendorResponseTooLarge => Applied::Yes,
        Code::IdempotencyOutcomeUnknown
        | Code::VendorError
        | Code::VendorUnavailable
        | Code::VendorTimeout
        | Code::VendorUnexpectedStatus => Applied::Unknown,
        _ => Applied::No,
    }
}

/// The vendor's status in the example.
fn vendor_status(code: Code) -> Option<u16> {
    match code {
        Code::VendorUnreachable | Code::VendorTimeout => None,
        Code::VendorUnauthenticated => Some(401),
        Code::VendorError => Some(500),
        Code::VendorInvalidResponse | Code::VendorResponseTooLarge => Some(200),
        Code::VendorUnexpectedStatus => Some(302),
        _ => Some(code.status().as_u16()),
    }
}
