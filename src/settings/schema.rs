//! The JSON Schema of the configuration, from the types that read it and the vendors' own settings.

use parlance_adapters::ALL;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::raw::Raw;

/// The JSON Schema (draft 2020-12), for editors.
pub fn schema() -> String {
    let generator: SchemaGenerator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Raw>().to_value();
    without_null_defaults(&mut schema);
    if let Some(Value::Object(upstream)) = schema.pointer_mut("/$defs/Upstream/properties") {
        if let Some(Value::Object(vendor)) = upstream.get_mut("vendor") {
            let names: Vec<&str> = ALL.iter().map(|vendor| vendor.spec().vendor).collect();
            vendor.insert("enum".to_owned(), json!(names));
            vendor.insert("type".to_owned(), json!("string"));
        }
        for spec in ALL.iter().map(|vendor| vendor.spec()) {
            for setting in spec.settings {
                let about = format!("Of {} only. {}", spec.title, setting.about);
                let member = json!({ "type": "string", "minLength": 1, "description": about });
                upstream.insert(setting.key.to_owned(), member);
            }
        }
    }
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// "Not given" is no default worth showing.
fn without_null_defaults(value: &mut Value) {
    match value {
        Value::Object(table) => {
            if table.get("default").is_some_and(Value::is_null) {
                table.remove("default");
            }
            table.values_mut().for_each(without_null_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null_defaults),
        _ => {}
    }
}
