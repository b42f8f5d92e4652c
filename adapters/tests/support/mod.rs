//! Shared parts of the tests: a JSON tree to compare by, the stories, and an upstream for any vendor.

mod upstream;

pub(crate) use testkit::Tree;
pub(crate) use testkit::stories::{Story, names, root};
pub(crate) use upstream::upstream;
