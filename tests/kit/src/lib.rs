//! Shared parts of all tests: the program over sockets, the simulated vendors behind it, clients before it, and judges of
//! its answers.
//!
//! A helper fails its test by panicking. The [`blocking`] half is for tests without a runtime of their own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail it by panicking"
)]

pub mod blocking;
mod client;
mod connection;
pub mod contract;
mod machine;
mod message;
mod program;
mod redis_server;
mod sandbox;
mod score;
pub mod stories;
mod tree;
mod wait;

pub use client::{Client, NoReply};
pub use connection::{Connection, Socket};
pub use machine::Machine;
pub use message::{Reply, Request};
pub use program::{Ended, Process, Program, command, freeze, signal};
pub use redis_server::{Redis, free_port};
pub use sandbox::{Sandbox, Sent, address};
pub use score::record;
pub use tree::Tree;
pub use wait::{PATIENCE, eventually, is_long};
