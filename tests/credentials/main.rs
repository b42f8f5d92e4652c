//! Credentials that change: files that are rotated, tokens that expire, are revoked or cannot be had.

// Always true here; it tells the lints that this is test code.
#![cfg(test)]

mod files;
mod rig;
mod storms;
mod tokens;
mod troubles;
