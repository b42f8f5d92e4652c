//! Codes of the warnings about updates that were made.

macro_rules! codes {
    ($($name:ident = $text:literal, $about:literal;)*) => {
        /// Kinds of warnings. A member that a lenient update left out has the code of its fault instead.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum WarningCode {
            $(#[doc = $about] $name,)*
        }

        impl WarningCode {
            /// All codes, in the order of the documentation.
            pub const ALL: &[WarningCode] = &[$(WarningCode::$name),*];

            /// Code in answers.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(WarningCode::$name => $text,)*
                }
            }

            /// One sentence of documentation.
            pub fn about(self) -> &'static str {
                match self {
                    $(WarningCode::$name => $about,)*
                }
            }
        }
    };
}

codes! {
    NotConfirmed = "not-confirmed", "The vendor reports another value of this member than was set.";
    OtherId = "other-id", "The vendor's answer is about another conversation than the one that was asked for.";
    Accepted = "accepted", "The vendor took the update and does not say that it is made.";
    NotSaved = "not-saved", "The vendor took the text and says that it stored none.";
    Truncated = "truncated", "The vendor stored fewer characters than were sent.";
    BodyNotKept = "body-not-kept", "The update was done before under this key, and its answer is not kept.";
    Unmerged = "unmerged", "The request of a dry run is shown without the stored context.";
}
