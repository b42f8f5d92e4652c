//! Faults after the whole request was read.

use std::time::Duration;

use bytes::BytesMut;

use crate::http::{Answer, Request, Stream, answer};
use crate::ledger::{End, Ledger};
use crate::vendors::Vendor;

use super::modes::Mode;
use super::rule::{ChunkError, Part, Spec};
use super::send::Sender;

const MIB: u64 = 1 << 20;
const PIECE: usize = 64 << 10;
const POISON: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n{\"poisoned\":true}";
const GARBAGE: &[u8] = b"\x00\x01\x02 this is not HTTP \xff\xfe\r\n\r\n";

/// What the connection does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another request may come; within the time, when one is given.
    Go(Option<Duration>),
    Close,
    Reset,
}

/// Everything a fault works on.
pub(crate) struct Scene<'a> {
    pub(crate) stream: &'a mut Stream,
    pub(crate) buffer: &'a mut BytesMut,
    pub(crate) ledger: &'a Ledger,
    pub(crate) sequence: u64,
    pub(crate) vendor: &'a dyn Vendor,
    pub(crate) request: Request<'a>,
}

/// Does what the rule says, and books it.
pub(crate) async fn run(scene: Scene<'_>, spec: &Spec) -> Next {
    let Scene { stream, buffer, ledger, sequence, vendor, request } = scene;
    let mut sender = Sender { stream, buffer, sent: 0 };
    let delay = Duration::from_millis(spec.delay_ms);
    let apply = |apply: bool| {
        let real = if apply { Some(vendor.handle(&request)) } else { None };
        let (effect, note) = real.as_ref().map_or((false, None), |answer| (answer.effect, answer.note));
        let answer = shaped(real, spec);
        let status = speaks(spec.mode).then_some(answer.status);
        ledger.update(sequence, |entry| {
            entry.status = status;
            entry.effect = effect;
            entry.note = note.map(str::to_owned);
        });
        answer
    };
    let outcome = async {
        if spec.apply_late {
            sender.pause(delay).await?;
            return send(&mut sender, spec, apply(spec.apply)).await;
        }
        // Applied before any wait, so that a caller who gives up finds the update done.
        let answer = apply(spec.apply);
        sender.pause(delay).await?;
        send(&mut sender, spec, answer).await
    };
    let (next, end) = match outcome.await {
        Ok((Next::Reset, _)) => (Next::Reset, End::Reset),
        Ok((next, end)) => (next, end),
        Err(end) => (Next::Close, end),
    };
    if next == Next::Reset {
        sender.stream.arm_reset();
    }
    let (sent, now) = (sender.sent, ledger.ms());
    ledger.update(sequence, |entry| {
        entry.sent = sent;
        entry.end = Some(end);
        entry.end_ms = Some(now);
    });
    next
}

/// Whether the mode sends a status line of its own answer.
fn speaks(mode: Mode) -> bool {
    !matches!(
        mode,
        Mode::Hang
            | Mode::ResetAfterRequest
            | Mode::CloseAfterRequest
            | Mode::Garbage
            | Mode::Raw
            | Mode::Switch101
    )
}

/// The vendor's answer as the rule wants it.
fn shaped(real: Option<Answer>, spec: &Spec) -> Answer {
    let by_itself = real.is_none();
    let mut answer = real.unwrap_or_else(|| Answer::json(200, "{}"));
    if let Some(status) = spec.status {
        answer.status = status;
    } else if spec.mode == Mode::Status {
        answer.status = 503;
    } else if spec.mode == Mode::Empty {
        answer.status = 204;
    }
    if let Some(body) = &spec.body {
        answer.body.clone_from(body);
    } else if by_itself && answer.status != 200 {
        answer.body = format!(r#"{{"message":"{}"}}"#, answer::reason(answer.status)).into_bytes();
    }
    if spec.mode == Mode::Empty {
        (answer.body, answer.content_type) = (Vec::new(), "");
    }
    for (name, _) in &spec.headers {
        answer.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
    }
    answer.headers.extend(spec.headers.iter().cloned());
    if spec.close && !answer.closes() {
        answer = answer.with("connection", "close");
    }
    answer
}

type Sent = Result<(Next, End), End>;

async fn send(to: &mut Sender<'_>, spec: &Spec, answer: Answer) -> Sent {
    let full = |answer: &Answer| answer.head(&answer.length_field());
    let silence = Duration::from_millis(spec.max_ms);
    let part = |default: usize| spec.bytes.map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX));
    match spec.mode {
        Mode::Hang => Ok((Next::Close, to.silence(silence).await)),
        Mode::ResetAfterRequest => Ok((Next::Reset, End::Reset)),
        Mode::CloseAfterRequest => Ok((Next::Close, End::Closed)),
        Mode::Truncate | Mode::ResetMidBody | Mode::Stall => {
            to.all(&full(&answer)).await?;
            let cut = part(answer.body.len() / 2).min(answer.body.len());
            to.all(answer.body.get(..cut).unwrap_or_default()).await?;
            match spec.mode {
                Mode::Stall => Ok((Next::Close, to.silence(silence).await)),
                Mode::Truncate if !spec.reset => Ok((Next::Close, End::Closed)),
                _ => {
                    // A reset overtakes what the peer has not read yet; the part is meant to arrive.
                    to.pause(Duration::from_millis(20)).await?;
                    Ok((Next::Reset, End::Reset))
                }
            }
        }
        Mode::Drip => drip(to, spec, &answer).await,
        Mode::Oversize => oversize(to, spec, answer).await,
        Mode::ExtraBytes => {
            let mut bytes = answer.encode();
            bytes.extend_from_slice(spec.data.as_deref().unwrap_or(POISON));
            to.all(&bytes).await?;
            Ok((after(&answer), End::Sent))
        }
        Mode::CloseDelimited => {
            let cut = part(answer.body.len()).min(answer.body.len());
            let answer = answer.with("connection", "close");
            to.all(&answer.head("")).await?;
            to.all(answer.body.get(..cut).unwrap_or_default()).await?;
            Ok((Next::Close, End::Closed))
        }
        Mode::Chunked => {
            to.all(&answer.head("transfer-encoding: chunked")).await?;
            let size = usize::try_from(spec.chunk_bytes).unwrap_or(16);
            let mut bytes = Vec::with_capacity(answer.body.len() * 2);
            for piece in answer.body.chunks(size) {
                bytes.extend_from_slice(&chunk(piece, ""));
            }
            bytes.extend_from_slice(b"0\r\n");
            for (name, value) in &spec.trailers {
                bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            to.all(&bytes).await?;
            Ok((after(&answer), End::Sent))
        }
        Mode::BadChunk => {
            to.all(&answer.head("transfer-encoding: chunked")).await?;
            to.all(&bad_chunks(spec.kind, &answer.body)).await?;
            Ok((Next::Close, End::Closed))
        }
        Mode::Garbage | Mode::Raw => {
            to.all(spec.data.as_deref().unwrap_or(GARBAGE)).await?;
            if spec.mode == Mode::Raw && !spec.close {
                Ok((Next::Go(None), End::Sent))
            } else {
                Ok((Next::Close, End::Closed))
            }
        }
        Mode::Interim => {
            let line =
                format!("HTTP/1.1 {} {}\r\n\r\n", spec.interim_status, answer::reason(spec.interim_status));
            for _ in 0..spec.n {
                to.all(line.as_bytes()).await?;
                to.pause(Duration::from_millis(spec.interval_ms)).await?;
            }
            to.all(&answer.encode()).await?;
            Ok((after(&answer), End::Sent))
        }
        Mode::Switch101 => {
            to.all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: sandbox/1\r\n\r\n")
                .await?;
            to.all(spec.data.as_deref().unwrap_or_default()).await?;
            Ok((Next::Close, to.silence(silence).await))
        }
        Mode::CloseIdle => {
            to.all(&answer.encode()).await?;
            Ok((Next::Go(Some(Duration::from_millis(spec.idle_ms))), End::Sent))
        }
        // Status, RespondAfterApply, Delay, Empty; the modes of earlier phases never come here.
        _ => {
            to.all(&answer.encode()).await?;
            Ok((after(&answer), End::Sent))
        }
    }
}

fn after(answer: &Answer) -> Next {
    if answer.closes() { Next::Close } else { Next::Go(None) }
}

async fn drip(to: &mut Sender<'_>, spec: &Spec, answer: &Answer) -> Sent {
    let interval = Duration::from_millis(spec.interval_ms);
    let head = answer.head(&answer.length_field());
    let line = head.windows(2).position(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
    let (line, fields) = head.split_at_checked(line).unwrap_or_default();
    for (part, bytes) in [(Part::StatusLine, line), (Part::Headers, fields), (Part::Body, &answer.body)] {
        if spec.part == part || spec.part == Part::All {
            to.drip(bytes, interval).await?;
        } else {
            to.all(bytes).await?;
        }
    }
    Ok((after(answer), End::Sent))
}

/// White space behind the value keeps the JSON valid however long it gets.
async fn oversize(to: &mut Sender<'_>, spec: &Spec, answer: Answer) -> Sent {
    let padding = [b' '; PIECE];
    if spec.endless {
        to.all(&answer.head("transfer-encoding: chunked")).await?;
        to.all(&chunk(&answer.body, "")).await?;
        let piece = chunk(&padding, "");
        let end = tokio::time::Instant::now() + Duration::from_millis(spec.max_ms);
        while tokio::time::Instant::now() < end {
            // A peer that stops reading but stays is bounded as well.
            match tokio::time::timeout_at(end, to.all(&piece)).await {
                Ok(sent) => sent?,
                Err(_) => break,
            }
        }
        return Ok((Next::Close, End::TimeOver));
    }
    let length = answer.body.len() as u64;
    let total = length.max(spec.bytes.unwrap_or(MIB) + 1);
    to.all(&answer.head(&format!("content-length: {total}"))).await?;
    to.all(&answer.body).await?;
    let mut left = total - length;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        to.all(padding.get(..now).unwrap_or_default()).await?;
        left -= now as u64;
    }
    Ok((after(&answer), End::Sent))
}

fn chunk(bytes: &[u8], extension: &str) -> Vec<u8> {
    let mut out = format!("{:x}{extension}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}

fn bad_chunks(kind: ChunkError, body: &[u8]) -> Vec<u8> {
    let whole = || chunk(body, "");
    match kind {
        ChunkError::Size => [b"zz\r\n".as_slice(), body, b"\r\n0\r\n\r\n"].concat(),
        ChunkError::MissingEnd => whole(),
        ChunkError::HugeExtension => {
            [chunk(body, &format!(";x={}", "y".repeat(PIECE))), b"0\r\n\r\n".to_vec()].concat()
        }
        ChunkError::Trailers => {
            let field = format!("x-trailer: {}\r\n", "z".repeat(PIECE));
            [whole(), b"0\r\n".to_vec(), field.into_bytes(), b"\r\n".to_vec()].concat()
        }
        ChunkError::NoLineEnd => [format!("{:x}\r\n", body.len()).as_bytes(), body, b"0\r\n\r\n"].concat(),
        ChunkError::SizeOverflow => [b"fffffffffffffffff\r\n".as_slice(), body, b"\r\n0\r\n\r\n"].concat(),
    }
}
