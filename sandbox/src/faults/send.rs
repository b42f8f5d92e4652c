//! Sending with every byte counted, so that the ledger is exact.

use std::time::Duration;

use bytes::BytesMut;

use crate::http::Stream;
use crate::http::stream::Waited;
use crate::ledger::End;

/// A connection and what has gone out on it for one request.
pub(super) struct Sender<'a> {
    pub(super) stream: &'a mut Stream,
    pub(super) buffer: &'a mut BytesMut,
    pub(super) sent: u64,
}

impl Sender<'_> {
    /// Sends all of it; an error means the peer is gone.
    pub(super) async fn all(&mut self, bytes: &[u8]) -> Result<(), End> {
        let done = self.stream.send(bytes).await;
        self.sent += done.err().unwrap_or(bytes.len() as u64);
        done.map_err(|_| End::PeerGone)
    }

    /// One byte at a time, each after a pause.
    pub(super) async fn drip(&mut self, bytes: &[u8], interval: Duration) -> Result<(), End> {
        for byte in bytes.chunks(1) {
            self.pause(interval).await?;
            self.all(byte).await?;
        }
        Ok(())
    }

    /// Waits; an error means the peer went away meanwhile.
    pub(super) async fn pause(&mut self, time: Duration) -> Result<(), End> {
        if time.is_zero() {
            return Ok(());
        }
        match self.stream.wait(self.buffer, time).await {
            Waited::TimeOver => Ok(()),
            Waited::PeerGone => Err(End::PeerGone),
        }
    }

    /// Waits with nothing to come after it.
    pub(super) async fn silence(&mut self, time: Duration) -> End {
        match self.stream.wait(self.buffer, time).await {
            Waited::TimeOver => End::TimeOver,
            Waited::PeerGone => End::PeerGone,
        }
    }
}
