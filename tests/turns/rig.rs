//! Processes over one store.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parlance::idempotency::Idempotency;
use parlance::idempotency::turns::{Turn, TurnError, TurnKind};
use parlance::settings;
use parlance::types::deadline::Deadline;
use testkit::Redis;

/// The lease in most tests.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// The store's own state of turns.
pub(crate) const KEYS: &[&[u8]] = &[b"KEYS", b"parlance:v1:turn:*"];

/// A process with these settings of its store.
pub(crate) fn process(redis: &Redis, more: &str) -> Idempotency {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("parlance.toml");
    let config = format!(
        "default_upstream = \"sms\"\n[defaults]\ntimeout = \"900ms\"\nconnect_timeout = \"500ms\"\n\
         [upstreams.sms]\nvendor = \"agentphone\"\ncredential = {{ value = \"k\" }}\n\
         [idempotency]\n{}\n{more}\n",
        redis.setting()
    );
    std::fs::write(&file, config).unwrap();
    let settings = settings::load(&[file], &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:?}"));
    Idempotency::new(&settings.idempotency, 0).unwrap()
}

/// So many processes, patient with their store.
pub(crate) fn processes(redis: &Redis, count: usize) -> Vec<Idempotency> {
    (0..count).map(|_| process(redis, "lease = \"2s\"\nstore_timeout = \"10s\"")).collect()
}

pub(crate) fn within(limit: Duration) -> Deadline {
    Deadline::from(Instant::now() + limit)
}

/// Takes the turn of the usual conversation.
pub(crate) async fn take(of: &Idempotency, kind: TurnKind, limit: Duration) -> Result<Turn, TurnError> {
    of.turns().take("sms:conv_1", kind, &within(limit)).await
}
