//! Own middleware, one small file each. Where and in which order they stand is said in `stack`.

mod limit;
mod observe;
mod rescue;

pub use limit::{Limit, LimitLayer, Load};
pub use observe::{Observe, ObserveLayer};
pub use rescue::{Rescue, RescueLayer};
