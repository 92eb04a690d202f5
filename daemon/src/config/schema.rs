//! The JSON Schema of the configuration, out of the table of settings.
//!
//! For editors (completion in TOML files) and for checkers in a deployment's pipeline. The daemon's own
//! checks say more: a text has rules that no schema expresses, and some settings only fit together.

use ringfence_protocol::limits::SERVING_NAME_BYTES;
use serde_json::{Map, Value, json};

use super::Config;
use super::settings::{Kind, SETTINGS, Setting, Step};
use super::sources::Host;

/// What a configuration file must look like (JSON Schema, draft 2020-12).
pub fn json_schema() -> Value {
    let mut top = Map::new();
    for setting in SETTINGS.iter().filter(|setting| setting.section().is_empty()) {
        top.insert(setting.key().to_owned(), of_setting(setting));
    }
    for section in Setting::sections() {
        let keys = SETTINGS.iter().filter(|setting| setting.section() == section);
        let keys: Map<_, _> =
            keys.map(|setting| (setting.key().to_owned(), of_setting(setting))).collect();
        top.insert(section.to_owned(), table(keys));
    }
    let mut schema = table(top);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Configuration of ringfenced");
    schema
}

fn table(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn of_setting(setting: &Setting) -> Value {
    let about = format!("{}: {}. Environment: {}.", setting.about, setting.rule(), setting.env);
    let mut value = match &setting.kind {
        Kind::Int { min, max, step } => of_int(*min, *max, step),
        Kind::OneOf(words) => json!({ "enum": words }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Text(_) => json!({ "type": "string" }),
        Kind::Ints { min, max } => {
            json!({ "type": "array", "items": of_int(*min, *max, &Step::Any) })
        }
        Kind::Names => json!({
            "type": "array",
            "uniqueItems": true,
            "items": { "type": "string", "pattern": "^[a-z0-9_]{1,32}$" },
        }),
        Kind::Grants => json!({ "type": "array", "items": of_grant() }),
    };
    value["description"] = json!(about);
    if let Some(default) = default(setting) {
        value["default"] = default;
    }
    value
}

fn of_grant() -> Value {
    let pattern = format!("^([a-z0-9_.-]{{1,{0}}}|[a-z0-9_.-]{{0,{0}}}\\*)$", SERVING_NAME_BYTES);
    let uids = of_int(0, i64::from(u32::MAX), &Step::Any);
    json!({
        "type": "object",
        "properties": {
            "names": { "type": "string", "pattern": pattern },
            "uids": { "type": "array", "items": uids },
        },
        "required": ["names", "uids"],
        "additionalProperties": false,
    })
}

fn of_int(min: i64, max: i64, step: &Step) -> Value {
    match step {
        Step::Any => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Step::MultipleOf(of) => {
            json!({ "type": "integer", "minimum": min, "maximum": max, "multipleOf": of })
        }
        Step::PowerOfTwo => {
            let all: Vec<i64> =
                (0..63).map(|bit| 1 << bit).filter(|n| (min..=max).contains(n)).collect();
            json!({ "enum": all })
        }
    }
}

/// Its default, if it is the same on every host.
fn default(setting: &Setting) -> Option<Value> {
    let etc = std::path::PathBuf::from("/etc/ringfence");
    let on = |uid, cores| {
        let host = Host { uid, cores, xdg_runtime_dir: None, state_home: None, etc: etc.clone() };
        let all = serde_json::to_value(Config::for_host(&host)).ok()?;
        let place = match setting.section() {
            "" => &all,
            section => &all[section],
        };
        place.get(setting.key()).cloned()
    };
    on(0, 1).filter(|value| on(4242, 64).as_ref() == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Which engines are on by default depends on the feature.
    #[cfg(feature = "vectors")]
    #[test]
    fn the_published_schema_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.schema.json");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let published: Value = serde_json::from_str(&text).unwrap_or_default();
        assert!(
            published == json_schema(),
            "run: cargo run -p ringfenced -- --config-schema > docs/config.schema.json"
        );
    }

    #[test]
    fn every_setting_is_in_it_with_its_bounds() {
        let schema = json_schema();
        for setting in SETTINGS {
            let at = match setting.section() {
                "" => &schema["properties"][setting.key()],
                section => &schema["properties"][section]["properties"][setting.key()],
            };
            assert!(at["description"].as_str().is_some_and(|text| text.contains(setting.env)));
        }
        let slots = &schema["properties"]["lanes"]["properties"]["slots"];
        assert_eq!(slots["enum"].as_array().unwrap().len(), 10, "{slots}");
        assert_eq!(slots["default"], ringfence_protocol::limits::DEFAULT_SLOTS);
        let threads = &schema["properties"]["workers"]["properties"]["threads"];
        assert_eq!((&threads["maximum"], threads.get("default")), (&json!(256), None));
    }
}
