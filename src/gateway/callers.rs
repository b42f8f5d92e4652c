//! Callers: authentication, rate limit, and the upstreams that each may use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header;
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::server::tls::ClientIdentity;
use crate::settings;
use crate::types::bearer;
use crate::types::code::Code;
use crate::types::problem::Problem;
use crate::types::rate_limiter::RateLimiter;
use crate::types::retry_after::ceil_secs;
use crate::upstream::Upstream;

/// Configured callers.
#[derive(Debug, Default)]
pub struct Callers(Vec<Caller>);

/// A configured caller.
#[derive(Debug)]
pub struct Caller {
    /// Name, shared with logs and metrics.
    pub name: Arc<str>,
    settings: settings::Caller,
    limit: Option<Arc<RateLimiter>>,
    limited: Arc<AtomicU64>,
}

impl Callers {
    /// Creates the callers of a configuration. A caller whose rate limit is unchanged keeps its limiter of `previous`.
    pub fn new(settings: &[settings::Caller], previous: Option<&Callers>) -> Self {
        let callers = settings.iter().map(|caller| {
            let before = previous.and_then(|all| all.0.iter().find(|known| *known.name == *caller.name));
            let same = before.filter(|known| known.settings.rate_limit == caller.rate_limit);
            let new = || caller.rate_limit.map(|rate| Arc::new(RateLimiter::new(rate.requests, rate.per)));
            Caller {
                name: Arc::from(caller.name.as_str()),
                limit: same.map_or_else(new, |known| known.limit.clone()),
                limited: before.map(|known| Arc::clone(&known.limited)).unwrap_or_default(),
                settings: caller.clone(),
            }
        });
        Callers(callers.collect())
    }

    /// The caller of this name.
    pub fn named(&self, name: &str) -> Option<&Caller> {
        self.0.iter().find(|caller| *caller.name == *name)
    }

    /// Number of requests over the limit, for each caller by name.
    pub fn limited(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|caller| (&*caller.name, caller.limited.load(Ordering::Relaxed)))
    }

    /// Authenticates the caller of a request and counts the request against its limit. Returns `None` if no callers are
    /// configured: then everyone may use the gateway.
    ///
    /// A caller is authenticated by its key or by a name in its client certificate. If both are sent, both must belong to
    /// the same caller.
    ///
    /// # Errors
    ///
    /// The caller is not authenticated, or over its limit.
    pub fn admit(&self, head: &Parts, client: Option<&ClientIdentity>) -> Result<Option<&Caller>, Problem> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let by_certificate = client.map_or(Ok(None), |client| self.by_certificate(client))?;
        let caller = match self.by_key(head)? {
            Some(caller) if by_certificate.is_some_and(|other| other.name != caller.name) => {
                return Err(unauthenticated(
                    "The key and the client certificate belong to different callers.",
                ));
            }
            Some(caller) => caller,
            None => by_certificate.ok_or_else(|| {
                unauthenticated(match client {
                    None => "Send the key that was given to you: Authorization: Bearer <key>.",
                    Some(_) => {
                        "The client certificate names no caller that is known here, and no key was sent."
                    }
                })
            })?,
        };
        match caller.limit.as_ref().map_or(Ok(()), |limit| limit.check()) {
            Ok(()) => Ok(Some(caller)),
            Err(wait) => {
                caller.limited.fetch_add(1, Ordering::Relaxed);
                let detail = "You send more requests than you may; wait for as long as Retry-After says.";
                Err(Problem::new(Code::CallerRateLimited, detail).retry_after(ceil_secs(wait)))
            }
        }
    }

    /// Owner of the key in `Authorization`; `None` without that header. A key without an owner is an error.
    fn by_key(&self, head: &Parts) -> Result<Option<&Caller>, Problem> {
        let mut values = head.headers.get_all(header::AUTHORIZATION).iter();
        let key = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some(value), None) => bearer::token(value),
            _ => None,
        };
        let hash: [u8; 32] = Sha256::digest(key.unwrap_or_default()).into();
        // Every key is compared, each in constant time, so that timing reveals nothing about the keys.
        let mut found = None;
        for caller in &self.0 {
            let hashes = caller.settings.key_sha256.iter();
            let matches = hashes.fold(Choice::from(0), |any, known| any | known.ct_eq(&hash));
            if bool::from(matches) {
                found = Some(caller);
            }
        }
        match found.filter(|_| key.is_some_and(|key| !key.is_empty())) {
            Some(caller) => Ok(Some(caller)),
            None => Err(unauthenticated("Send the key that was given to you: Authorization: Bearer <key>.")),
        }
    }

    /// Caller that the client certificate names. More than one is an error.
    fn by_certificate(&self, client: &ClientIdentity) -> Result<Option<&Caller>, Problem> {
        let mut named = self
            .0
            .iter()
            .filter(|caller| caller.settings.certificate_names.iter().any(|name| client.is(name)));
        match (named.next(), named.next()) {
            (_, Some(_)) => Err(unauthenticated("The client certificate names more than one caller.")),
            (caller, None) => Ok(caller),
        }
    }
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(Code::CallerUnauthenticated, detail)
        .header(header::WWW_AUTHENTICATE, "Bearer realm=\"parlance\"")
}

/// Checks that the caller may use an upstream.
///
/// # Errors
///
/// The configuration does not grant it.
pub fn authorize_upstream(caller: Option<&Caller>, upstream: &Upstream) -> Result<(), Problem> {
    let granted = caller.and_then(|caller| caller.settings.upstreams.as_ref());
    if granted.is_none_or(|names| names.iter().any(|name| **name == *upstream.name)) {
        return Ok(());
    }
    Err(Problem::new(
        Code::CallerForbidden,
        format!("You may not use the upstream '{}'; ask its operator.", upstream.name),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::Rate;

    fn caller(name: &str, key: &str, names: &[&str]) -> settings::Caller {
        settings::Caller {
            name: name.to_owned(),
            key_sha256: vec![Sha256::digest(key).into(), Sha256::digest(format!("{key}-next")).into()],
            certificate_names: names.iter().map(|&name| name.to_owned()).collect(),
            upstreams: None,
            rate_limit: None,
        }
    }

    fn head(keys: &[&str]) -> Parts {
        let mut request = http::Request::new(());
        for key in keys {
            request.headers_mut().append(header::AUTHORIZATION, key.parse().unwrap());
        }
        request.into_parts().0
    }

    #[test]
    fn who_is_let_in() {
        let callers = Callers::new(&[caller("crm", "k1", &["crm"]), caller("erp", "k2", &["erp"])], None);
        type Row<'a> = (&'a [&'a str], Option<&'a [&'a str]>, Option<&'a str>);
        let table: &[Row<'_>] = &[
            (&["Bearer k1"], None, Some("crm")),
            (&["bearer  k2"], None, Some("erp")),
            (&["Bearer k1-next"], None, Some("crm")),
            (&["Bearer k3"], None, None),
            (&["Bearer k"], None, None),
            (&["Bearer "], None, None),
            (&["Bearer"], None, None),
            (&["Basic k1"], None, None),
            (&["k1"], None, None),
            (&["Bearer k1", "Bearer k1"], None, None),
            (&[], None, None),
            (&[], Some(&["crm"]), Some("crm")),
            (&[], Some(&["other", "erp"]), Some("erp")),
            (&[], Some(&["other"]), None),
            (&[], Some(&[]), None),
            (&[], Some(&["crm", "erp"]), None),
            (&["Bearer k1"], Some(&["crm"]), Some("crm")),
            (&["Bearer k1"], Some(&["other"]), Some("crm")),
            // A good certificate does not excuse a wrong key or that of another caller.
            (&["Bearer k3"], Some(&["crm"]), None),
            (&["Bearer k2"], Some(&["crm"]), None),
        ];
        for (keys, peer, expected) in table {
            let client = peer.map(|names| ClientIdentity {
                dns: Vec::new(),
                exact: names.iter().map(|&name| name.to_owned()).collect(),
            });
            let head = head(keys);
            let admitted = callers.admit(&head, client.as_ref());
            match (expected, admitted) {
                (Some(name), Ok(Some(caller))) => assert_eq!(*caller.name, **name),
                (None, Err(problem)) => assert_eq!(problem.code, Code::CallerUnauthenticated),
                (_, admitted) => panic!("{keys:?} {peer:?}: {admitted:?}"),
            }
        }
        assert!(Callers::default().admit(&head(&["Bearer k3"]), None).unwrap().is_none());
    }

    #[test]
    fn the_key_of_nothing_opens_nothing() {
        let callers = Callers::new(&[caller("crm", "", &[])], None);
        assert!(callers.admit(&head(&["Bearer "]), None).is_err());
        assert!(callers.admit(&head(&["Basic x"]), None).is_err());
    }

    #[test]
    fn a_limit_is_kept_and_outlives_a_reload_that_leaves_it_as_it_is() {
        let rate = Rate { requests: 3, per: Duration::from_secs(3600) };
        let limited = settings::Caller { rate_limit: Some(rate), ..caller("crm", "k1", &[]) };
        let head = head(&["Bearer k1"]);
        let callers = Callers::new(std::slice::from_ref(&limited), None);
        for _ in 0..3 {
            assert!(callers.admit(&head, None).is_ok());
        }
        let problem = callers.admit(&head, None).unwrap_err();
        assert_eq!(problem.code, Code::CallerRateLimited);
        assert!((1..=1200).contains(&problem.retry_after.unwrap()), "{:?}", problem.retry_after);

        let same = Callers::new(std::slice::from_ref(&limited), Some(&callers));
        assert!(same.admit(&head, None).is_err());
        let more = Rate { requests: 4, ..rate };
        let changed = settings::Caller { rate_limit: Some(more), ..limited };
        let changed = Callers::new(&[changed], Some(&callers));
        assert!(changed.admit(&head, None).is_ok());
        assert!(changed.limited().eq([("crm", 2)]), "what was counted stays, whatever the limit is");
    }
}
