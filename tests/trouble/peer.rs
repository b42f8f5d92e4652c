//! A vendor whose socket the test holds itself.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An answer that every adapter understands as a confirmation, and the connection stays open.
pub(crate) const CONFIRMED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A listener on loopback. It ends with the value.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Peer {
    /// Accepts for ever; each connection is treated as told, with its number from 0.
    pub(crate) async fn new<F, T>(treat: F) -> Self
    where
        F: Fn(TcpStream, usize) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(treat(tcp, counting.fetch_add(1, SeqCst)));
            }
        });
        Peer { address, connections, task }
    }

    /// Reads requests and answers each with these bytes, keeping the connection.
    pub(crate) async fn answering(answer: &'static [u8]) -> Self {
        Peer::new(move |mut tcp, _| async move {
            while read_request(&mut tcp).await.is_some() && tcp.write_all(answer).await.is_ok() {}
        })
        .await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One whole request; `None` when the connection is over.
pub(crate) async fn read_request(io: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    loop {
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if text.len() >= end + 4 + length.unwrap_or(0) {
                return String::from_utf8(text).ok();
            }
        }
        if io.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
    }
}

/// Closes with a reset instead of an end.
pub(crate) fn reset(tcp: &TcpStream) {
    tcp.set_zero_linger().unwrap();
}

/// Writes these bytes; the peer may have gone.
pub(crate) async fn say(io: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    let _ = io.write_all(bytes).await;
    let _ = io.flush().await;
}
