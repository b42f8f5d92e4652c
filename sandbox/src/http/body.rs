//! Request bodies, by length or in chunks, up to a cap.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::head::{Framing, Head};
use super::{Refused, Stream};

const MAX_CHUNK_LINE: usize = 64;

/// Why a body was not read to its end, with what had come of it.
#[derive(Debug)]
pub(crate) struct NoBody {
    pub(crate) part: Vec<u8>,
    /// `None`: the connection broke.
    pub(crate) refused: Option<Refused>,
}

/// Reads a body and takes it out of `buffer`.
pub(crate) async fn read(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    head: &Head,
    framing: Framing,
    cap: usize,
) -> Result<Vec<u8>, NoBody> {
    let too_large = || Refused::new(413, format!("the body is larger than {cap} bytes"));
    let waiting = match framing {
        Framing::Length(length) if length > cap => {
            return Err(NoBody { part: Vec::new(), refused: Some(too_large()) });
        }
        Framing::Length(length) => buffer.len() < length,
        Framing::Chunked => buffer.is_empty(),
    };
    if waiting
        && head.all("expect").next().is_some()
        && stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err()
    {
        return Err(NoBody { part: Vec::new(), refused: None });
    }
    match framing {
        Framing::Length(length) => {
            while buffer.len() < length {
                buffer.reserve((length - buffer.len()).min(64 << 10));
                if !matches!(stream.read_buf(buffer).await, Ok(read) if read > 0) {
                    return Err(NoBody { part: buffer.to_vec(), refused: None });
                }
            }
            Ok(buffer.split_to(length).to_vec())
        }
        Framing::Chunked => {
            let mut body = Vec::new();
            loop {
                match chunk(buffer, &mut body, cap) {
                    Ok(Step::Done) => return Ok(body),
                    Ok(Step::Again) => continue,
                    Ok(Step::More) => {}
                    Err(refused) => return Err(NoBody { part: body, refused: Some(refused) }),
                }
                buffer.reserve(8 << 10);
                if !matches!(stream.read_buf(buffer).await, Ok(read) if read > 0) {
                    return Err(NoBody { part: body, refused: None });
                }
            }
        }
    }
}

enum Step {
    More,
    Again,
    Done,
}

/// Takes one chunk. Extensions and trailers are legal but no client of these vendors has a use for them.
fn chunk(buffer: &mut BytesMut, body: &mut Vec<u8>, cap: usize) -> Result<Step, Refused> {
    let bad = |what: &str| Refused::new(400, format!("malformed chunked body: {what}"));
    let window = buffer.get(..buffer.len().min(MAX_CHUNK_LINE)).unwrap_or_default();
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() == MAX_CHUNK_LINE { Err(bad("size line")) } else { Ok(Step::More) };
    };
    let digits = window.get(..end).unwrap_or_default();
    let size = match std::str::from_utf8(digits) {
        Ok(text) if (1..=8).contains(&end) && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            usize::from_str_radix(text, 16).map_err(|_| bad("size"))?
        }
        _ => return Err(bad("size")),
    };
    if body.len() + size > cap {
        return Err(Refused::new(413, format!("the body is larger than {cap} bytes")));
    }
    let whole = end + 2 + size + 2;
    if buffer.len() < whole {
        return Ok(Step::More);
    }
    if buffer.get(whole - 2..whole) != Some(b"\r\n".as_slice()) {
        return Err(bad(if size == 0 { "trailers are not taken" } else { "chunk end" }));
    }
    body.extend_from_slice(buffer.get(end + 2..end + 2 + size).unwrap_or_default());
    buffer.advance(whole);
    Ok(if size == 0 { Step::Done } else { Step::Again })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<(String, usize), u16> {
        let mut buffer = BytesMut::from(text);
        let mut body = Vec::new();
        loop {
            match chunk(&mut buffer, &mut body, 100).map_err(|r| r.status)? {
                Step::Again => {}
                Step::Done => return Ok((String::from_utf8(body).unwrap(), buffer.len())),
                Step::More => return Err(0),
            }
        }
    }

    #[test]
    fn chunks_are_joined_and_nonsense_refused() {
        assert_eq!(all("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nNEXT"), Ok(("abcde".into(), 4)));
        assert_eq!(all("3\r\nab"), Err(0));
        for bad in [
            "x\r\n",
            "+3\r\nabc\r\n",
            "\r\n",
            "3;a=b\r\nabc\r\n",
            "3\r\nabcd\r\n",
            "0\r\nX: y\r\n\r\n",
            "123456789\r\n",
        ] {
            assert_eq!(all(bad), Err(400), "{bad:?}");
        }
        assert_eq!(all("FF\r\n"), Err(413));
    }
}
