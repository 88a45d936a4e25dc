//! Content formats of events (`messages.md` §2.3) and their conversion for a handler (§7.2).

use std::borrow::Cow;

use ciborium::Value;
pub use model::event::{CBOR, STRUCTURED};
use model::message::SubscriptionContent;

/// text/plain.
pub const TEXT: u16 = 0;
/// application/octet-stream.
pub const OCTET_STREAM: u16 = 42;
/// application/json.
pub const JSON: u16 = 50;

/// The format and data that a handler takes; absent if it takes neither this format nor one it can be
/// converted to, and the device would drop the event without a word. Structured data becomes JSON for
/// text handlers and plain CBOR for CBOR handlers; handlers of every format get it as it is.
pub fn for_handler(
    content: SubscriptionContent,
    format: u16,
    data: &[u8],
) -> Option<(u16, Cow<'_, [u8]>)> {
    match (content, format) {
        (SubscriptionContent::Any, _) => Some((format, data.into())),
        (SubscriptionContent::Cbor, CBOR | STRUCTURED) => Some((CBOR, data.into())),
        (SubscriptionContent::Cbor, _) => None,
        (SubscriptionContent::Text, STRUCTURED) => {
            Some((JSON, cbor_to_json(data)?.into_bytes().into()))
        }
        (SubscriptionContent::Text, _) => is_text(format).then(|| (format, data.into())),
    }
}

/// Whether a device counts the format as text: plain, link-format, XML or JSON.
pub fn is_text(format: u16) -> bool {
    matches!(format, TEXT | 40 | 41 | JSON)
}

/// The JSON of one CBOR item. Byte strings become `{"_type":"buffer","_data":"<base64>"}`, numbers that
/// JSON does not know (infinite, not a number) and undefined become null, keys become text. Absent if
/// the bytes are no CBOR, nested deeper than 32 levels, or followed by anything, or if a key is a list or a
/// map itself.
pub fn cbor_to_json(cbor: &[u8]) -> Option<String> {
    let mut rest = cbor;
    let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX).ok()?;
    if !rest.is_empty() || !has_plain_keys(&value) {
        return None;
    }
    let mut out = String::with_capacity(cbor.len() * 2);
    write_json(&value, &mut out);
    Some(out)
}

/// Deep enough for data a person made, shallow enough for any stack.
const DEPTH_MAX: usize = 32;

/// A key that is a map with such a key, and so on, would be escaped again at each level: twice as long each
/// time. The firmware's keys are text.
fn has_plain_keys(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(has_plain_keys),
        Value::Map(members) => {
            members.iter().all(|(key, value)| is_plain(key) && has_plain_keys(value))
        }
        Value::Tag(_, inner) => has_plain_keys(inner),
        _ => true,
    }
}

fn is_plain(key: &Value) -> bool {
    match key {
        Value::Tag(_, inner) => is_plain(inner),
        other => !matches!(other, Value::Array(_) | Value::Map(_)),
    }
}

fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Integer(number) => out.push_str(&i128::from(*number).to_string()),
        Value::Float(number) => write_float(*number, out),
        Value::Text(text) => write_text(text, out),
        Value::Bytes(bytes) => write_buffer(bytes, out),
        Value::Array(items) => write_all('[', items, ']', out, write_json),
        Value::Map(members) => write_all('{', members, '}', out, write_member),
        Value::Tag(_, inner) => write_json(inner, out),
        _ => out.push_str("null"),
    }
}

fn write_all<T>(
    open: char,
    items: &[T],
    close: char,
    out: &mut String,
    write: impl Fn(&T, &mut String),
) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}

fn write_member((key, value): &(Value, Value), out: &mut String) {
    match key {
        Value::Text(text) => write_text(text, out),
        other => {
            let mut text = String::new();
            write_json(other, &mut text);
            write_text(&text, out);
        }
    }
    out.push(':');
    write_json(value, out);
}

fn write_float(number: f64, out: &mut String) {
    match serde_json::Number::from_f64(number) {
        Some(number) => out.push_str(&number.to_string()),
        None => out.push_str("null"),
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn write_buffer(bytes: &[u8], out: &mut String) {
    use base64::Engine as _;
    out.push_str(r#"{"_type":"buffer","_data":""#);
    base64::engine::general_purpose::STANDARD.encode_string(bytes, out);
    out.push_str(r#""}"#);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cbor_becomes_json_with_its_members_in_order() {
        for (cbor, json) in [
            (&b"\xa2\x61b\x01\x61a\x61x"[..], r#"{"b":1,"a":"x"}"#),
            (b"\x83\xf5\xf4\xf6", "[true,false,null]"),
            (b"\x39\x01\x00", "-257"),
            (b"\xfb\x40\x35\x80\x00\x00\x00\x00\x00", "21.5"),
            (b"\xf9\x7e\x00", "null"),
            (b"\x43\x01\x02\x03", r#"{"_type":"buffer","_data":"AQID"}"#),
            (b"\x63a\"\n", r#""a\"\n""#),
            (b"\xa1\x05\x80", r#"{"5":[]}"#),
        ] {
            assert_eq!(cbor_to_json(cbor).as_deref(), Some(json), "{cbor:02x?}");
        }
    }

    #[test]
    fn a_key_that_holds_keys_is_none_however_it_is_wrapped() {
        assert_eq!(cbor_to_json(b"\xa1\xa1\x61a\x01\x02"), None);
        assert_eq!(cbor_to_json(b"\x81\xa1\x01\xa1\xc1\x80\x02"), None);
        let nested = [&[0xa1; 30][..], b"\x61a", &[0x01; 30]].concat();
        assert_eq!(cbor_to_json(&nested), None, "half a gigabyte of backslashes");
        assert_eq!(cbor_to_json(b"\xa1\xc1\x05\x80").as_deref(), Some(r#"{"5":[]}"#));
    }

    #[test]
    fn cut_followed_and_deeply_nested_cbor_is_none() {
        assert_eq!(cbor_to_json(b""), None);
        assert_eq!(cbor_to_json(b"\xa2\x61a"), None);
        assert_eq!(cbor_to_json(b"\x01\x01"), None);
        assert_eq!(cbor_to_json(&[0x81; 16_384]), None);
        assert_eq!(cbor_to_json(b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(cbor_to_json(b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(cbor_to_json(b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff"), None);
    }

    #[test]
    fn structured_data_is_json_for_text_handlers_and_cbor_for_cbor_handlers() {
        let data = b"\xa1\x61a\x01";
        let text = for_handler(SubscriptionContent::Text, STRUCTURED, data);
        assert_eq!(text, Some((JSON, br#"{"a":1}"#.as_slice().into())));
        let cbor = for_handler(SubscriptionContent::Cbor, STRUCTURED, data);
        assert_eq!(cbor, Some((CBOR, data.as_slice().into())));
        let any = for_handler(SubscriptionContent::Any, STRUCTURED, data);
        assert_eq!(any, Some((STRUCTURED, data.as_slice().into())));
    }

    #[test]
    fn what_a_handler_would_drop_is_not_sent() {
        assert_eq!(for_handler(SubscriptionContent::Text, OCTET_STREAM, b"x"), None);
        assert_eq!(for_handler(SubscriptionContent::Text, CBOR, b"\xa0"), None);
        assert_eq!(for_handler(SubscriptionContent::Cbor, TEXT, b"x"), None);
        assert!(for_handler(SubscriptionContent::Text, 41, b"<a/>").is_some());
    }
}
