//! Shared by the tests: a JSON tree to compare by, the stories, and an upstream for any vendor.

mod stories;
mod tree;
mod upstream;

pub(crate) use stories::{Story, names, root};
pub(crate) use tree::Tree;
pub(crate) use upstream::upstream;
