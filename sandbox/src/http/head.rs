//! Request heads, read strictly: what two parsers could understand differently is refused.

use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;

use super::{Refused, Stream};

/// A head larger than this is refused with 431.
pub(crate) const HEAD_CAP: usize = 64 << 10;
const MAX_FIELDS: usize = 128;

/// A request line and its fields, as received and in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// How the body's end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
}

/// Why no head was read.
#[derive(Debug)]
pub(crate) enum NoHead {
    /// The peer closed between two requests.
    Closed,
    /// The connection broke inside a head, of which so many bytes had come.
    Cut(usize),
    /// The bytes are not a request this server takes.
    Refused(Refused),
}

impl Head {
    /// Every value of a field.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The value of a field that must not be repeated: `Err` when it is.
    pub(crate) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, ()> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(()) } else { Ok(first) }
    }

    /// Whether the peer wants the connection closed after the answer.
    pub(crate) fn wants_close(&self) -> bool {
        self.all("connection")
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case("close"))
    }

    /// How the body is framed; anything two servers might read differently is refused.
    pub(crate) fn framing(&self) -> Result<Framing, Refused> {
        let coding = self
            .one("transfer-encoding")
            .map_err(|()| Refused::new(400, "Transfer-Encoding appears twice"))?;
        let length =
            self.one("content-length").map_err(|()| Refused::new(400, "Content-Length appears twice"))?;
        match (coding, length) {
            (Some(_), Some(_)) => {
                Err(Refused::new(400, "both Transfer-Encoding and Content-Length are given"))
            }
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            (Some(_), None) => Err(Refused::new(501, "the only transfer coding taken is chunked")),
            (None, None) => Ok(Framing::Length(0)),
            (None, Some(digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                // A length past the machine's word is a body past the cap, not a syntax error.
                Ok(Framing::Length(digits.parse().unwrap_or(usize::MAX)))
            }
            (None, Some(_)) => Err(Refused::new(400, "Content-Length is not a number")),
        }
    }
}

/// Reads until a whole head stands at the front of `buffer` and takes it out. Bytes behind it stay for the body.
pub(crate) async fn read(stream: &mut Stream, buffer: &mut BytesMut) -> Result<Head, NoHead> {
    loop {
        if !buffer.is_empty()
            && let Some((head, length)) = parse(buffer).map_err(NoHead::Refused)?
        {
            buffer.advance(length);
            return Ok(head);
        }
        if buffer.len() > HEAD_CAP {
            return Err(NoHead::Refused(Refused::new(431, "the request head is too large")));
        }
        buffer.reserve(8 << 10);
        match stream.read_buf(buffer).await {
            Ok(0) if buffer.is_empty() => return Err(NoHead::Closed),
            Err(_) if buffer.is_empty() => return Err(NoHead::Closed),
            Ok(0) | Err(_) => return Err(NoHead::Cut(buffer.len())),
            Ok(_) => {}
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refused> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refused::new(431, "too many header fields")),
        Err(httparse::Error::Version) => return Err(Refused::new(505, "only HTTP/1.1 is spoken here")),
        Err(error) => return Err(Refused::new(400, format!("malformed request head: {error}"))),
    };
    if length > HEAD_CAP {
        return Err(Refused::new(431, "the request head is too large"));
    }
    let raw = bytes.get(..length).unwrap_or_default();
    // The parser takes bare line feeds and blank lines in front; other servers on a path might not.
    let bare = raw
        .iter()
        .zip(std::iter::once(&0).chain(raw))
        .any(|(byte, before)| *byte == b'\n' && *before != b'\r');
    if bare || raw.first().is_some_and(u8::is_ascii_whitespace) {
        return Err(Refused::new(400, "malformed request head: line ends"));
    }
    if request.version != Some(1) {
        return Err(Refused::new(505, "only HTTP/1.1 is spoken here"));
    }
    let head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        headers: request.headers.iter().map(|field| (field.name.to_owned(), text(field.value))).collect(),
    };
    Ok(Some((head, length)))
}

/// What every request must fulfil before its body is looked at.
pub(crate) fn check(head: &Head) -> Result<Framing, Refused> {
    match head.one("host") {
        Ok(Some(host)) if !host.is_empty() => {}
        _ => return Err(Refused::new(400, "exactly one Host is required")),
    }
    if !head.target.starts_with('/')
        || !head.target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        return Err(Refused::new(400, "the request target is not a path"));
    }
    if head.all("expect").any(|value| !value.eq_ignore_ascii_case("100-continue")) {
        return Err(Refused::new(417, "the only expectation taken is 100-continue"));
    }
    head.framing()
}

/// Field values may hold any byte; those that are not UTF-8 are shown as Latin-1, one character per byte.
fn text(value: &[u8]) -> String {
    std::str::from_utf8(value)
        .map_or_else(|_| value.iter().map(|byte| char::from(*byte)).collect(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<(Head, usize)>, Refused> {
        parse(text.as_bytes())
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        let status = |text: &str| head(text).and_then(|h| check(&h.unwrap().0)).map_err(|r| r.status);
        assert_eq!(status("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"), Ok(Framing::Length(0)));
        assert_eq!(status("GET /a HTTP/1.1\nHost: x\n\n"), Err(400));
        assert_eq!(status("GET /a HTTP/1.0\r\nHost: x\r\n\r\n"), Err(505));
        assert_eq!(status("GET /a HTTP/1.1\r\n\r\n"), Err(400));
        assert_eq!(status("GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"), Err(400));
        assert_eq!(status("GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n"), Err(400));
        let framed = |fields: &str| status(&format!("PATCH /a HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n"));
        assert_eq!(framed("Content-Length: 5"), Ok(Framing::Length(5)));
        assert_eq!(framed("Content-Length: +5"), Err(400));
        assert_eq!(framed("Content-Length: 5\r\nContent-Length: 5"), Err(400));
        assert_eq!(framed("Content-Length: 5\r\nTransfer-Encoding: chunked"), Err(400));
        assert_eq!(framed("Transfer-Encoding: gzip, chunked"), Err(501));
        assert_eq!(framed("Transfer-Encoding: chunked"), Ok(Framing::Chunked));
        assert_eq!(framed("Expect: tea"), Err(417));
    }
}
