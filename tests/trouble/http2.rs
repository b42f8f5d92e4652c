//! A48: a vendor that speaks HTTP/2. What it says it has not processed was not processed; of the rest nobody knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use testkit::Reply;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::peer::{Peer, say};
use super::rig::Rig;
use super::tls;

const PREFACE: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// An act of the vendor on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// 200 without a body.
    Answer,
    /// RST_STREAM as soon as its headers are there.
    ResetEarly(u32),
    /// RST_STREAM when the request is whole.
    Reset(u32),
    /// 200, a part of its body, then RST_STREAM.
    ResetLate(u32),
    /// GOAWAY that covers it or not, then the connection ends.
    GoAway { covered: bool },
    /// The connection ends.
    Close,
    /// Nothing.
    Silence,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

async fn read_frame(io: &mut (impl AsyncRead + Unpin)) -> Option<(u8, u8, u32)> {
    let mut head = [0; 9];
    io.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    io.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff))
}

/// Serves one connection; `next` says what is done with the next stream.
async fn serve(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    setting: Option<(u16, u32)>,
    next: impl Fn() -> Act,
) -> Option<()> {
    io.read_exact(&mut [0; PREFACE]).await.ok()?;
    let settings = setting.map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat());
    say(io, &frame(SETTINGS, 0, 0, &settings.unwrap_or_default())).await;
    let mut acts = std::collections::HashMap::new();
    loop {
        let (kind, flags, stream) = read_frame(io).await?;
        match kind {
            SETTINGS if flags & 1 == 0 => say(io, &frame(SETTINGS, 1, 0, &[])).await,
            HEADERS => {
                let act = next();
                acts.insert(stream, act);
                if let Act::ResetEarly(code) = act {
                    say(io, &frame(RST_STREAM, 0, stream, &code.to_be_bytes())).await;
                }
            }
            _ => {}
        }
        if !matches!(kind, DATA | HEADERS) || flags & 1 == 0 {
            continue;
        }
        // 0x88 is `:status: 200` in HPACK's static table.
        match acts.remove(&stream)? {
            Act::Answer => say(io, &frame(HEADERS, 0b101, stream, &[0x88])).await,
            Act::Reset(code) => say(io, &frame(RST_STREAM, 0, stream, &code.to_be_bytes())).await,
            Act::ResetLate(code) => {
                say(io, &frame(HEADERS, 0b100, stream, &[0x88])).await;
                say(io, &frame(DATA, 0, stream, b"{\"id\":")).await;
                say(io, &frame(RST_STREAM, 0, stream, &code.to_be_bytes())).await;
            }
            Act::GoAway { covered } => {
                let last = if covered { stream } else { stream.saturating_sub(2) };
                let payload = [last.to_be_bytes(), 0u32.to_be_bytes()].concat();
                say(io, &frame(GOAWAY, 0, 0, &payload)).await;
                // Time for it to be heard before the end is.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return None;
            }
            Act::Close => return None,
            Act::Silence | Act::ResetEarly(_) => {}
        }
    }
}

struct Vendor {
    peer: Peer,
    streams: Arc<AtomicUsize>,
    trust: String,
    _dir: tempfile::TempDir,
}

impl Vendor {
    /// `acts` in their order for the streams in theirs, over all connections; the last one for the rest.
    async fn new(acts: &'static [Act], setting: Option<(u16, u32)>) -> Self {
        let authority = tls::authority(|_| {});
        let (dir, trust) = tls::trusting(&authority);
        let (chain, key) = tls::leaf(&authority, &["localhost"], |_| {});
        let acceptor = tls::acceptor(vec![chain], &key, &[b"h2"]);
        let streams = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&streams);
        let peer = Peer::new(move |tcp, _| {
            let (acceptor, counting) = (acceptor.clone(), Arc::clone(&counting));
            async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                let next = || *acts.get(counting.fetch_add(1, SeqCst)).or(acts.last()).unwrap();
                serve(&mut tls, setting, next).await;
            }
        })
        .await;
        Vendor { peer, streams, trust, _dir: dir }
    }

    async fn rig(&self, vendor: &str, timeout: &str) -> Rig {
        let more = format!("timeout = \"{timeout}\"\nconnect_timeout = \"{timeout}\"\n{}", self.trust);
        Rig::over(vendor, &format!("https://localhost:{}", self.peer.address.port()), &more).await
    }

    async fn update(&self, vendor: &str, timeout: &str) -> Reply {
        let rig = self.rig(vendor, timeout).await;
        let answer = rig.update("it").await;
        rig.stop().await;
        answer
    }
}

#[tokio::test]
async fn what_was_not_processed_is_sent_again_and_nothing_else() {
    use Act::*;
    let unknown = (502, "vendor-unreachable", "unknown");
    let unsent = (502, "vendor-unreachable", "no");
    let fine = (200, "", "");
    // What is done, what the caller is told, streams: at a vendor without a key of its own, at one with.
    type Told = ((u16, &'static str, &'static str), usize);
    let table: [(&'static [Act], Told, Told); 10] = [
        (&[Answer], (fine, 1), (fine, 1)),
        (&[ResetEarly(REFUSED_STREAM), Answer], (fine, 2), (fine, 2)),
        (&[Reset(REFUSED_STREAM), Answer], (fine, 2), (fine, 2)),
        (&[Reset(REFUSED_STREAM)], (unsent, 3), (unsent, 3)),
        (&[GoAway { covered: false }, Answer], (fine, 2), (fine, 2)),
        (&[GoAway { covered: false }], (unsent, 3), (unsent, 3)),
        (&[GoAway { covered: true }, Answer], (unknown, 1), (fine, 2)),
        (&[Reset(CANCEL), Answer], (unknown, 1), (fine, 2)),
        (&[Close, Answer], (unknown, 1), (fine, 2)),
        (
            &[ResetLate(CANCEL)],
            ((502, "vendor-invalid-response", "yes"), 1),
            ((502, "vendor-invalid-response", "yes"), 1),
        ),
    ];
    for (acts, plain, repeating) in table {
        for (name, ((status, code, applied), streams)) in [("agentphone", plain), ("cuadra", repeating)] {
            let vendor = Vendor::new(acts, None).await;
            let answer = vendor.update(name, "5s").await;
            let expected = (status, code.to_owned(), applied.to_owned());
            if status == 200 {
                assert_eq!(answer.status, 200, "{acts:?} at {name}: {answer:?}");
            } else {
                assert_eq!(answer.outcome(), expected, "{acts:?} at {name}");
            }
            assert_eq!(vendor.streams.load(SeqCst), streams, "{acts:?} at {name}");
        }
    }
}

/// No window, no streams, no answer: the deadline ends it, and a request that never left is known not to have been
/// applied.
#[tokio::test]
async fn silence_ends_with_the_deadline() {
    for (acts, setting, applied) in [
        (&[Act::Answer, Act::Silence], None, "unknown"),
        (&[Act::Answer, Act::Answer], Some((INITIAL_WINDOW_SIZE, 0)), "unknown"),
        (&[Act::Answer, Act::Answer], Some((MAX_CONCURRENT_STREAMS, 0)), "no"),
    ] {
        let vendor = Vendor::new(acts, setting).await;
        let rig = vendor.rig("agentphone", "900ms").await;
        // The first request may be under way before the vendor's settings are there.
        rig.update("it").await;
        let answer = rig.update("it").await;
        let expected = (504, "vendor-timeout".to_owned(), applied.to_owned());
        assert_eq!(answer.outcome(), expected, "{setting:?}");
        assert!(answer.took < Duration::from_secs(4), "{:?}", answer.took);
        rig.stop().await;
    }
}

/// One connection carries many requests, one after the other where the vendor wants it so.
#[tokio::test]
async fn one_connection_for_all() {
    for setting in [None, Some((MAX_CONCURRENT_STREAMS, 1))] {
        let vendor = Vendor::new(&[Act::Answer], setting).await;
        let rig = vendor.rig("agentphone", "10s").await;
        assert_eq!(rig.update("it").await.status, 200);
        assert!(rig.updates("it", 20).await.iter().all(|answer| answer.status == 200));
        assert_eq!((vendor.streams.load(SeqCst), vendor.peer.connections()), (21, 1), "{setting:?}");
        rig.stop().await;
    }
}
