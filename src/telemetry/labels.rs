//! Label sets of the histograms. A label without a value is left out.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

use crate::types::code::AnsweredBy;

/// Path template of a conversation, for the label `http_route`.
pub const CONVERSATION_ROUTE: &str = "/conversations/{id}";

/// Labels of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestLabels {
    method: &'static str,
    /// Template of the path, never the path itself.
    route: Option<&'static str>,
}

impl RequestLabels {
    /// Creates the labels. An unknown method becomes `_OTHER`.
    pub fn new(method: &Method, route: Option<&'static str>) -> Self {
        RequestLabels { method: known(method), route }
    }

    /// Labels of an update, the most frequent request.
    pub(super) fn update() -> Self {
        RequestLabels::new(&Method::PATCH, Some(CONVERSATION_ROUTE))
    }
}

/// Returns the name of a standard method, else `_OTHER`.
pub(super) fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::PATCH => "PATCH",
        _ => "_OTHER",
    }
}

/// Status of a vendor's response: the number if it is registered, else its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Known(u16),
    Class(&'static str),
}

impl From<StatusCode> for Status {
    fn from(status: StatusCode) -> Self {
        if status.canonical_reason().is_some() {
            return Status::Known(status.as_u16());
        }
        Status::Class(match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "_OTHER",
        })
    }
}

impl Status {
    fn text(self) -> Cow<'static, str> {
        match self {
            Status::Known(status) => Cow::Owned(status.to_string()),
            Status::Class(class) => Cow::Borrowed(class),
        }
    }
}

/// Labels of a response to a caller.
#[derive(Debug)]
pub struct ServerLabels {
    pub(super) upstream: Option<Arc<str>>,
    pub(super) kind: ResponseLabels,
}

/// Labels of a response without its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ResponseLabels {
    pub(super) request: RequestLabels,
    pub(super) status: u16,
    pub(super) answered_by: AnsweredBy,
    pub(super) error: Option<&'static str>,
}

impl EncodeLabelSet for ServerLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let ResponseLabels { request, status, answered_by, error } = self.kind;
        label(encoder, "http_request_method", Some(request.method))?;
        label(encoder, "http_route", request.route)?;
        label(encoder, "http_response_status_code", Some(&status.to_string()))?;
        label(encoder, "upstream", self.upstream.as_deref())?;
        label(encoder, "origin", Some(answered_by.as_str()))?;
        label(encoder, "error_type", error)
    }
}

/// Labels of a request to a vendor.
#[derive(Debug)]
pub struct ClientLabels {
    pub(super) upstream: Arc<str>,
    pub(super) vendor: &'static str,
    pub(super) end: EndReason,
}

/// Labels of a request to a vendor without its upstream: the method and the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndReason {
    pub(super) method: &'static str,
    pub(super) status: Option<Status>,
    pub(super) error: Option<&'static str>,
}

impl EncodeLabelSet for ClientLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let EndReason { method, status, error } = self.end;
        label(encoder, "upstream", Some(&self.upstream))?;
        label(encoder, "vendor", Some(self.vendor))?;
        label(encoder, "http_request_method", Some(method))?;
        label(encoder, "http_response_status_code", status.map(Status::text).as_deref())?;
        label(encoder, "error_type", error)
    }
}

fn label(encoder: &mut LabelSetEncoder<'_>, name: &'static str, value: Option<&str>) -> fmt::Result {
    value.map_or(Ok(()), |value| (name, value).encode(encoder.encode_label()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_http_does_not_know_is_other() {
        let made_up = RequestLabels::new(&Method::from_bytes(b"X-1").unwrap(), None);
        assert_eq!(made_up, RequestLabels { method: "_OTHER", route: None });
    }

    #[test]
    fn a_status_that_http_does_not_know_is_its_class() {
        let shown = |status: u16| Status::from(StatusCode::from_u16(status).unwrap()).text();
        assert_eq!([shown(200), shown(429), shown(504)], ["200", "429", "504"]);
        assert_eq!([shown(299), shown(499), shown(520), shown(999)], ["2xx", "4xx", "5xx", "_OTHER"]);
    }
}
