//! The part of JSON Schema (draft 2020-12) that `numashock controller schema` uses, checked word by word.

use serde_json::Value;

/// Words that check nothing.
const WORDS_ABOUT: [&str; 4] = ["$schema", "$defs", "title", "description"];

/// Asserts that a value is what a schema's definition of this name says.
///
/// # Errors
/// The first word that is not kept, and where.
pub(crate) fn check(schema: &Value, definition: &str, value: &Value) -> Result<(), String> {
    let root = definition_of(schema, &format!("#/$defs/{definition}"));
    holds(schema, root, value, "line")
}

fn definition_of<'a>(schema: &'a Value, reference: &str) -> &'a Value {
    let name = reference.strip_prefix("#/$defs/").expect("references stay within the file");
    schema["$defs"].get(name).unwrap_or_else(|| panic!("no definition {name}"))
}

fn holds(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (word, wanted) in schema.as_object().expect("a schema is an object") {
        let kept = match word.as_str() {
            "$ref" => {
                holds(root, definition_of(root, wanted.as_str().unwrap()), value, at)?;
                true
            }
            "oneOf" => list(wanted).filter(|one| holds(root, one, value, at).is_ok()).count() == 1,
            "anyOf" => list(wanted).any(|one| holds(root, one, value, at).is_ok()),
            "const" => value == wanted,
            "enum" => list(wanted).any(|one| one == value),
            "type" => is_of_type(value, wanted),
            "minimum" => integer(value).is_none_or(|number| number >= integer(wanted).unwrap()),
            "maximum" => integer(value).is_none_or(|number| number <= integer(wanted).unwrap()),
            "minLength" => length(value).is_none_or(|length| length >= wanted.as_u64().unwrap()),
            "maxLength" => length(value).is_none_or(|length| length <= wanted.as_u64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= wanted.as_u64().unwrap()),
            "items" => {
                for (place, item) in list(value).enumerate() {
                    holds(root, wanted, item, &format!("{at}[{place}]"))?;
                }
                true
            }
            "properties" => {
                for (key, property) in wanted.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        holds(root, property, value, &format!("{at}.{key}"))?;
                    }
                }
                true
            }
            "required" => {
                value.is_null() || list(wanted).all(|key| value.get(key.as_str().unwrap()).is_some())
            }
            "additionalProperties" => {
                assert_eq!(wanted, &Value::Bool(false), "nothing else is used");
                let known = |key: &String| schema["properties"].get(key).is_some();
                value.as_object().is_none_or(|object| object.keys().all(known))
            }
            word if WORDS_ABOUT.contains(&word) => true,
            word => panic!("the schema uses {word}, which is not checked here"),
        };
        if !kept {
            return Err(format!("{at}: {word} {wanted}: {value}"));
        }
    }
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn integer(value: &Value) -> Option<i128> {
    value.as_u64().map(i128::from).or_else(|| value.as_i64().map(i128::from))
}

fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

fn is_of_type(value: &Value, wanted: &Value) -> bool {
    let names = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => integer(value).is_some(),
        other => panic!("the schema uses the type {other}, which is not checked here"),
    };
    if wanted.is_array() { list(wanted).any(names) } else { names(wanted) }
}

#[test]
fn the_words_of_a_schema_are_held_against_a_value() {
    let text = r##"{ "$defs": {
        "n": { "type": ["integer", "null"], "minimum": 1, "maximum": 3 },
        "o": { "type": "object", "properties": { "n": { "$ref": "#/$defs/n" }, "k": { "enum": ["a", "b"] } },
               "required": ["k"], "additionalProperties": false },
        "l": { "type": "array", "minItems": 1, "items": { "oneOf": [{ "const": 1 }, { "type": "string", "maxLength": 1 }] } }
    } }"##;
    let schema: Value = serde_json::from_str(text).unwrap();
    let fits =
        |definition, value: &str| check(&schema, definition, &serde_json::from_str(value).unwrap()).is_ok();
    for (definition, right, wrong) in [
        ("n", &["1", "3", "null"][..], &["0", "4", "1.5", "\"1\""][..]),
        (
            "o",
            &[r#"{"k":"a"}"#, r#"{"k":"b","n":null}"#],
            &["{}", r#"{"k":"c"}"#, r#"{"k":"a","n":0}"#, r#"{"k":"a","x":1}"#],
        ),
        ("l", &["[1]", r#"["x",1]"#], &["[]", "[2]", r#"["xy"]"#, "1"]),
    ] {
        right.iter().for_each(|value| assert!(fits(definition, value), "{definition}: {value}"));
        wrong.iter().for_each(|value| assert!(!fits(definition, value), "{definition}: {value}"));
    }
}
