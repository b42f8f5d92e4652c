//! Starting and stopping.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::connection::Listener;
use crate::control::Control;
use crate::credentials::Credentials;
use crate::faults::Faults;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::vendors::{self, Sample, Vendor};

/// Accepting fails when the process is out of descriptors; trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running sandbox. Dropping it ends it too, without waiting for its tasks.
#[derive(Debug)]
pub struct Sandbox {
    control: SocketAddr,
    vendors: Vec<Running>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    url: String,
    token_url: Option<String>,
    credentials: Credentials,
    sample: Sample,
}

/// Starts the control side and every supported vendor on loopback. Call it inside a Tokio runtime.
///
/// # Errors
///
/// When the host is not a loopback address, a port cannot be had, or the certificate and key are of no use.
pub async fn start(options: Options) -> io::Result<Sandbox> {
    if !options.host.is_loopback() {
        let why = format!("the sandbox listens on loopback addresses only, not on {}", options.host);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let tls = options.tls.as_ref().map(crate::Tls::acceptor).transpose()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let all = vendors::all()?;
    let ledger = Arc::new(Ledger::new(options.ledger, options.ledger_entries, options.ledger_bytes));
    let faults = Arc::new(Faults::default());
    let (stop, stopped) = watch::channel(false);
    // Every port is taken before anything is served, so that a start either works or leaves nothing behind.
    let control_socket = bind(&options, 0).await?;
    let mut sockets = Vec::with_capacity(all.len());
    for (index, vendor) in (1..).zip(all) {
        sockets.push((vendor, bind(&options, index).await?));
    }
    let control_address = control_socket.local_addr()?;
    let mut running = Vec::with_capacity(sockets.len());
    let mut served: Vec<(Arc<dyn Vendor>, TcpListener)> = Vec::with_capacity(sockets.len());
    for (vendor, socket) in sockets {
        let url = format!("{scheme}://{}", socket.local_addr()?);
        let mut credentials = Credentials { keys: vendor.keys().demo(), clients: Vec::new() };
        let mut token_url = None;
        if let Some((path, tokens)) = vendor.tokens() {
            credentials.clients = tokens.demo();
            token_url = Some(format!("{url}{path}"));
        }
        running.push(Running { name: vendor.name(), url, token_url, credentials, sample: vendor.sample() });
        served.push((vendor, socket));
    }
    let addresses = running.iter().map(|vendor| (vendor.name, vendor.url.clone())).collect();
    let vendors = served.iter().map(|(vendor, _)| Arc::clone(vendor)).collect();
    let control = Arc::new(Control::new(vendors, addresses, Arc::clone(&ledger), Arc::clone(&faults)));
    let serve = move |tcp| Arc::clone(&control).serve(tcp);
    let mut tasks = vec![tokio::spawn(listen(control_socket, stopped.clone(), serve))];
    for (vendor, socket) in served {
        let (ledger, faults, tls) = (Arc::clone(&ledger), Arc::clone(&faults), tls.clone());
        let listener = Arc::new(Listener { vendor, ledger, faults, tls });
        let serve = move |tcp| Arc::clone(&listener).serve(tcp);
        tasks.push(tokio::spawn(listen(socket, stopped.clone(), serve)));
    }
    Ok(Sandbox { control: control_address, vendors: running, stop, tasks })
}

async fn bind(options: &Options, offset: u16) -> io::Result<TcpListener> {
    let port = match options.base_port {
        0 => 0,
        base => base.checked_add(offset).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("no port {offset} above {base}"))
        })?,
    };
    let address = SocketAddr::new(options.host, port);
    let named = |why: io::Error| io::Error::new(why.kind(), format!("cannot listen on {address}: {why}"));
    TcpListener::bind(address).await.map_err(named)
}

/// Accepts until told to stop; the connections end with it.
async fn listen<F, T>(socket: TcpListener, mut stopped: watch::Receiver<bool>, serve: F)
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = socket.accept() => match accepted {
                Ok((tcp, _)) => {
                    connections.spawn(serve(tcp));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(socket);
    connections.shutdown().await;
}

impl Sandbox {
    /// The origin of a vendor, such as `http://127.0.0.1:9101`; `None` for a name that is not simulated.
    #[must_use]
    pub fn url(&self, vendor: &str) -> Option<String> {
        self.vendors.iter().find(|running| running.name == vendor).map(|running| running.url.clone())
    }

    /// The origin of the control side.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// The token endpoint that stands on the listener of the vendor that has one.
    #[must_use]
    pub fn token_url(&self) -> String {
        self.vendors.iter().find_map(|running| running.token_url.clone()).unwrap_or_default()
    }

    /// The credentials each vendor accepts at the start and after a reset.
    #[must_use]
    pub fn credentials(&self) -> BTreeMap<&'static str, Credentials> {
        self.vendors.iter().map(|running| (running.name, running.credentials.clone())).collect()
    }

    /// The seeded conversations of each vendor and the update its document shows.
    #[must_use]
    pub fn samples(&self) -> BTreeMap<&'static str, Sample> {
        self.vendors.iter().map(|running| (running.name, running.sample.clone())).collect()
    }

    /// Closes every listener and connection and waits until their tasks are gone.
    pub async fn stop(mut self) {
        // Nobody listening any more is what stopping is for.
        let _ = self.stop.send(true);
        for task in self.tasks.drain(..) {
            // A listener that ended otherwise is ended as well.
            let _ = task.await;
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
