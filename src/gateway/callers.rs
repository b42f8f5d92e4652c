//! Who may use the gateway, how much, and which upstreams.

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

/// Everyone who is known.
#[derive(Debug, Default)]
pub struct Callers(Vec<Caller>);

/// One who is known.
#[derive(Debug)]
pub struct Caller {
    /// The name, as logs and metrics share it.
    pub name: Arc<str>,
    settings: settings::Caller,
    limit: Option<Arc<RateLimiter>>,
    limited: Arc<AtomicU64>,
}

impl Callers {
    /// The callers of a configuration. Limits that are unchanged go on counting where those of `previous` are.
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

    /// How many requests of each caller were over its limit, by its name.
    pub fn limited(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|caller| (&*caller.name, caller.limited.load(Ordering::Relaxed)))
    }

    /// The caller who sends this request, if it may send one now. Without configured callers everybody is let in:
    /// `None`.
    ///
    /// A caller is known by its key or by a name in its client certificate. A key that is sent must be right, and must
    /// not belong to another caller than the certificate does.
    pub fn admit(&self, head: &Parts, client: Option<&ClientIdentity>) -> Result<Option<&Caller>, Problem> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let by_certificate = client.map_or(Ok(None), |client| self.by_certificate(client))?;
        let caller = match self.by_key(head)? {
            Some(caller) if by_certificate.is_some_and(|other| other.name != caller.name) => {
                return Err(unknown("The key and the client certificate belong to different callers."));
            }
            Some(caller) => caller,
            None => by_certificate.ok_or_else(|| {
                unknown(match client {
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

    /// The owner of the key that was sent; an error where it has none.
    fn by_key(&self, head: &Parts) -> Result<Option<&Caller>, Problem> {
        let mut values = head.headers.get_all(header::AUTHORIZATION).iter();
        let key = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some(value), None) => bearer::token(value),
            _ => None,
        };
        let hash: [u8; 32] = Sha256::digest(key.unwrap_or_default()).into();
        // Every key is compared, each in constant time: neither the place nor the length of a match can be measured.
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
            None => Err(unknown("Send the key that was given to you: Authorization: Bearer <key>.")),
        }
    }

    /// The one caller that the client's certificate names.
    fn by_certificate(&self, client: &ClientIdentity) -> Result<Option<&Caller>, Problem> {
        let mut named = self
            .0
            .iter()
            .filter(|caller| caller.settings.certificate_names.iter().any(|name| client.is(name)));
        match (named.next(), named.next()) {
            (_, Some(_)) => Err(unknown("The client certificate names more than one caller.")),
            (caller, None) => Ok(caller),
        }
    }
}

fn unknown(detail: &str) -> Problem {
    Problem::new(Code::CallerUnauthenticated, detail)
        .header(header::WWW_AUTHENTICATE, "Bearer realm=\"parlance\"")
}

/// Refuses an upstream that the caller was not granted.
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
            // Neither a wrong key nor somebody else's is forgiven for a good certificate.
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
