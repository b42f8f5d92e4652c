//! Bearer tokens (RFC 6750 section 2.1).

use http::HeaderValue;

/// Returns the token of an `Authorization` value, if its scheme is `Bearer` in any case (RFC 9110 section 11.1).
pub fn token(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_taken_in_any_case_and_the_token_as_it_is() {
        let cases = [
            ("Bearer key", Some("key")),
            ("bearer key", Some("key")),
            ("BEARER  KeY ", Some("KeY")),
            ("Bearer ", Some("")),
            ("Bearer", None),
            ("Bearerkey", None),
            ("Basic key", None),
            ("key", None),
            ("Bearer \u{e9}", None),
        ];
        for (value, expected) in cases {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            assert_eq!(token(&value), expected, "{value:?}");
        }
    }
}
