//! Plain data as names with values, `watch.rhf_ppm.enter` and the like, and back.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Every value of plain data under the names that lead to it, in order of name; what is missing is left out.
///
/// # Panics
/// If the data is not plain: names, numbers, words.
#[must_use]
pub fn flat(data: &impl Serialize) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    walk(&serde_json::to_value(data).expect("plain data has a value"), "", &mut values);
    values
}

fn walk(value: &Value, name: &str, values: &mut BTreeMap<String, String>) {
    let written = match value {
        Value::Null => return,
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                walk(value, &name, values);
            }
            return;
        }
        Value::String(word) => word.clone(),
        other => other.to_string(),
    };
    assert!(!written.contains(char::is_whitespace), "{name}: a value is one word: {written}");
    values.insert(name.to_owned(), written);
}

/// The data that these values make.
///
/// # Errors
/// If a name is unknown, one is missing, or a value is not of its kind.
pub(super) fn nested<T: DeserializeOwned>(values: &BTreeMap<String, String>) -> Result<T, serde_json::Error> {
    let mut root = Map::new();
    for (name, value) in values {
        let mut place = &mut root;
        let (path, last) = name.rsplit_once('.').unwrap_or(("", name));
        for part in path.split('.').filter(|part| !part.is_empty()) {
            let entry = place.entry(part).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(fields) = entry else {
                return Err(serde::de::Error::custom(format!("{name}: {part} is a value")));
            };
            place = fields;
        }
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.clone()));
        place.insert(last.to_owned(), value);
    }
    serde_json::from_value(Value::Object(root))
}
