//! Log lines and instruments: what counts and writes, not what is read by a scraper.

pub mod access;
pub mod labels;
pub mod log;
mod series;
pub mod traffic;
