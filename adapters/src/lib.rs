//! Pure translation between the canonical conversation and the vendors' dialects.
//!
//! ```text
//! canonical body ── Patch::parse ──> Patch ── encode ──> Encoded ──> UpstreamCall { Request<Bytes>, .. }
//! canonical answer <── Conversation::write ── Conversation <── decode ── Response<Bytes>
//!                                             Failure <── Adapter::failure ── Response<Bytes>
//! ```
//!
//! No IO, clock, randomness, environment or logging: every input is an argument.
//!
//! # Encoding
//!
//! A patch becomes the one request that applies it, or the list of all its faults.
//!
//! ```
//! use bytes::Bytes;
//! use parlance_adapters::canonical::Patch;
//! use parlance_adapters::{ALL, EncodeRequest, Encoded, Origin, VendorEndpoint, locate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! for adapter in ALL {
//!     let spec = adapter.spec();
//!     let settings = spec.example.settings.iter().map(|(key, value)| (*key, (*value).to_owned()));
//!     let endpoint = VendorEndpoint {
//!         name: "sales".to_owned(),
//!         origin: Origin::parse("http://127.0.0.1:9105")?,
//!         settings: settings.collect(),
//!         headers: Vec::new(),
//!         allow_vendor_fields: false,
//!     };
//!     let target = locate(spec, &endpoint, spec.example.id)?;
//!     assert_eq!(target.id(), format!("sales:{}", spec.example.id));
//!
//!     let encode = |body: &'static str| -> Result<Encoded, Box<dyn std::error::Error>> {
//!         let body = Bytes::from(body);
//!         let patch = Patch::parse(&body)?;
//!         Ok(adapter.encode(&EncodeRequest {
//!             endpoint: &endpoint,
//!             target: &target,
//!             patch: &patch,
//!             merge: false,
//!             lenient: false,
//!             idempotency_key: None,
//!         })?)
//!     };
//!     let Encoded::Ready(call) = encode(spec.example.patch)? else { panic!("a merge was not requested") };
//!     assert_eq!(call.request.method(), spec.update[0].method);
//!     assert_eq!(call.request.uri().port_u16(), Some(9105));
//!
//!     let error = encode(r#"{"colour": "red", "vendor": "acme"}"#).unwrap_err();
//!     assert!(error.to_string().starts_with("'colour' is no member of a conversation"));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Decoding
//!
//! A successful reply becomes a conversation. A reply without a body confirms what was set.
//!
//! ```
//! use bytes::Bytes;
//! use http::Response;
//! use parlance_adapters::canonical::Reported;
//! use parlance_adapters::{ALL, DecodeContext, Origin, VendorEndpoint, decode, locate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let endpoint = |settings: &[(&'static str, &str)]| VendorEndpoint {
//! #     name: "sales".to_owned(),
//! #     origin: Origin::parse("http://127.0.0.1:9105").unwrap(),
//! #     settings: settings.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
//! #     headers: Vec::new(),
//! #     allow_vendor_fields: false,
//! # };
//! let reply = Response::new(Bytes::from(r#"{"id": "c-1", "metadata": {"n": 1.50}, "further": [7]}"#));
//! // Vendors that report their free context as `metadata`.
//! let adapters = ALL.iter().filter(|it| it.spec().is_mergeable() && it.spec().rows().any(|row| row.wire == "metadata"));
//! for adapter in adapters {
//!     let spec = adapter.spec();
//!     let target = locate(spec, &endpoint(spec.example.settings), "c-1")?;
//!     let conversation = decode(*adapter, &DecodeContext::of_read(&target), &reply)?;
//!     let Reported::Value(context) = conversation.context else { panic!("the reply has a context") };
//!     assert_eq!(context.text(), r#"{"n": 1.50}"#);
//!
//!     let mut answer = Vec::new();
//!     conversation.write(target.id(), spec.vendor, "sales", &[], &mut answer);
//!     let answer = String::from_utf8(answer)?;
//!     assert!(answer.starts_with(r#"{"id":"sales:c-1","#));
//!     assert!(answer.ends_with(r#""vendor_data":{"further":[7]}}"#));
//! }
//! # Ok(())
//! # }
//! ```

mod adapter;
mod body;
mod call;
pub mod canonical;
mod classify;
pub mod confirmation;
pub mod docs;
mod failure;
pub mod json;
pub mod merge;
mod message;
pub mod reading;
mod request;
mod spec;
mod table;
mod target;
mod translate;
mod trust;
mod vendors;

pub use adapter::Adapter;
pub use call::{
    DecodeContext, DecodeError, EncodeRequest, Encoded, PendingMerge, UpstreamCall, ValidationError,
};
pub use classify::into_failure;
pub use failure::{Failure, FailureKind, VendorError};
pub use reading::confirm;
pub use spec::{
    BodyFormat, Conversion, Credential, Endpoint, Example, NullHandling, Row, SettingPlacement, Spec,
    VendorSetting,
};
pub use target::{IdFault, Origin, OriginError, Target, VendorEndpoint, decode_segment, locate};
pub use translate::{decode, fault_codes, fields};
pub use vendors::{ALL, vendor};
