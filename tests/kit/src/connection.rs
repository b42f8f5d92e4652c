//! A connection of a client that sees every byte.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{PATIENCE, Reply};

/// Anything that bytes are read from and written to.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// A connection on which requests follow each other.
pub struct Connection {
    /// The socket below.
    pub socket: Box<dyn Socket>,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects over TCP.
    ///
    /// # Errors
    ///
    /// Fails when the connection is refused.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Connection::over(TcpStream::connect(address).await?))
    }

    /// A connection over a socket that is there already.
    pub fn over(socket: impl Socket + 'static) -> Self {
        Connection { socket: Box::new(socket), unread: Vec::new() }
    }

    /// Writes these bytes.
    ///
    /// # Errors
    ///
    /// Fails when the connection is broken.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    /// Writes the bytes of a request and reads the reply to it.
    ///
    /// # Errors
    ///
    /// Fails when the connection ends before the reply does.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Reply> {
        self.write(request).await?;
        self.reply().await
    }

    /// Reads one reply by its length.
    ///
    /// # Errors
    ///
    /// Fails when the connection ends before the reply does.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        let read = async {
            let end = loop {
                if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                    break end + 4;
                }
                self.more().await?;
            };
            let mut reply = Reply::of_head(&String::from_utf8_lossy(&self.unread[..end]));
            self.unread.drain(..end);
            let length = reply.length(false);
            while self.unread.len() < length {
                self.more().await?;
            }
            reply.body = self.unread.drain(..length).collect();
            Ok(reply)
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.socket.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Waits until the other side ends the connection without another byte; gives the time that it took.
    pub async fn ended(&mut self) -> Duration {
        let begun = Instant::now();
        let mut room = [0; 64];
        match tokio::time::timeout(PATIENCE, self.socket.read(&mut room)).await {
            Err(_) => panic!("the connection was not ended"),
            Ok(Ok(read)) => assert_eq!(read, 0, "{:?}", String::from_utf8_lossy(&room[..read])),
            // A reset is an end as well.
            Ok(Err(_)) => {}
        }
        begun.elapsed()
    }
}
