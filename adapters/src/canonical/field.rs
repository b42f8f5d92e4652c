//! Members of the canonical schema.

macro_rules! fields {
    ($($name:ident = $text:literal, $pointer:literal, $about:literal;)*) => {
        /// Members that an update can set, at the vendors that have them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Field {
            $(#[doc = $about] $name,)*
        }

        impl Field {
            /// All fields, in the order of the documentation.
            pub const ALL: &[Field] = &[$(Field::$name),*];

            /// Name in requests and answers.
            pub fn name(self) -> &'static str {
                match self {
                    $(Field::$name => $text,)*
                }
            }

            /// Field of a name.
            pub fn named(name: &str) -> Option<Field> {
                match name {
                    $($text => Some(Field::$name),)*
                    _ => None,
                }
            }

            /// JSON pointer of the value that a vendor's member stands for.
            pub fn pointer(self) -> &'static str {
                match self {
                    $(Field::$name => $pointer,)*
                }
            }

            /// One sentence of documentation.
            pub fn about(self) -> &'static str {
                match self {
                    $(Field::$name => $about,)*
                }
            }
        }
    };
}

fields! {
    Context = "context", "/context", "What the vendor's AI agent should know about this conversation.";
    Title = "title", "/title", "The conversation's title.";
    Instructions = "instructions", "/instructions", "Instructions to the AI model.";
    Agent = "agent", "/agent/id", "The AI agent in charge.";
    Contact = "contact", "/contact/id", "The contact to attach.";
    Archived = "archived", "/archived", "Whether the conversation is put away.";
    Important = "important", "/important", "Whether the conversation is marked as important.";
    Status = "status", "/status", "The conversation's state.";
    Tags = "tags", "/tags", "The conversation's tags.";
}

impl Field {
    /// Members of the field's object that answers have and updates cannot set.
    pub fn read_only_members(self) -> &'static [&'static str] {
        match self {
            Field::Agent => &["name", "status"],
            Field::Contact => &["address"],
            _ => &[],
        }
    }
}

/// Request member that carries a vendor's own members.
pub const VENDOR_FIELDS: &str = "vendor_fields";

/// Members of an answer that an update cannot set, except [`Field::Status`] where a vendor has a row for it.
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
