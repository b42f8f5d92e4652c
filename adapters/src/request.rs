//! HTTP requests of a vendor's calls.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header};

use crate::spec::{BodyFormat, Endpoint, Spec};
use crate::target::{self, Target, VendorEndpoint};

/// The request that reads a conversation, if the vendor has one.
pub(crate) fn read(
    spec: &Spec,
    endpoint: &VendorEndpoint,
    target: &Target,
) -> Option<Result<Request<Bytes>, http::Error>> {
    spec.read.as_ref().map(|read| build(read, endpoint, target, Bytes::new(), None))
}

/// Builds a request with every header but the credential.
pub(crate) fn build(
    call: &Endpoint,
    endpoint: &VendorEndpoint,
    target: &Target,
    body: Bytes,
    idempotency_key: Option<&str>,
) -> Result<Request<Bytes>, http::Error> {
    let mut request = Request::new(body);
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = target::uri(call.path, endpoint, target)?;
    let headers = request.headers_mut();
    headers.reserve(8);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let content_type = match call.body {
        BodyFormat::Empty => None,
        BodyFormat::Json | BodyFormat::JsonEnvelope(_) => Some(HeaderValue::from_static("application/json")),
        BodyFormat::Form => Some(HeaderValue::from_static("application/x-www-form-urlencoded")),
    };
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    for (name, value) in call.headers {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    for (name, value) in &endpoint.headers {
        headers.insert(name.clone(), value.clone());
    }
    if let Some(key) = idempotency_key {
        headers.insert(HeaderName::from_static("idempotency-key"), HeaderValue::from_str(key)?);
    }
    Ok(request)
}
