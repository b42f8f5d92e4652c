//! The gateway's own listeners and its life: who calls, how slowly, and what becomes of them when it changes or ends.

// Always true here; it tells the lints that this is test code.
#![cfg(test)]

mod bench;
mod load;
mod pki;

mod clocks;
mod cutoff;
mod identity;
mod ingress;
mod kills;
mod lifecycle;
mod memory;
mod overload;
mod pause;
mod reload;
mod rotation;
