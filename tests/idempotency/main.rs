//! A request that is sent again with its key is answered, not done again: in one process, over a shared store, across
//! processes, and while each of them fails. How often a vendor was called is what the sandbox's ledger says.
//!
//! `PARLANCE_LONG=1` makes the races long.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail it by panicking"
)]

mod faults;
mod history;
mod kills;
mod memory;
mod mix;
mod processes;
mod race;
mod records;
mod relay;
mod rig;
mod semantics;
mod shares;
mod takeover;
mod topologies;
mod truth;
