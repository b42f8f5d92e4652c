//! Nouns that every module needs: problems and their codes, request ids, bodies, deadlines.

pub mod bearer;
pub mod body;
pub mod build_error;
pub mod code;
pub mod continued;
pub mod deadline;
pub mod etag;
pub mod problem;
pub mod rate_limiter;
pub mod remedies;
pub mod request_id;
pub mod retry_after;
