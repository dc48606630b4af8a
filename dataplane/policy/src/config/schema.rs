//! The JSON Schema of a config file, for editors: generated from the types, then fitted to what the loader accepts.

use super::GatewayConfig;
use serde_json::{Map, Value, json};

/// What stands in a value's place until it is expanded.
const EXPANSION: &str = r"\$\{.+\}";

/// The JSON Schema of a config file.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(GatewayConfig).to_value();
    fit(&mut schema);
    schema
}

fn fit(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(fit),
        Value::Object(map) => {
            map.values_mut().for_each(fit);
            refuse_null(map);
            accept_expansions(map);
        }
        _ => {}
    }
}

/// To schemars an `Option` may be null; to the loader a key without a value is a slip.
fn refuse_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = map.get_mut("anyOf") else { return };
    choices.retain(|choice| choice["type"] != "null");
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        map.remove("anyOf");
        map.extend(only);
    }
}

/// `port: ${PORT}` is a text to an editor, and no text with `${…}` in it has its final form yet.
fn accept_expansions(map: &mut Map<String, Value>) {
    if map.get("type").is_some_and(|kind| kind == "integer" || kind == "boolean") {
        map.insert("type".to_owned(), json!([map["type"], "string"]));
        map.insert("pattern".to_owned(), json!(EXPANSION));
    } else if let Some(Value::String(pattern)) = map.get_mut("pattern") {
        *pattern = format!("{pattern}|{EXPANSION}");
    }
}
