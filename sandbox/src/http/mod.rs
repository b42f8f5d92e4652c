//! HTTP/1.1 on raw sockets: written here and not taken from a server library, because a library would not let the
//! sandbox misbehave byte by byte.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod head;
pub(crate) mod stream;
pub(crate) mod target;

pub(crate) use answer::Answer;
pub(crate) use head::Head;
pub(crate) use stream::Stream;

/// A request wholly read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) head: &'a Head,
    pub(crate) body: &'a [u8],
}

/// A request that the protocol layer turns down before any vendor's rule is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}
