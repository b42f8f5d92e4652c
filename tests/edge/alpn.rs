//! The HTTP version over TLS, with and without ALPN.

use http::{Request, StatusCode, Version};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::bench::{Bench, get, secure, secured};
use crate::pki::Authority;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_alpn_the_first_bytes_decide() {
    let bench = Bench::new().await;
    let authority = Authority::new("servers");
    let identity = authority.server(1);
    let certificate = bench.replace("tls.crt", &identity.certificate);
    let key = bench.replace("tls.key", &identity.key);
    let tls = format!("tls = {{ certificate = \"{}\", key = \"{}\" }}", certificate.display(), key.display());
    let gateway = bench.gateway(&tls, "").await;
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let mut conn = secured(gateway.api(), &authority.caller(None, alpn)).await.unwrap();
        for _ in 0..2 {
            assert_eq!(conn.exchange(&get("/openapi.json")).await.unwrap().status, 200, "{alpn:?}");
        }
    }
    let stream = secure(gateway.api(), &authority.caller(None, &[])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request =
        Request::get("https://gateway.test/openapi.json").body(Empty::<bytes::Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    drop((sender, answer));
    assert!(gateway.drain().await);
}
