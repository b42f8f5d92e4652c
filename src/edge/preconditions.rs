//! Preconditions of a request (RFC 9110 section 13). One that cannot be tested is refused, never ignored.

use http::{HeaderMap, HeaderName, header};

use crate::types::code::Code;
use crate::types::etag::Condition;
use crate::types::problem::Problem;

const ALL: [HeaderName; 5] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
];

/// Parses `If-Match`, the one precondition of an update.
///
/// # Errors
///
/// `invalid-header`: it is not valid, or there is another precondition.
pub(super) fn of_update(headers: &HeaderMap) -> Result<Option<Condition>, Problem> {
    parse(headers, &header::IF_MATCH, "If-Match is the only precondition of an update")
}

/// Parses `If-None-Match`, the one precondition of a read.
///
/// # Errors
///
/// `invalid-header`: it is not valid, or there is another precondition.
pub(super) fn of_read(headers: &HeaderMap) -> Result<Option<Condition>, Problem> {
    parse(headers, &header::IF_NONE_MATCH, "If-None-Match is the only precondition of a read")
}

fn parse(headers: &HeaderMap, supported: &HeaderName, rule: &str) -> Result<Option<Condition>, Problem> {
    let refuse = |detail| Err(Problem::new(Code::InvalidHeader, detail));
    if let Some(other) = ALL.iter().find(|name| *name != supported && headers.contains_key(*name)) {
        return refuse(format!("{rule}; '{other}' cannot be tested, so nothing was sent."));
    }
    Condition::parse(headers.get_all(supported)).or_else(|_| {
        refuse(format!(
            "'{supported}' must be '*' or a list of entity tags in double quotes, as ETag gives them."
        ))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn each_method_has_one_precondition() {
        for name in ALL {
            let mut headers = HeaderMap::new();
            headers.insert(name.clone(), HeaderValue::from_static("\"a\""));
            assert_eq!(of_update(&headers).is_ok(), name == header::IF_MATCH, "{name}");
            assert_eq!(of_read(&headers).is_ok(), name == header::IF_NONE_MATCH, "{name}");
            headers.insert(name.clone(), HeaderValue::from_static("a"));
            assert!(of_update(&headers).is_err() && of_read(&headers).is_err(), "{name}");
        }
        assert_eq!((of_update(&HeaderMap::new()), of_read(&HeaderMap::new())).0.unwrap(), None);
    }
}
