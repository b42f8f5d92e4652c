//! Resources of the API, by path.

use crate::telemetry::labels::CONVERSATION_ROUTE;

const CONVERSATIONS: &str = "/conversations/";

/// Resource that a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    /// A conversation; [`Resource::conversation_segment`] gives its id.
    Conversation,
    /// The description of the API.
    OpenApi,
    /// None.
    Unknown,
}

impl Resource {
    /// Classifies a path.
    pub(super) fn of(path: &str) -> Self {
        match path.strip_prefix(CONVERSATIONS) {
            Some(segment) if !segment.is_empty() && !segment.contains('/') => Resource::Conversation,
            None if path == "/openapi.json" => Resource::OpenApi,
            _ => Resource::Unknown,
        }
    }

    /// The segment of a conversation's path that holds its id, still percent-encoded.
    pub(super) fn conversation_segment(path: &str) -> &str {
        path.strip_prefix(CONVERSATIONS).unwrap_or_default()
    }

    /// Template of its paths, as metrics show it; never a path that a caller made up.
    pub(super) fn template(self) -> Option<&'static str> {
        match self {
            Resource::Conversation => Some(CONVERSATION_ROUTE),
            Resource::OpenApi => Some("/openapi.json"),
            Resource::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_classified_by_their_form() {
        for path in ["/conversations/sales:chat_1", "/conversations/%zz", "/conversations/ü"] {
            assert_eq!(Resource::of(path), Resource::Conversation, "{path}");
        }
        for path in
            ["/conversations/", "/conversations", "*", "", "/openapi.json/", "//", "/conversations/a/b"]
        {
            assert_eq!(Resource::of(path), Resource::Unknown, "{path}");
        }
        assert_eq!(Resource::of("/openapi.json").template(), Some("/openapi.json"));
        assert_eq!(Resource::conversation_segment("/conversations/sales:a%2Fb"), "sales:a%2Fb");
    }
}
