//! Secrets: texts that no log, error or document shows.

use std::fmt;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::limited_file::read_text;
use super::value_error::ValueError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Limit of a file that holds one credential, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// A credential. Neither `Debug` nor `Serialize` shows it, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Secret(SecretString::from(text))
    }

    /// The text itself: only where it is sent, hashed or compared.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Reads a credential from a file, without the line break at its end.
    ///
    /// # Errors
    ///
    /// The file cannot be read or holds no credential. The error shows nothing of its content.
    pub fn from_file(path: &Path) -> Result<Self, ValueError> {
        let text = read_text(path, MAX_FILE)?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Secret::header_safe(text.strip_suffix('\r').unwrap_or(text))
    }

    /// Accepts a text that a header can carry: visible ASCII without blanks, at least one character.
    ///
    /// # Errors
    ///
    /// The text is empty or has another character.
    pub fn header_safe(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() {
            return Err(ValueError::new("is empty"));
        }
        match text.chars().position(|c| !c.is_ascii_graphic()) {
            None => Ok(Secret::new(text.to_owned())),
            Some(at) => Err(ValueError::new(format!(
                "holds a blank, a line break or another character that no header can carry (character {} of {})",
                at + 1,
                text.chars().count()
            ))),
        }
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_nowhere() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn what_no_header_can_carry_is_refused_by_position() {
        for bad in ["hun ter", "hun\nter", "schlüssel", "\u{7f}"] {
            let words = Secret::header_safe(bad).unwrap_err().to_string();
            assert!(words.contains("no header can carry"), "{words}");
            assert!(!words.contains(bad), "{words}");
        }
        assert_eq!(Secret::header_safe("").unwrap_err().to_string(), "is empty");
    }

    #[test]
    fn one_line_break_at_the_end_of_a_file_is_no_part_of_the_credential() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for written in ["k1", "k1\n", "k1\r\n"] {
            std::fs::write(&path, written).unwrap();
            assert_eq!(Secret::from_file(&path).unwrap().expose(), "k1");
        }
        std::fs::write(&path, "k1\n\n").unwrap();
        assert!(Secret::from_file(&path).is_err());
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(Secret::from_file(&path).unwrap_err().to_string(), "is empty");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(Secret::from_file(&path).unwrap_err().to_string(), "is not UTF-8 text");
        assert_eq!(
            Secret::from_file(&dir.path().join("none")).unwrap_err().to_string(),
            "cannot be read (no such file or directory)"
        );
    }
}
