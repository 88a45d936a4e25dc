//! The fields of a request, from a JSON or form body or the query, read alike.

use serde_json::{Map, Value};
use zeroize::Zeroize;

use crate::error::ApiError;

/// Named values. In a form everything is text; the readers take both kinds. Passwords and tokens are among
/// them: what they hold is overwritten when they are dropped.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    is_form: bool,
}

impl Fields {
    /// Reads a body by its content type; an empty one has no fields.
    pub(crate) fn from_body(content_type: &str, body: &[u8]) -> Result<Self, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        if content_type.starts_with("application/x-www-form-urlencoded") {
            return Self::from_form(body);
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self { map, is_form: false }),
            Ok(_) => Err(ApiError::bad_request("The body must be a JSON object")),
            // curl without a header sends forms as such; other clients may leave the type out.
            Err(_) if content_type.is_empty() => Self::from_form(body),
            Err(why) => Err(ApiError::bad_request(&format!("The body is no valid JSON: {why}"))),
        }
    }

    /// Reads `a=1&b=2`.
    pub(crate) fn from_form(text: &[u8]) -> Result<Self, ApiError> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(text)
            .map_err(|why| ApiError::bad_request(&format!("The form is malformed: {why}")))?;
        Ok(Self::from_pairs(pairs))
    }

    /// Fields of a form.
    pub(crate) fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        let map = pairs.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
        Self { map, is_form: true }
    }

    /// Whether everything here is text because a form knows nothing else.
    pub(crate) fn is_form(&self) -> bool {
        self.is_form
    }

    /// Whether the field is there, whatever it holds.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// A text; numbers and booleans are written out, null is absent.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        match self.map.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// The value as it came.
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    /// All fields.
    pub(crate) fn all(&self) -> &Map<String, Value> {
        &self.map
    }

    /// A switch: true, `true` and 1 are on, everything else is off.
    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.text(key).as_deref(), Some("true" | "1"))
    }

    /// A text that must be there and not empty.
    pub(crate) fn required(&self, key: &str) -> Result<String, ApiError> {
        self.text(key)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| ApiError::bad_request(&format!("{key} is required")))
    }

    /// A whole number, also as text.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.text(key).filter(|text| !text.is_empty()) else { return Ok(None) };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(ApiError::bad_request(&format!("{key} must be a whole number"))),
        }
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        self.map.values_mut().for_each(overwrite);
    }
}

/// Only text: a number is no secret. The parser does not nest deeper than 128.
fn overwrite(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(overwrite),
        Value::Object(map) => map.values_mut().for_each(overwrite),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_overwritten_however_deep_it_lies() {
        let mut value = serde_json::json!({"password": "one", "a": [{"token": "two"}, 3]});
        overwrite(&mut value);
        assert_eq!(value, serde_json::json!({"password": "", "a": [{"token": ""}, 3]}));
    }

    #[test]
    fn forms_and_json_read_alike() {
        let form =
            Fields::from_body("application/x-www-form-urlencoded", b"ttl=60&name=a%2Fb&on=true");
        let json = Fields::from_body("application/json", br#"{"ttl":60,"name":"a/b","on":true}"#);
        for fields in [form.expect("a form"), json.expect("an object")] {
            assert_eq!(fields.number("ttl").expect("a number"), Some(60));
            assert_eq!(fields.text("name").as_deref(), Some("a/b"));
            assert_eq!(fields.text("on").as_deref(), Some("true"));
        }
    }

    #[test]
    fn an_empty_body_has_no_fields_whatever_its_type() {
        assert_eq!(Fields::from_body("application/json", b"").expect("empty"), Fields::default());
    }

    #[test]
    fn a_json_array_is_refused() {
        assert!(Fields::from_body("application/json", b"[1]").is_err());
    }
}
