//! The contract between the gateway and a vendor.

use bytes::Bytes;
use http::{Request, Response};

use crate::call::{DecodeContext, DecodeError};
use crate::canonical::Conversation;
use crate::failure::Failure;
use crate::spec::Spec;
use crate::target::{Target, VendorEndpoint};
use crate::{classify, request};

/// One vendor: its description, and the decoding of its answers. Implementations are stateless and do no IO.
///
/// Requests are made from the description alone; see [`encode`](trait.Adapter.html#method.encode).
pub trait Adapter: Sync {
    /// Description of the vendor.
    fn spec(&self) -> &'static Spec;

    /// Decodes a successful answer to an update that has a body.
    ///
    /// # Errors
    ///
    /// Fails if the answer is not JSON, has no conversation, or reports a failure.
    fn decode<'a>(
        &self,
        cx: &DecodeContext<'a>,
        reply: &'a Response<Bytes>,
    ) -> Result<Conversation<'a>, DecodeError>;

    /// Decodes a successful answer to a read. By default it has the shape of an answer to an update.
    ///
    /// # Errors
    ///
    /// Fails as [`decode`](Adapter::decode) does.
    fn decode_read<'a>(
        &self,
        cx: &DecodeContext<'a>,
        reply: &'a Response<Bytes>,
    ) -> Result<Conversation<'a>, DecodeError> {
        self.decode(cx, reply)
    }

    /// Classifies an unsuccessful answer. Never fails: an unreadable body leaves out code and message.
    fn failure(&self, reply: &Response<Bytes>) -> Failure {
        classify::failure(self.spec(), reply)
    }

    /// Builds the request that reads a conversation, without its credential; `None` if the vendor has no read.
    ///
    /// # Errors
    ///
    /// Fails if the URI is too long.
    fn read_request(
        &self,
        endpoint: &VendorEndpoint,
        target: &Target,
    ) -> Option<Result<Request<Bytes>, http::Error>> {
        request::read(self.spec(), endpoint, target)
    }
}
