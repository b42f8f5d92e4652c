//! Turns of conversations across processes that share a store: who may run beside whom, and what becomes of a turn when
//! its holder, a waiter or the store fails. Each `Idempotency` stands for one process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail it by panicking"
)]

mod exclusion;
mod failures;
mod load;
mod lost;
mod refusals;
mod rig;
mod windows;
