//! The validation errors of FastAPI, which more than one vendor documents for its 422.

use crate::json::{Bad, quote};

use super::check::NoObject;

/// One item of `detail`: where, what, and the kind of error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) field: Vec<String>,
    pub(crate) message: String,
    pub(crate) kind: &'static str,
}

impl Item {
    /// An error at a member of the body.
    pub(crate) fn body(member: &str, message: impl Into<String>, kind: &'static str) -> Self {
        Self { field: vec!["body".into(), member.into()], message: message.into(), kind }
    }

    /// An error at a query parameter.
    pub(crate) fn query(message: impl Into<String>) -> Self {
        Self { field: vec!["query".into()], message: message.into(), kind: "value_error" }
    }

    /// An error of the body as a whole.
    pub(crate) fn no_object(why: &NoObject) -> Self {
        let (message, kind) = match why {
            NoObject::MediaType(message) => (message.clone(), "model_attributes_type"),
            NoObject::Json(Bad::NotObject) => (Bad::NotObject.to_string(), "model_attributes_type"),
            NoObject::Json(bad) => (bad.to_string(), "json_invalid"),
        };
        Self { field: vec!["body".into()], message, kind }
    }

    /// The document's text.
    pub(crate) fn detail(&self) -> String {
        let loc = self.field.iter().map(|part| quote(part)).collect::<Vec<_>>().join(",");
        format!(
            r#"{{"detail":[{{"loc":[{loc}],"msg":{},"type":{}}}]}}"#,
            quote(&self.message),
            quote(self.kind)
        )
    }
}
