//! Faults before a request's body is read.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{Answer, Stream};
use crate::ledger::End;

use super::modes::Mode;
use super::rule::Spec;
use super::send::Sender;

const GARBAGE: &[u8] = b"\x15\x03\x03\x00\x02\x02\x28";
/// How long an early answer waits for the peer to read it before the connection goes.
const LINGER: Duration = Duration::from_secs(2);

/// Treats a connection just accepted; it is over afterwards. How many bytes came on it meanwhile.
pub(crate) async fn accepted(tcp: TcpStream, spec: &Spec) -> usize {
    let mut unheard = BytesMut::new();
    let mut stream = Stream::Plain(tcp);
    match spec.mode {
        Mode::ResetOnAccept => stream.arm_reset(),
        Mode::SilentOnAccept => {
            // Read only to notice that the peer has gone; it cannot tell the difference.
            stream.wait(&mut unheard, Duration::from_millis(spec.max_ms)).await;
        }
        Mode::GarbageOnAccept => {
            // A peer that is gone already has nothing to be told.
            let _ = stream.write_all(spec.data.as_deref().unwrap_or(GARBAGE)).await;
            close_gently(&mut stream, Duration::from_millis(200)).await;
        }
        _ => {}
    }
    unheard.len()
}

/// What a fault before the body led to.
pub(crate) struct Early {
    pub(crate) status: Option<u16>,
    pub(crate) sent: u64,
    pub(crate) end: End,
}

/// Treats a request whose head is read; the connection is over afterwards.
pub(crate) async fn headed(stream: &mut Stream, buffer: &mut BytesMut, spec: &Spec) -> Early {
    match spec.mode {
        Mode::StopReading => {
            tokio::time::sleep(Duration::from_millis(spec.max_ms)).await;
            Early { status: None, sent: 0, end: End::Closed }
        }
        Mode::EarlyResponse => {
            let mut answer =
                Answer::json(spec.status.unwrap_or(413), spec.body.clone().unwrap_or_else(|| b"{}".to_vec()));
            answer.headers.clone_from(&spec.headers);
            let bytes = answer.with("connection", "close").encode();
            let mut sender = Sender { stream, buffer, sent: 0 };
            let gone = sender.all(&bytes).await.err();
            let sent = sender.sent;
            if spec.reset {
                stream.arm_reset();
            } else {
                close_gently(stream, LINGER).await;
            }
            let end = if spec.reset { End::Reset } else { End::Closed };
            Early { status: spec.status.or(Some(413)), sent, end: gone.unwrap_or(end) }
        }
        _ => {
            stream.arm_reset();
            Early { status: None, sent: 0, end: End::Reset }
        }
    }
}

/// FIN, then what still comes is thrown away: closing with unread bytes would turn into a reset that can destroy the
/// answer on its way.
pub(crate) async fn close_gently(stream: &mut Stream, time: Duration) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut waste = [0; 4096];
    let drain = async { while matches!(stream.read(&mut waste).await, Ok(read) if read > 0) {} };
    // Whether the peer closes in time or not, the connection is over.
    let _ = tokio::time::timeout(time, drain).await;
}
