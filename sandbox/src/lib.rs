//! Every supported vendor of conversational agents, simulated on loopback from its public documents: strict where a
//! document says so, stateful, with a ledger of everything received and faults on demand.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! let sandbox = parlance_sandbox::start(parlance_sandbox::Options::default()).await?;
//! for vendor in parlance_sandbox::vendors() {
//!     let _origin = sandbox.url(vendor);
//! }
//! sandbox.stop().await;
//! # Ok(())
//! # }
//! ```

mod clock;
mod connection;
mod control;
mod credentials;
mod faults;
mod http;
mod json;
mod ledger;
mod options;
mod sandbox;
mod store;
mod tokens;
mod vendors;

pub use credentials::{Client, Credentials};
pub use options::{Options, Tls};
pub use sandbox::{Sandbox, start};
pub use vendors::{Sample, names as vendors};
