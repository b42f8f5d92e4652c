//! Bodies: what we send is whole in memory, what we receive is read up to a limit.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Body as _;
use hyper::body::Incoming;

/// A body that we send.
pub type Body = Full<Bytes>;

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
}

/// No body.
pub fn empty() -> Body {
    Full::new(Bytes::new())
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub enum ReadError {
    /// It is longer than the limit.
    TooLarge,
    /// The connection broke, or the framing is wrong.
    Broken(hyper::Error),
}

/// Reads at most `limit` bytes. A declared length beyond it is refused before anything is read, and nothing is
/// reserved on the word of the sender beyond the limit. What was read stays in `so_far` if reading fails.
pub async fn read(mut body: Incoming, limit: usize, so_far: &mut BytesMut) -> Result<Bytes, ReadError> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if expected > limit {
        return Err(ReadError::TooLarge);
    }
    let mut only: Option<Bytes> = None;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                so_far.extend_from_slice(&only.unwrap_or_default());
                return Err(ReadError::Broken(error));
            }
        };
        // Trailers are dropped: nothing of them is passed on.
        let Ok(data) = frame.into_data() else { continue };
        let before = only.as_ref().map_or(so_far.len(), Bytes::len);
        if before + data.len() > limit {
            let room = limit - before;
            so_far.extend_from_slice(&only.unwrap_or_default());
            so_far.extend_from_slice(data.get(..room).unwrap_or_default());
            return Err(ReadError::TooLarge);
        }
        // A body that came in one piece (nearly all do) is used where it lies.
        if only.is_none() && so_far.is_empty() {
            only = Some(data);
            continue;
        }
        if let Some(first) = only.take() {
            so_far.reserve(expected.max(first.len() + data.len()));
            so_far.extend_from_slice(&first);
        }
        so_far.extend_from_slice(&data);
    }
    Ok(only.unwrap_or_else(|| so_far.split().freeze()))
}
