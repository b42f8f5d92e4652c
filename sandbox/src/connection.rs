//! One connection of a vendor, from accepting to closing.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::faults::act::{self, Next, Scene};
use crate::faults::modes::Phase;
use crate::faults::{self, Faults};
use crate::http::head::{self, Framing, NoHead};
use crate::http::{Answer, Head, Refused, Request, Stream, body};
use crate::ledger::{End, Entry, Ledger, MAX_ANSWER, Taken};
use crate::vendors::Vendor;

/// The largest request body of any vendor.
pub(crate) const BODY_CAP: usize = 1 << 20;
const HANDSHAKE: Duration = Duration::from_secs(10);
const LINGER: Duration = Duration::from_secs(1);

/// What all connections of one listener share.
pub(crate) struct Listener {
    pub(crate) vendor: Arc<dyn Vendor>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Serves a connection to its end.
    pub(crate) async fn serve(self: Arc<Self>, tcp: TcpStream) {
        let name = self.vendor.name();
        let connection = self.ledger.connect(name);
        // Without it a small answer waits for an acknowledgement; a socket that refuses is gone already.
        let _ = tcp.set_nodelay(true);
        if let Some(spec) = self.faults.take(&[Phase::Accept], name, None) {
            self.ledger.on_connection(connection, |record| record.fault = Some(spec.mode.name()));
            let unheard = faults::accepted(tcp, &spec).await;
            self.ledger.on_connection(connection, |record| {
                record.note = Some(format!("{unheard} bytes came unheard"));
            });
        } else {
            match self.secured(tcp, connection).await {
                Ok(stream) => self.requests(stream, connection).await,
                Err(why) => self.ledger.on_connection(connection, |record| record.note = Some(why)),
            }
        }
        let now = self.ledger.ms();
        self.ledger.on_connection(connection, |record| record.closed_ms = Some(now));
    }

    async fn secured(&self, tcp: TcpStream, connection: u64) -> Result<Stream, String> {
        let Some(acceptor) = &self.tls else { return Ok(Stream::Plain(tcp)) };
        match timeout(HANDSHAKE, acceptor.accept(tcp)).await {
            Ok(Ok(tls)) => {
                let name = tls.get_ref().1.server_name().map(str::to_owned);
                self.ledger.on_connection(connection, |record| record.server_name = name);
                Ok(Stream::Tls(Box::new(tls)))
            }
            Ok(Err(why)) => Err(format!("no TLS: {why}")),
            Err(_) => Err("no TLS: the handshake took too long".into()),
        }
    }

    async fn requests(&self, mut stream: Stream, connection: u64) {
        let mut buffer = BytesMut::with_capacity(8 << 10);
        let mut idle = None;
        loop {
            let read = head::read(&mut stream, &mut buffer);
            let read = match idle.take() {
                None => read.await,
                Some(idle) => match timeout(idle, read).await {
                    Ok(read) => read,
                    Err(_) => break,
                },
            };
            let next = match read {
                Ok(head) => self.request(&mut stream, &mut buffer, connection, head).await,
                Err(NoHead::Closed) => break,
                Err(NoHead::Cut(bytes)) => {
                    let note = format!("the connection ended after {bytes} bytes of a request head");
                    self.ledger.on_connection(connection, |record| record.note = Some(note));
                    break;
                }
                Err(NoHead::Refused(refused)) => {
                    let sequence = self.ledger.open(self.vendor.name(), connection, Arc::default());
                    self.refuse(&mut stream, sequence, &Head::default(), &refused, Taken::Head, Vec::new())
                        .await;
                    break;
                }
            };
            match next {
                Next::Go(limit) => idle = limit,
                Next::Close => break,
                Next::Reset => return,
            }
        }
        // The peer may be gone; then there is nobody to tell.
        let _ = stream.shutdown().await;
    }

    async fn request(&self, stream: &mut Stream, buffer: &mut BytesMut, connection: u64, head: Head) -> Next {
        let head = Arc::new(head);
        let name = self.vendor.name();
        let sequence = self.ledger.open(name, connection, Arc::clone(&head));
        let framing = match head::check(&head) {
            Ok(framing) => framing,
            Err(refused) => {
                return self.refuse(stream, sequence, &head, &refused, Taken::Head, Vec::new()).await;
            }
        };
        let spec = self.faults.take(&[Phase::Head, Phase::Request], name, Some(&head));
        if let Some(spec) = spec.as_ref().filter(|spec| spec.mode.phase() == Phase::Head) {
            self.ledger.update(sequence, |entry| entry.fault = Some(spec.mode.name()));
            let arrived = buffer.len();
            let early = faults::headed(stream, buffer, spec).await;
            let now = self.ledger.ms();
            self.ledger.update(sequence, |entry| {
                (entry.status, entry.sent) = (early.status, early.sent);
                (entry.end, entry.end_ms) = (Some(early.end), Some(now));
                entry.note = Some(format!("{arrived} bytes behind the head had arrived and were not read"));
            });
            return if early.end == End::Reset { Next::Reset } else { Next::Close };
        }
        let body = match self.body(stream, buffer, sequence, &head, framing).await {
            Ok(body) => body,
            Err(next) => return next,
        };
        let request = Request { head: &head, body: &body };
        let Some(spec) = spec else {
            let answer = self.vendor.handle(&request);
            return self.answer(stream, sequence, &head, answer, Taken::All, body).await;
        };
        self.ledger.update(sequence, |entry| {
            entry.fault = Some(spec.mode.name());
            entry.taken = Taken::All;
            entry.body.clone_from(&body);
        });
        let scene =
            Scene { stream, buffer, ledger: &self.ledger, sequence, vendor: self.vendor.as_ref(), request };
        match act::run(scene, &spec).await {
            Next::Go(_) if head.wants_close() => Next::Close,
            next => next,
        }
    }

    async fn body(
        &self,
        stream: &mut Stream,
        buffer: &mut BytesMut,
        sequence: u64,
        head: &Head,
        framing: Framing,
    ) -> Result<Vec<u8>, Next> {
        let why = match body::read(stream, buffer, head, framing, BODY_CAP).await {
            Ok(body) => return Ok(body),
            Err(why) => why,
        };
        let taken = if why.part.is_empty() { Taken::Head } else { Taken::Part };
        let Some(refused) = why.refused else {
            let now = self.ledger.ms();
            self.ledger.update(sequence, |entry| {
                (entry.taken, entry.body) = (taken, why.part);
                (entry.end, entry.end_ms) = (Some(End::PeerGone), Some(now));
                entry.note = Some("the connection ended before the body did".into());
            });
            return Err(Next::Close);
        };
        Err(self.refuse(stream, sequence, head, &refused, taken, why.part).await)
    }

    /// Answers what the protocol forbids, and closes: where the next request begins is not known any more.
    async fn refuse(
        &self,
        stream: &mut Stream,
        sequence: u64,
        head: &Head,
        refused: &Refused,
        taken: Taken,
        body: Vec<u8>,
    ) -> Next {
        let answer = self.vendor.refuse(refused, &head.target).with("connection", "close");
        self.answer(stream, sequence, head, answer, taken, body).await;
        let message = refused.message.clone();
        self.ledger.update(sequence, |entry| entry.note = Some(message));
        faults::close_gently(stream, LINGER).await;
        Next::Close
    }

    /// Booked before it is sent, so that whoever has the answer also finds it in the ledger.
    async fn answer(
        &self,
        stream: &mut Stream,
        sequence: u64,
        head: &Head,
        mut answer: Answer,
        taken: Taken,
        body: Vec<u8>,
    ) -> Next {
        if head.wants_close() && !answer.closes() {
            answer = answer.with("connection", "close");
        }
        let bytes = answer.encode();
        let now = self.ledger.ms();
        self.ledger.update(sequence, |entry: &mut Entry| {
            (entry.taken, entry.body, entry.status) = (taken, body, Some(answer.status));
            (entry.effect, entry.sent) = (answer.effect, bytes.len() as u64);
            (entry.end, entry.end_ms) = (Some(End::Sent), Some(now));
            entry.note = answer.note.map(str::to_owned);
            entry.answer = answer.body.iter().copied().take(MAX_ANSWER).collect();
        });
        if let Err(sent) = stream.send(&bytes).await {
            self.ledger.update(sequence, |entry| (entry.sent, entry.end) = (sent, Some(End::PeerGone)));
            return Next::Close;
        }
        if answer.closes() { Next::Close } else { Next::Go(None) }
    }
}
