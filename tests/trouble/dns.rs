//! Names that lead nowhere, or where they must not.

use super::peer::{CONFIRMED, Peer};
use super::rig::Rig;

/// A39: the name does not exist.
#[tokio::test]
async fn a_name_without_an_address() {
    // A name that can never exist (RFC 6761). Where no name server answers at all, that takes until the timeout.
    let rig = Rig::over("kakiyo", "https://vendor.invalid", "max_attempts = 1").await;
    let answer = rig.update("it").await;
    assert!([502, 504].contains(&answer.status), "{answer:?}");
    assert_eq!(answer.json()["update_applied"], "no");
    let expected = if answer.status == 502 { "dns_error" } else { "dns_timeout" };
    assert_eq!(answer.proxy_error(), expected);
    rig.stop().await;
}

/// A41: a name of the inside is refused, unless that is meant; nothing is connected to.
#[tokio::test]
async fn a_name_that_leads_inside() {
    let peer = Peer::answering(CONFIRMED).await;
    // No address as URLs have it, so it is asked for as a name; the system's resolver reads it as 127.0.0.1.
    let url = format!("http://127.1:{}", peer.address.port());
    let rig = Rig::over("kakiyo", &url, "allow_plain_http = true").await;
    let answer = rig.update("it").await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "vendor-unreachable"), "{answer:?}");
    assert_eq!(answer.json()["update_applied"], "no");
    assert_eq!(answer.proxy_error(), "destination_ip_prohibited");
    assert_eq!(peer.connections(), 0);
    rig.stop().await;

    let rig = Rig::over("kakiyo", &url, "allow_plain_http = true\nallow_private = true").await;
    assert_eq!(rig.update("it").await.status, 200);
    rig.stop().await;
}
