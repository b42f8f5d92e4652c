//! What is known about a request when it is answered: for the log line, the metrics and `Server-Timing`.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Request, Response};

use crate::body::Body;
use crate::metrics::Traffic;
use crate::problem::{Applied, Code};
use crate::wishes;

/// The id under which a request is known, in answers, logs and problems: visible ASCII. A clone costs next to nothing.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's own, where it is one that may be kept; else a UUID of version 7, which sorts by time.
    pub fn of(headers: &HeaderMap) -> Self {
        RequestId(wishes::request_id(headers).cloned().unwrap_or_else(made))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// As a header.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// An id that nobody has: the time, and a counter that is scrambled with a key of this process. The kernel is asked for
/// the key only.
fn made() -> HeaderValue {
    static PROCESS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let scrambled = [PROCESS.hash_one((count, 0)), PROCESS.hash_one((count, 1))];
    let mut random = [0; 10];
    random
        .iter_mut()
        .zip(scrambled.iter().flat_map(|half| half.to_be_bytes()))
        .for_each(|(to, from)| *to = from);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(now.as_millis()).unwrap_or_default();
    let id = uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// A request that has its id.
#[derive(Debug)]
pub struct Identified<B> {
    /// The request.
    pub request: Request<B>,
    /// Its id.
    pub id: RequestId,
}

/// An answer, and what is known about it.
#[derive(Debug)]
pub struct Told {
    /// The answer.
    pub response: Response<Body>,
    /// What the outer layers write down.
    pub facts: Facts,
}

/// Whose word an answer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The gateway's own: refused before the vendor was asked, or answered without it.
    #[default]
    Gateway,
    /// The vendor's: its answer, or its failure to give one.
    Vendor,
}

impl Origin {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Gateway => "gateway",
            Origin::Vendor => "vendor",
        }
    }
}

/// Rides with the answer from the API to the outer layers.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The problem's code, if there was a problem.
    pub code: Option<Code>,
    /// What a problem says about the update.
    pub applied: Option<Applied>,
    /// Whose word the answer is.
    pub origin: Origin,
    /// The vendor that serves the conversation.
    pub vendor: Option<&'static str>,
    /// The upstream that was chosen.
    pub upstream: Option<Arc<str>>,
    /// Where its answers are counted.
    pub traffic: Option<Arc<Traffic>>,
    /// Who asked.
    pub caller: Option<Arc<str>>,
    /// Time spent waiting for the vendor.
    pub waited: Duration,
}
