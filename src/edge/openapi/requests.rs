//! Schemas of request bodies: closed, because a member that is not known is refused.

use parlance_adapters::canonical::Field;
use parlance_adapters::{ALL, docs, fields};
use serde_json::{Map, Value, json};

/// Schemas of requests, by name.
pub(super) fn schemas() -> Vec<(String, Value)> {
    let named = |(name, schema): (&str, Value)| (name.to_owned(), schema);
    [
        (
            "ConversationUpdate",
            patch(
                "Change of a conversation. At least one member; an absent one is unchanged, a value sets, null clears. An object `context` replaces the stored one.",
                "Context",
                "An object replaces the stored one.",
            ),
        ),
        (
            "ConversationMergePatch",
            patch(
                "Change of a conversation as a JSON merge patch (RFC 7396). At least one member; an absent one is unchanged, a value sets, null clears. An object `context` is merged into the stored one: the gateway reads the conversation, merges, and writes the whole.",
                "ContextMergePatch",
                "An object is merged into the stored one, member by member and at any depth; null removes a member.",
            ),
        ),
        ("Context", free("Whole context of a conversation.")),
        ("ContextMergePatch", free("Members of the context to set; null, at any depth, removes a member.")),
        ("VendorFields", free("Members of the vendor's own body.")),
        ("AgentChoice", choice("Agent to put in charge.")),
        ("ContactChoice", choice("Contact to attach.")),
    ]
    .into_iter()
    .map(named)
    .collect()
}

/// Object of any members.
fn free(about: &str) -> Value {
    json!({ "type": "object", "description": about, "additionalProperties": true })
}

fn choice(about: &str) -> Value {
    json!({
        "type": "object",
        "description": about,
        "properties": { "id": { "type": "string", "minLength": 1, "description": "The vendor's id." } },
        "required": ["id"],
        "additionalProperties": false,
    })
}

fn patch(about: &str, context: &str, effect: &str) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let mut members = Map::new();
    for field in fields() {
        let support: Vec<String> = ALL
            .iter()
            .filter_map(|adapter| {
                let spec = adapter.spec();
                let row = spec.row(field)?;
                Some(format!("{} (`{}`): {}", spec.title, row.wire, docs::describe(row)))
            })
            .collect();
        let mut schema = match field {
            Field::Context => {
                json!({ "anyOf": [reference(context), { "type": "string" }, { "type": "null" }] })
            }
            Field::Title | Field::Instructions => json!({ "type": ["string", "null"] }),
            Field::Agent => json!({ "allOf": [reference("AgentChoice")] }),
            Field::Contact => json!({ "allOf": [reference("ContactChoice")] }),
            Field::Archived | Field::Important => json!({ "type": "boolean" }),
            Field::Status => json!({ "type": "string" }),
            Field::Tags => json!({ "type": "array", "items": { "type": "string" } }),
        };
        if let Value::Object(schema) = &mut schema {
            let effect = if field == Field::Context { format!(" {effect}") } else { String::new() };
            let about = format!("{}{effect} Taken by: {}.", field.about(), support.join("; "));
            schema.insert("description".to_owned(), Value::String(about));
        }
        members.insert(field.name().to_owned(), schema);
    }
    members.insert(
        "vendor_fields".to_owned(),
        json!({
            "allOf": [reference("VendorFields")],
            "description": "Members put into the vendor's body as they are, where the upstream allows it.",
        }),
    );
    json!({
        "type": "object",
        "description": about,
        "properties": members,
        "additionalProperties": false,
        "minProperties": 1,
    })
}

/// The sample update of each vendor.
pub(super) fn update_examples() -> Value {
    let sample = |adapter: &&'static dyn parlance_adapters::Adapter| {
        let spec = adapter.spec();
        let value = serde_json::from_str(spec.example.patch).unwrap_or(Value::Null);
        (spec.vendor.to_owned(), json!({ "summary": spec.title, "value": value }))
    };
    Value::Object(ALL.iter().map(sample).collect::<Map<_, _>>())
}

/// Samples of merge patches.
pub(super) fn merge_examples() -> Value {
    json!({
        "set": {
            "summary": "Sets one member of the context and keeps the others",
            "value": { "context": { "order_id": "A-2" } },
        },
        "remove": {
            "summary": "Removes one member of the context and keeps the others",
            "value": { "context": { "order_id": null } },
        },
        "clear": { "summary": "Clears the whole context", "value": { "context": null } },
    })
}
