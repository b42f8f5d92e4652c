//! Kinds of turns, and which of them exclude each other.

/// Purpose of a turn: which other updates of the same conversation it excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnKind {
    /// An update that neither writes the context nor carries a condition. Excludes conditions.
    Plain,
    /// An update that writes the context. Excludes others of its kind, and conditions.
    Context,
    /// An update that carries a condition. Excludes every other update.
    Condition,
}

impl TurnKind {
    /// True if no turns of these two kinds run side by side.
    pub(super) fn excludes(self, other: TurnKind) -> bool {
        let pair = [self, other];
        pair.contains(&TurnKind::Condition) || pair == [TurnKind::Context; 2]
    }
}
