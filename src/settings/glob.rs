//! Patterns of conversation ids.

use std::fmt;

/// A pattern: `*` stands for any run of characters, `?` for exactly one, everything else for itself.
///
/// Matching allocates nothing and never goes back beyond the last star, so that no id and no pattern makes it slow.
///
/// ```
/// use parlance::settings::Glob;
///
/// let glob = Glob::new("conv_*-?");
/// assert!(glob.matches("conv_2026-a"));
/// assert!(!glob.matches("conv_2026"));
/// assert_eq!(glob.literal_prefix(), "conv_");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Creates a pattern; every text is one.
    pub fn new(pattern: &str) -> Self {
        Glob(pattern.to_owned())
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Text before the first wildcard.
    pub fn literal_prefix(&self) -> &str {
        self.0.split(['*', '?']).next().unwrap_or_default()
    }

    /// Returns true if the whole text fits the pattern.
    pub fn matches(&self, text: &str) -> bool {
        let mut pattern = self.0.chars();
        let mut text = text.chars();
        // After the last star: the pattern behind it, and the text that the star has not eaten yet.
        let mut star = None;
        loop {
            let (mut pattern_next, mut text_next) = (pattern.clone(), text.clone());
            match (pattern_next.next(), text_next.next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    star = Some((pattern_next.clone(), text.clone()));
                    pattern = pattern_next;
                }
                (Some(wanted), Some(given)) if wanted == '?' || wanted == given => {
                    pattern = pattern_next;
                    text = text_next;
                }
                _ => {
                    let Some((behind, uneaten)) = star.as_mut() else { return false };
                    if uneaten.next().is_none() {
                        return false;
                    }
                    pattern = behind.clone();
                    text = uneaten.clone();
                }
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("conv_*", "conv_1", true),
            ("conv_*", "conv_", true),
            ("conv_*", "conv", false),
            ("conv_*", "aconv_1", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "ä", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*_eu", "chat_eu_eu", true),
            ("*_eu", "chat_eu_us", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("[ab]", "a", false),
            ("[ab]", "[ab]", true),
            ("a.c", "abc", false),
            ("**a**", "bab", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), fits, "{pattern} on {text}");
        }
    }

    #[test]
    fn hostile_patterns_stay_quick() {
        let glob = Glob::new(&"a*".repeat(200));
        let id = format!("{}b", "a".repeat(512));
        assert!(glob.matches(&id));
        assert!(!Glob::new(&format!("{}c", "a*".repeat(200))).matches(&id));
    }

    /// The textbook definition: slow, but obviously right.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => slow(rest, text),
            (Some(('*', rest)), Some((_, behind))) => slow(rest, text) || slow(pattern, behind),
            (Some((wanted, rest)), Some((given, behind))) => {
                (*wanted == '?' || wanted == given) && slow(rest, behind)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(Glob::new(&pattern).matches(&text), slow(&p, &t));
        }

        #[test]
        fn a_literal_matches_only_itself(text in "[^*?]{0,20}", other in "[^*?]{0,20}") {
            prop_assert!(Glob::new(&text).matches(&text));
            prop_assert_eq!(Glob::new(&text).matches(&other), text == other);
        }

        #[test]
        fn a_star_adds_anything(head in "[^*?]{0,8}", middle in ".{0,8}", tail in "[^*?]{0,8}") {
            let glob = Glob::new(&format!("{head}*{tail}"));
            let text = format!("{head}{middle}{tail}");
            prop_assert!(glob.matches(&text));
            prop_assert_eq!(glob.literal_prefix(), head);
        }
    }
}
