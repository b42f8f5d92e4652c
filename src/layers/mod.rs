//! Own middleware, one small file each. Where and in which order they stand is said in `stack`.

mod observe;
mod rescue;

pub use observe::{Observe, ObserveLayer};
pub use rescue::{Rescue, RescueLayer};
