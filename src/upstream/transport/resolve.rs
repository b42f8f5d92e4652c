//! DNS lookups, at most one at a time for each upstream: the system's resolver blocks a thread while it waits, and a
//! silent name server must not take the threads that other upstreams need.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::watch;
use tower::Service;

use super::connect_error::ConnectError;

type Addresses = Result<Arc<[SocketAddr]>, ConnectError>;
type Lookup = fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
type Pending = (String, watch::Receiver<Option<Addresses>>);

/// Resolves host names; rejects private addresses unless allowed (SSRF protection). Clones share lookups.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    allow_private: bool,
    timeout: Duration,
    lookup: Lookup,
    pending: Arc<Mutex<Option<Pending>>>,
}

impl Resolver {
    /// A resolver whose lookups fail after `timeout`.
    pub(super) fn new(allow_private: bool, timeout: Duration) -> Self {
        Resolver { allow_private, timeout, lookup: system, pending: Arc::default() }
    }

    /// The pending lookup of `name`, else a new one. A lookup continues without its callers.
    fn join(&self, name: &str) -> watch::Receiver<Option<Addresses>> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((other, result)) = &*pending
            && other == name
            && result.borrow().is_none()
            && result.has_changed().is_ok()
        {
            return result.clone();
        }
        let (sender, result) = watch::channel(None);
        let lookup = (self.lookup)(name.to_owned());
        tokio::spawn(async move {
            let addresses = match lookup.await {
                Ok(addresses) if !addresses.is_empty() => Ok(addresses.into()),
                _ => Err(ConnectError::Dns),
            };
            // Fails if every caller has gone.
            let _ = sender.send(Some(addresses));
        });
        *pending = Some((name.to_owned(), result.clone()));
        result
    }
}

fn system(name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
    Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (allow_private, timeout) = (self.allow_private, self.timeout);
        let mut result = self.join(name.as_str());
        Box::pin(async move {
            let found = tokio::time::timeout(timeout, result.wait_for(Option::is_some)).await;
            let found = match found {
                Ok(Ok(found)) => found.clone().unwrap_or(Err(ConnectError::Dns)),
                Ok(Err(_)) => Err(ConnectError::Dns),
                Err(_) => Err(ConnectError::DnsTimeout),
            };
            let mut addresses = found.map_err(io::Error::other)?.to_vec();
            if !allow_private {
                addresses.retain(|address| !is_private(address.ip()));
                if addresses.is_empty() {
                    return Err(io::Error::other(ConnectError::Forbidden));
                }
            }
            Ok(addresses.into_iter())
        })
    }
}

/// True for addresses that no public vendor has: loopback, private, link-local (cloud metadata services), unspecified,
/// shared, unique-local and reserved ones, also as IPv4-mapped, 6to4 or NAT64 addresses.
pub(crate) fn is_private(address: IpAddr) -> bool {
    let v4 = |a: Ipv4Addr| {
        a.is_private()
            || a.is_loopback()
            || a.is_link_local()
            || a.is_unspecified()
            || a.is_broadcast()
            || a.is_multicast()
            || a.is_documentation()
            || matches!(
                a.octets(),
                [0, ..] | [100, 64..=127, ..] | [198, 18 | 19, ..] | [192, 0, 0, _] | [240..=255, ..]
            )
    };
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => {
            if let Some(mapped) = address.to_ipv4_mapped() {
                return v4(mapped);
            }
            match address.segments() {
                // 6to4 (RFC 3056) and NAT64 (RFC 6052) contain an IPv4 address.
                [0x2002, high, low, ..] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                    v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
                }
                _ => {
                    address.is_loopback()
                        || address.is_unspecified()
                        || address.is_unique_local()
                        || address.is_unicast_link_local()
                        || address.is_multicast()
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn resolver(lookup: Lookup) -> Resolver {
        Resolver { lookup, ..Resolver::new(false, Duration::from_secs(1)) }
    }

    fn error(found: io::Result<std::vec::IntoIter<SocketAddr>>) -> ConnectError {
        ConnectError::find(&found.unwrap_err())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_name_server_holds_one_thread_not_one_for_each_caller() {
        static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        let mut silent = resolver(|_| {
            LOOKUPS.fetch_add(1, Relaxed);
            Box::pin(std::future::pending())
        });
        let waiting: Vec<_> = (0..50).map(|_| tokio::spawn(silent.call(name("vendor.test")))).collect();
        for found in waiting {
            assert_eq!(error(found.await.unwrap()), ConnectError::DnsTimeout);
        }
        assert_eq!(LOOKUPS.load(Relaxed), 1);
        assert_eq!(error(silent.call(name("other.test")).await), ConnectError::DnsTimeout);
        assert_eq!(LOOKUPS.load(Relaxed), 2, "another name is another lookup");
    }

    #[tokio::test]
    async fn every_new_connection_sees_the_name_as_it_is_now() {
        static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        let mut moving = resolver(|_| {
            let last = LOOKUPS.fetch_add(1, Relaxed) as u8;
            Box::pin(async move { Ok(vec![SocketAddr::from(([8, 8, 8, last], 0))]) })
        });
        for last in 0..3 {
            let found: Vec<_> = moving.call(name("vendor.test")).await.unwrap().collect();
            assert_eq!(found, [SocketAddr::from(([8, 8, 8, last], 0))]);
        }
    }

    #[tokio::test]
    async fn private_addresses_are_left_out() {
        let private = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00::1"];
        assert!(private.iter().all(|address| is_private(address.parse().unwrap())));
        let only = |_| -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
            Box::pin(async {
                Ok(vec!["[::ffff:127.0.0.1]:0".parse().unwrap(), "10.1.2.3:0".parse().unwrap()])
            })
        };
        assert_eq!(error(resolver(only).call(name("vendor.test")).await), ConnectError::Forbidden);
        let mixed = |_| -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
            Box::pin(async { Ok(vec!["10.1.2.3:0".parse().unwrap(), "8.8.8.8:0".parse().unwrap()]) })
        };
        let found: Vec<_> = resolver(mixed).call(name("vendor.test")).await.unwrap().collect();
        assert_eq!(found, ["8.8.8.8:0".parse().unwrap()]);
        let none = resolver(|_| Box::pin(async { Ok(Vec::new()) })).call(name("vendor.test")).await;
        assert_eq!(error(none), ConnectError::Dns);
    }
}
