//! Log lines and instruments. The exporter that scrapers read is in `admin`.

pub mod access;
pub mod labels;
pub mod log;
mod series;
pub mod traffic;
