//! Credentials, URLs and files: what stands outside the configuration, or leads there.

use std::path::{Path, PathBuf};

use http::Uri;
use parlance_adapters::{Origin, Spec};

use super::checker::Checker;
use crate::settings::checked::{Credential, OAuth2, Store};
use crate::settings::limited_file::read_text;
use crate::settings::raw::credential::{self as raw, SecretSource};
use crate::settings::secret::Secret;

/// No file of certificates is larger than this.
const MAX_PEM: u64 = 4 * 1024 * 1024;

const SOURCES: &str = r#"such as { env = "SALES_API_KEY" } or { file = "/run/secrets/sales" }"#;

impl Checker<'_> {
    /// An upstream's credential.
    pub(crate) fn credential(
        &mut self,
        outer: &str,
        raw: Option<&raw::Credential>,
        spec: Option<&Spec>,
        allow_plain_http: bool,
        allow_private: bool,
    ) -> Option<Credential> {
        let key = format!("{outer}.credential");
        let Some(raw) = raw else {
            self.faults.add(&key, format!("is missing: {SOURCES}"));
            return None;
        };
        let Some(oauth2) = &raw.oauth2 else {
            let (env, file, value) = (raw.env.clone(), raw.file.clone(), raw.value.clone());
            return self.source(&key, &SecretSource { env, file, value }, "env, file, value and oauth2");
        };
        if raw.env.is_some() || raw.file.is_some() || raw.value.is_some() {
            self.faults.add(&key, "must have exactly one of env, file, value and oauth2");
        }
        if let Some(spec) = spec
            && spec.credential != parlance_adapters::Credential::Bearer
        {
            let message = format!(
                "cannot be used: {} takes a key in {}, no token",
                spec.vendor,
                spec.credential.shown()
            );
            self.faults.add(&format!("{key}.oauth2"), message);
        }
        self.oauth2(&format!("{key}.oauth2"), oauth2, allow_plain_http, allow_private)
    }

    fn oauth2(
        &mut self,
        outer: &str,
        raw: &raw::OAuth2,
        allow_plain_http: bool,
        allow_private: bool,
    ) -> Option<Credential> {
        let url_key = format!("{outer}.token_url");
        let token_url = match &raw.token_url {
            Some(url) => self.url(&url_key, url, allow_plain_http).map(|(_, named)| (url.clone(), named)),
            None => {
                self.faults.add(
                    &url_key,
                    "is missing: the token endpoint, as in https://auth.example.com/oauth2/token",
                );
                None
            }
        };
        let id_key = format!("{outer}.client_id");
        match raw.client_id.as_deref().map(Secret::header_safe) {
            None => self.faults.add(&id_key, "is missing"),
            Some(Err(what)) => self.faults.add(&id_key, what),
            Some(Ok(_)) => {}
        }
        let secret_key = format!("{outer}.client_secret");
        let client_secret = match &raw.client_secret {
            Some(source) => self.secret(&secret_key, source),
            None => {
                self.faults.add(&secret_key, format!("is missing: {SOURCES}"));
                None
            }
        };
        let blank_or_visible = |c: char| c == ' ' || c.is_ascii_graphic();
        let scope_is_good = |scope: &String| !scope.trim().is_empty() && scope.chars().all(blank_or_visible);
        if raw.scope.as_ref().is_some_and(|scope| !scope_is_good(scope)) {
            self.faults
                .add(&format!("{outer}.scope"), "must be names with blanks between them, in visible ASCII");
        }
        let (token_url, named) = token_url?;
        Some(Credential::OAuth2(OAuth2 {
            token_url,
            client_id: raw.client_id.clone()?,
            client_secret: Box::new(client_secret?),
            scope: raw.scope.clone(),
            style: raw.style,
            allow_private: allow_private || named,
        }))
    }

    /// A secret that is no token.
    pub(crate) fn secret(&mut self, key: &str, raw: &SecretSource) -> Option<Credential> {
        self.source(key, raw, "env, file and value")
    }

    fn source(&mut self, key: &str, raw: &SecretSource, names: &str) -> Option<Credential> {
        match (&raw.env, &raw.file, &raw.value) {
            (Some(name), None, None) => {
                let key = format!("{key}.env");
                let Some(text) = self.env.get(name).filter(|text| !text.is_empty()) else {
                    self.faults.add(&key, format!("{} is not set or empty", variable(name)));
                    return None;
                };
                match Secret::header_safe(text) {
                    Ok(value) => Some(Credential::Env { name: name.clone(), value }),
                    Err(what) => {
                        self.faults.add(&key, format!("the value of {} {what}", variable(name)));
                        None
                    }
                }
            }
            (None, Some(path), None) => match Secret::from_file(Path::new(path)) {
                Ok(value) => Some(Credential::File { path: PathBuf::from(path), value }),
                Err(what) => {
                    self.faults.add(&format!("{key}.file"), format!("{} {what}", file(path)));
                    None
                }
            },
            (None, None, Some(text)) => match Secret::header_safe(text.expose()) {
                Ok(value) => Some(Credential::Value(value)),
                Err(what) => {
                    self.faults.add(&format!("{key}.value"), what);
                    None
                }
            },
            (None, None, None) => {
                if !self.faults.lost_part_of(key) {
                    self.faults.add(key, format!("must have one of {names}, {SOURCES}"));
                }
                None
            }
            _ => {
                self.faults.add(key, format!("must have exactly one of {names}"));
                None
            }
        }
    }

    /// A URL that requests with a credential go to, and whether it names its address itself.
    pub(crate) fn url(&mut self, key: &str, url: &str, allow_plain_http: bool) -> Option<(Origin, bool)> {
        let origin = match Origin::parse(url) {
            Ok(origin) => origin,
            Err(what) => {
                self.faults.add(key, what.to_string());
                return None;
            }
        };
        let host = origin.authority().host();
        if host.is_empty() {
            self.faults.add(key, "needs a host, as in https://api.example.com");
            return None;
        }
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().ok();
        let local = host.eq_ignore_ascii_case("localhost");
        let loopback = local || address.is_some_and(|address| address.is_loopback());
        if origin.scheme() == "http" && !loopback && !allow_plain_http {
            let message = format!(
                "sends the credential to {host} over plain http, where it can be read on the way: \
                 use https, or set allow_plain_http = true"
            );
            self.faults.add(key, message);
        }
        Some((origin, local || address.is_some()))
    }

    /// A file that must hold PEM of some kind.
    pub(crate) fn pem(&mut self, key: &str, path: &str, holds: &str) -> Option<PathBuf> {
        let fault = match read_text(Path::new(path), MAX_PEM) {
            Err(what) => format!("the file {path} {what}"),
            Ok(text) if !text.contains(holds) => {
                let kind = if holds.starts_with("CERTIFICATE") { "certificate" } else { "private key" };
                format!("the file {path} holds no {kind} in PEM form")
            }
            Ok(_) => return Some(PathBuf::from(path)),
        };
        self.faults.add(key, fault);
        None
    }

    /// Reads the store of answers. Its URL may hold a password, so no fault repeats it.
    pub(crate) fn store(&mut self, text: Secret) -> Store {
        if text.expose() == "memory" {
            return Store::Memory;
        }
        let uri: Option<Uri> = text.expose().parse().ok();
        let known = uri.as_ref().is_some_and(|uri| {
            let scheme = matches!(uri.scheme_str(), Some("redis" | "rediss" | "valkey" | "valkeys"));
            scheme && uri.host().is_some_and(|host| !host.is_empty())
        });
        if !known {
            let message = "must be \"memory\" or the URL of a Valkey or Redis such as redis://host:6379/0 or, \
                           with TLS, rediss://host:6379/0";
            self.faults.add("idempotency.store", message);
        }
        Store::Redis { url: text }
    }
}

/// A variable as messages name it. What has not the shape of a name may be the secret itself, put in the wrong place.
fn variable(name: &str) -> String {
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    match name.chars().all(plain) && !name.is_empty() {
        true => format!("the environment variable {name}"),
        false => "the environment variable that is named here".to_owned(),
    }
}

/// A file of a secret as messages name it; the same holds.
fn file(path: &str) -> String {
    match path.contains(['/', '\\', '.']) {
        true => format!("the file {path}"),
        false => "the file that is named here".to_owned(),
    }
}
