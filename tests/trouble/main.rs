//! Upstream faults: whatever goes wrong between the gateway and a vendor, the caller is told the truth in time.

// Always true here; it tells the lints that this is test code.
#![cfg(test)]

mod circuit;
mod connections;
mod dns;
mod http2;
mod matrix;
mod peer;
mod rig;
mod secrecy;
mod spellings;
mod table;
mod tls;
mod wire;
