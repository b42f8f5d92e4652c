//! Bodies: outgoing ones are whole in memory, incoming ones are read up to a limit.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Body as _;
use hyper::body::Incoming;

/// Body of an outgoing message.
pub type Body = Full<Bytes>;

/// Creates a body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
}

/// Creates an empty body.
pub fn empty() -> Body {
    Full::new(Bytes::new())
}

/// Error of reading a body.
#[derive(Debug)]
pub enum ReadError {
    /// It is longer than the limit.
    TooLarge,
    /// The connection broke, or the framing is wrong.
    Broken(hyper::Error),
}

/// Reads a body of at most `limit` bytes. A larger `Content-Length` fails before anything is read. On error `so_far` holds
/// the bytes that arrived.
///
/// # Errors
///
/// The body exceeds `limit`, or the connection broke.
pub async fn read(mut body: Incoming, limit: usize, so_far: &mut BytesMut) -> Result<Bytes, ReadError> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if expected > limit {
        return Err(ReadError::TooLarge);
    }
    let mut single: Option<Bytes> = None;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                so_far.extend_from_slice(&single.unwrap_or_default());
                return Err(ReadError::Broken(error));
            }
        };
        // Trailers are not passed on.
        let Ok(data) = frame.into_data() else { continue };
        let before = single.as_ref().map_or(so_far.len(), Bytes::len);
        if before + data.len() > limit {
            let room = limit - before;
            so_far.extend_from_slice(&single.unwrap_or_default());
            so_far.extend_from_slice(data.get(..room).unwrap_or_default());
            return Err(ReadError::TooLarge);
        }
        // A body of one frame, the usual case, is not copied.
        if single.is_none() && so_far.is_empty() {
            single = Some(data);
            continue;
        }
        if let Some(first) = single.take() {
            so_far.reserve(expected.max(first.len() + data.len()));
            so_far.extend_from_slice(&first);
        }
        so_far.extend_from_slice(&data);
    }
    Ok(single.unwrap_or_else(|| so_far.split().freeze()))
}
