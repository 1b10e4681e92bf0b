//! JSON for parameters: duplicate keys are refused, and numbers that are not finite have a kind of their own.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::invalid;
use crate::{Error, ErrorKind, Result};

/// Reads the text of a JSON object.
///
/// # Errors
/// `invalid_parameter` when a number is not finite (`NaN`, `Infinity`, `1e999`), `invalid_frame` otherwise.
pub(super) fn object(text: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Strict(Value::Object(map))) => Ok(map),
        Ok(_) => Err(invalid("frame metadata 'params' is not a JSON object")),
        Err(error) if is_not_finite(text, &error) => Err(Error::new(
            ErrorKind::InvalidParameter,
            "a parameter is not finite; allowed: finite numbers",
        )),
        Err(error) => Err(invalid(format!("frame metadata 'params' is not JSON: {error}"))),
    }
}

/// Python's `json` writes `NaN` and `Infinity`, which is not JSON; the caller should hear what is wrong all the same.
fn is_not_finite(text: &str, error: &serde_json::Error) -> bool {
    if error.to_string().starts_with("number out of range") {
        return true;
    }
    let replaced = replace_outside_strings(text);
    replaced != text && serde_json::from_str::<Strict>(&replaced).is_ok()
}

fn replace_outside_strings(text: &str) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut in_string = false;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if !in_string
            && let Some(word) = ["NaN", "-Infinity", "Infinity"]
                .iter()
                .find(|word| rest.starts_with(**word))
        {
            replaced.push('0');
            rest = &rest[word.len()..];
            continue;
        }
        // An escaped quote does not end the string: take the backslash together with what follows it.
        let escaped = in_string && character == '\\';
        let taken = if escaped {
            rest.char_indices().nth(2).map_or(rest.len(), |(index, _)| index)
        } else {
            character.len_utf8()
        };
        in_string ^= character == '"';
        replaced.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    replaced
}

/// A JSON value without duplicate keys.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> std::result::Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> std::result::Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> std::result::Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let Strict(value) = access.next_value()?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key '{key}'")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
