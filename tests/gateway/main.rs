//! The product from outside: the program itself, over real sockets, between a caller and every simulated vendor.

// Always true here; it tells the lints that this is test code.
#![cfg(test)]

mod admin_token;
mod bodies;
mod callers;
mod commands;
mod conditions;
mod dry_run;
mod heads;
mod ids;
mod life;
mod merge;
mod metrics;
mod preferences;
mod reads;
mod resources;
mod routing;
mod setup;
mod stories;
mod trust;
mod vendors;
