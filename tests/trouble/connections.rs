//! The life of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use testkit::eventually;

use super::peer::{CONFIRMED, Peer, read_request, say};
use super::rig::Rig;

/// A vendor that counts the connections that are open.
async fn counting() -> (Peer, Arc<AtomicUsize>) {
    let open = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&open);
    let peer = Peer::new(move |mut tcp, _| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, SeqCst);
            while read_request(&mut tcp).await.is_some() {
                say(&mut tcp, CONFIRMED).await;
            }
            count.fetch_sub(1, SeqCst);
        }
    })
    .await;
    (peer, open)
}

async fn until(open: &AtomicUsize, wanted: usize) {
    eventually(&format!("{wanted} are open"), async || open.load(SeqCst) == wanted).await;
}

#[tokio::test]
async fn connections_are_shared_and_closed_when_idle() {
    let (peer, open) = counting().await;
    let rig = Rig::over("agentphone", &peer.url(), "pool_idle_timeout = \"300ms\"").await;
    for _ in 0..20 {
        assert_eq!(rig.update("it").await.status, 200);
    }
    assert_eq!(peer.connections(), 1);
    assert_eq!(rig.upstream("it").stats().connections, 1);
    until(&open, 0).await;
    rig.stop().await;
}

/// A40: after its age a connection is not used again, and the ones that it leaves behind are closed: a name that
/// moved is followed without a single request that fails.
#[tokio::test]
async fn an_old_pool_closes_with_everything_in_it() {
    let (peer, open) = counting().await;
    let more = "max_connection_age = \"400ms\"\npool_idle_timeout = \"60s\"";
    let rig = Rig::over("agentphone", &peer.url(), more).await;
    assert!(rig.updates("it", 8).await.iter().all(|answer| answer.status == 200));
    let before = peer.connections();
    assert!(before >= 1 && open.load(SeqCst) >= 1);
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert_eq!(rig.update("it").await.status, 200);
    assert_eq!(peer.connections(), before + 1, "a new one");
    until(&open, 1).await;

    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        assert!(rig.updates("it", 4).await.iter().all(|answer| answer.status == 200));
    }
    assert!(open.load(SeqCst) <= 8, "{} are open", open.load(SeqCst));
    rig.stop().await;
}

/// Whatever became of the requests, nothing of them is left.
#[tokio::test]
async fn connections_given_up_are_closed() {
    let open = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&open);
    let peer = Peer::new(move |mut tcp, _| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, SeqCst);
            while read_request(&mut tcp).await.is_some() {}
            count.fetch_sub(1, SeqCst);
        }
    })
    .await;
    let rig = Rig::over("agentphone", &peer.url(), "timeout = \"300ms\"\nconnect_timeout = \"300ms\"").await;
    assert!(rig.updates("it", 16).await.iter().all(|answer| answer.status == 504));
    until(&open, 0).await;
    assert_eq!(rig.upstream("it").stats().in_flight, 0);
    rig.stop().await;
}
