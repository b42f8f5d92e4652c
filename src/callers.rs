//! Who may use the gateway, and which upstreams.

use http::header;
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::problem::{Code, Problem};
use crate::upstream::Upstream;

pub use crate::settings::Caller;

/// The caller whose key the request carries. Without configured callers everybody is let in: `None`.
pub fn authenticate<'a>(callers: &'a [Caller], head: &Parts) -> Result<Option<&'a Caller>, Problem> {
    if callers.is_empty() {
        return Ok(None);
    }
    let mut values = head.headers.get_all(header::AUTHORIZATION).iter();
    let key = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(bearer),
        _ => None,
    };
    let known = key.and_then(|key| {
        let hash: [u8; 32] = Sha256::digest(key).into();
        // Every key is compared, each in constant time: neither the place nor the length of a match can be measured.
        let mut found = None;
        for caller in callers {
            let matches =
                caller.key_sha256.iter().fold(subtle::Choice::from(0), |any, known| any | known.ct_eq(&hash));
            if bool::from(matches) {
                found = Some(caller);
            }
        }
        found
    });
    known.map(Some).ok_or_else(|| {
        Problem::new(
            Code::CallerUnauthenticated,
            "Send the key that was given to you: Authorization: Bearer <key>.",
        )
        .header(header::WWW_AUTHENTICATE, "Bearer realm=\"parlance\"")
    })
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Refuses an upstream that the caller was not granted.
pub fn may_use(caller: Option<&Caller>, upstream: &Upstream) -> Result<(), Problem> {
    let granted = caller.and_then(|caller| caller.upstreams.as_ref());
    if granted.is_none_or(|names| names.iter().any(|name| **name == *upstream.name)) {
        return Ok(());
    }
    Err(Problem::new(
        Code::CallerForbidden,
        format!("You may not use the upstream '{}'; ask its operator.", upstream.name),
    ))
}
