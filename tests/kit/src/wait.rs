//! Patience: how long tests wait, and for what.

use std::time::{Duration, Instant};

/// Longer than anything that a test waits for on purpose; other work may be using the same processors.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at something that is waited for.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// Waits until a condition holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tells whether tests run in their long form: `PARLANCE_LONG` is set.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("PARLANCE_LONG").is_some()
}
