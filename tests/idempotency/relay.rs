//! A way to a store that can be slow, stand still, be cut and lead elsewhere.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// It ends with the test's runtime.
pub(crate) struct Relay {
    port: u16,
    way: Arc<watch::Sender<Way>>,
}

#[derive(Debug, Clone)]
struct Way {
    /// The port that it leads to.
    to: u16,
    /// The delay of what comes back.
    late: Duration,
    /// Nothing is passed on, in either direction.
    still: bool,
    /// Connections of an earlier number are cut.
    number: u32,
}

impl Relay {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::new(watch::Sender::new(Way { to, late: Duration::ZERO, still: false, number: 0 }));
        let ways = Arc::clone(&way);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(relay(near, ways.subscribe()));
            }
        });
        Relay { port, way }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The setting that names it.
    pub(crate) fn setting(&self) -> String {
        format!("store = \"redis://127.0.0.1:{}/0\"", self.port)
    }

    /// From now on what comes back is so late.
    pub(crate) fn delay(&self, late: Duration) {
        self.way.send_modify(|way| way.late = late);
    }

    /// Nothing gets through any longer; connections stay open.
    pub(crate) fn stand_still(&self) {
        self.way.send_modify(|way| way.still = true);
    }

    /// Cuts every connection, what was under way in it too; new ones lead to this port.
    pub(crate) fn lead_to(&self, port: u16) {
        self.way.send_modify(|way| {
            *way = Way { to: port, late: Duration::ZERO, still: false, number: way.number + 1 };
        });
    }
}

/// One connection, until either side ends it or it is cut.
async fn relay(near: TcpStream, mut ways: watch::Receiver<Way>) {
    let way = ways.borrow_and_update().clone();
    let Ok(far) = TcpStream::connect(("127.0.0.1", way.to)).await else { return };
    for stream in [&near, &far] {
        let _ = stream.set_nodelay(true);
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        _ = pass(near_in, far_out, ways.clone(), false) => {}
        _ = pass(far_in, near_out, ways.clone(), true) => {}
        _ = ways.wait_for(|now| now.number != way.number) => {}
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut ways: watch::Receiver<Way>,
    back: bool,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let many = from.read(&mut bytes).await?;
        let late = ways.wait_for(|way| !way.still).await.map_err(io::Error::other)?.late;
        if many == 0 {
            return Ok(());
        }
        if back && !late.is_zero() {
            tokio::time::sleep(late).await;
        }
        to.write_all(&bytes[..many]).await?;
    }
}
