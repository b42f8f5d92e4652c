//! Credentials, hashes and the shared store as they are written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::settings::secret::Secret;

/// A vendor's credential: exactly one of the four.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = r#"a table with one of env, file, value and oauth2, such as { env = "SALES_API_KEY" }"#
)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct Credential {
    /// The environment variable that holds it.
    pub(crate) env: Option<String>,
    /// The file that holds it; read again when it changes.
    pub(crate) file: Option<String>,
    /// The credential itself: for tests only.
    pub(crate) value: Option<Secret>,
    /// A token fetched with a client's id and secret (OAuth 2.0 client credentials), renewed before it expires.
    pub(crate) oauth2: Option<OAuth2>,
}

/// A secret: exactly one of the three.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = r#"a table with one of env, file and value, such as { env = "CLIENT_SECRET" }"#
)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct SecretSource {
    /// The environment variable that holds it.
    pub(crate) env: Option<String>,
    /// The file that holds it; read again when it changes.
    pub(crate) file: Option<String>,
    /// The secret itself: for tests only.
    pub(crate) value: Option<Secret>,
}

/// A token fetched with a client's id and secret.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table with token_url, client_id and client_secret")]
#[schemars(extend("required" = ["token_url", "client_id", "client_secret"]))]
pub(crate) struct OAuth2 {
    /// The token endpoint.
    pub(crate) token_url: Option<String>,
    /// The client's id.
    pub(crate) client_id: Option<String>,
    /// The client's secret.
    pub(crate) client_secret: Option<SecretSource>,
    /// The scopes that are asked for, with blanks between them.
    pub(crate) scope: Option<String>,
    /// Encoding of the client's id and secret.
    pub(crate) style: TokenStyle,
}

/// Encoding of a client's id and secret in requests to the token endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenStyle {
    /// In a JSON body.
    #[default]
    Json,
    /// In a form body.
    Form,
    /// In an `Authorization: Basic` header, the rest in a form body.
    Basic,
}

/// One hash or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Hashes {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for Hashes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Hashes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits in quotes, or a list of two such texts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Hashes, E> {
                Ok(Hashes::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Hashes, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Hashes::Many)
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for Hashes {
    fn schema_name() -> Cow<'static, str> {
        "Hashes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let hash = json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" });
        json_schema!({ "anyOf": [hash, { "type": "array", "items": hash, "minItems": 1, "maxItems": 2 }] })
    }
}

/// `memory`, the URL of a shared store (which may hold a password), or where that URL is found.
#[derive(Debug, Clone)]
pub(crate) enum StoreText {
    Written(Secret),
    Found(SecretSource),
}

impl Default for StoreText {
    fn default() -> Self {
        StoreText::Written(Secret::new("memory".to_owned()))
    }
}

impl Serialize for StoreText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            StoreText::Written(text) if text.expose() == "memory" => serializer.serialize_str("memory"),
            StoreText::Written(_) | StoreText::Found(_) => serializer.serialize_str("***"),
        }
    }
}

impl<'de> Deserialize<'de> for StoreText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTable;
        impl<'de> Visitor<'de> for TextOrTable {
            type Value = StoreText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#""memory", a URL such as "redis://host:6379", or a table such as { env = "STORE_URL" }"#)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<StoreText, E> {
                Ok(StoreText::Written(Secret::new(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<StoreText, A::Error> {
                SecretSource::deserialize(MapAccessDeserializer::new(table)).map(StoreText::Found)
            }
        }
        deserializer.deserialize_any(TextOrTable)
    }
}

impl JsonSchema for StoreText {
    fn schema_name() -> Cow<'static, str> {
        "Store".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let source = generator.subschema_for::<SecretSource>();
        json_schema!({ "anyOf": [
            { "type": "string", "pattern": "^(memory|(redis|rediss|valkey|valkeys)://.+)$" },
            source,
        ] })
    }
}
