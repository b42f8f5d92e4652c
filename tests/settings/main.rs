//! The configuration: what it accepts, what it says about what it does not, and what it never shows.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail it by panicking")]

mod build;
mod faults;
mod layers;
mod reference;
mod secrets;
mod support;
mod words;
