//! The members of the canonical schema.

/// A member that callers may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// What the vendor's AI agent should know about this conversation: object, string or null.
    Context,
    /// The conversation's title: string or null.
    Title,
    /// Instructions to the AI model: string or null.
    Instructions,
    /// The agent in charge: `{"id": string}`.
    Agent,
    /// The person at the other end: `{"id": string}`.
    Contact,
    /// Put away.
    Archived,
    /// Marked as important.
    Important,
}

impl Field {
    /// Every field, in the order of the documentation.
    pub const ALL: [Field; 7] = [
        Field::Context,
        Field::Title,
        Field::Instructions,
        Field::Agent,
        Field::Contact,
        Field::Archived,
        Field::Important,
    ];

    /// The member's name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Field::Context => "context",
            Field::Title => "title",
            Field::Instructions => "instructions",
            Field::Agent => "agent",
            Field::Contact => "contact",
            Field::Archived => "archived",
            Field::Important => "important",
        }
    }

    /// The field of that name.
    pub fn named(name: &str) -> Option<Field> {
        Field::ALL.into_iter().find(|field| field.name() == name)
    }

    /// The JSON pointer of the value that a vendor's member stands for.
    pub fn pointer(self) -> &'static str {
        match self {
            Field::Context => "/context",
            Field::Title => "/title",
            Field::Instructions => "/instructions",
            Field::Agent => "/agent/id",
            Field::Contact => "/contact/id",
            Field::Archived => "/archived",
            Field::Important => "/important",
        }
    }

    /// One sentence for documentation.
    pub fn about(self) -> &'static str {
        match self {
            Field::Context => "What the vendor's AI agent should know about this conversation.",
            Field::Title => "The conversation's title.",
            Field::Instructions => "Instructions to the AI model.",
            Field::Agent => "The AI agent in charge.",
            Field::Contact => "The contact to attach.",
            Field::Archived => "Whether the conversation is put away.",
            Field::Important => "Whether the conversation is marked as important.",
        }
    }

    /// Members of the field's object that answers have but requests may not set.
    pub fn read_only_members(self) -> &'static [&'static str] {
        match self {
            Field::Agent => &["name", "status"],
            Field::Contact => &["address"],
            _ => &[],
        }
    }
}

/// The request member that carries a vendor's own members.
pub const VENDOR_FIELDS: &str = "vendor_fields";

/// Members of an answer that no request can set.
pub const READ_ONLY: [&str; 11] = [
    "id",
    "vendor",
    "upstream",
    "status",
    "created_at",
    "updated_at",
    "last_message_at",
    "message_count",
    "messages",
    "vendor_data",
    "warnings",
];
