//! What a target answered becomes events (`api/webhooks.md` §5).

use model::limits::EVENT_NAME_BYTES_MAX;
use model::{EventData, EventName};
use serde_json::Value;

use super::client::{ANSWER_BYTES_MAX, Answer};
use super::definition::{Definition, Tree};
use super::template::{Inserted, Renderer, Template};

/// Bytes of an answer in one event.
const PART_BYTES: usize = 512;
/// Content formats (`messages.md` §2.3): text, bytes of no known type.
const TEXT: u16 = 0;
const BYTES: u16 = 42;

/// The parts of an answer, in order; an empty one has none. One that is not to be cut is one part,
/// larger than any that is published: streams show it, and a device gets it if it takes that much.
pub(crate) fn parts(definition: &Definition, answer: &Answer) -> Vec<EventData> {
    let size = if definition.unchunked { ANSWER_BYTES_MAX } else { PART_BYTES };
    if definition.as_bytes {
        let format = format_of(&answer.kind);
        answer.body.chunks(size).map(|part| EventData { format, bytes: part.into() }).collect()
    } else {
        // What a template or a repaired character added counts, too.
        text_parts(cut(&text_of(definition, answer), ANSWER_BYTES_MAX), size)
    }
}

/// A topic with its variables filled in, as far as it can be part of a name. None if it makes too much.
pub(crate) fn topic(template: &Template, variables: &Value) -> Option<String> {
    let text = template.render(variables, Inserted::Plain).ok()?;
    Some(cut(&text, EVENT_NAME_BYTES_MAX).to_owned())
}

/// The name of an event: `topic`, with `/n` behind it if given. A name that would be too long is cut
/// before the number. None if it is the name of an internal event, or no name.
pub(crate) fn name(topic: &str, number: Option<usize>) -> Option<EventName> {
    let tail = number.map(|number| format!("/{number}")).unwrap_or_default();
    let head = cut(topic, EVENT_NAME_BYTES_MAX - tail.len());
    let name = EventName::parse(format!("{head}{tail}").as_bytes()).ok()?;
    (!head.is_empty() && !name.is_internal()).then_some(name)
}

fn text_of(definition: &Definition, answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    let Some(template) = &definition.response_template else { return body.into_owned() };
    let Ok(variables) = serde_json::from_str::<Value>(&body) else { return body.into_owned() };
    let renderer = &mut Renderer::new(&variables);
    let rendered = match template {
        Tree::Text(template) => renderer.plain(template).ok(),
        tree => tree.render(renderer).ok().map(|value| value.to_string()),
    };
    rendered.unwrap_or_else(|| body.into_owned())
}

/// Cuts at the last character that fits whole.
fn text_parts(text: &str, size: usize) -> Vec<EventData> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let part = cut(rest, size);
        parts.push(EventData { format: TEXT, bytes: part.as_bytes().into() });
        rest = &rest[part.len()..];
    }
    parts
}

/// At most `bytes` of the text, whole characters.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

fn format_of(kind: &str) -> u16 {
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/cbor" => 60,
        "image/jpeg" => 22,
        "image/png" => 23,
        _ => BYTES,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::definition::normal_form;
    use super::*;

    fn definition(extra: Value) -> Definition {
        let mut fields = json!({"event": "a", "url": "http://h/"});
        let extra = extra.as_object().expect("an object").clone();
        fields.as_object_mut().expect("an object").extend(extra);
        let fields = normal_form(fields.as_object().expect("an object"), false).expect("fields");
        Definition::parse(&fields).expect("a definition")
    }

    fn told(extra: Value, body: &str) -> Vec<String> {
        let answer = Answer { status: 200, kind: "text/plain".into(), body: body.into() };
        let parts = parts(&definition(extra), &answer);
        parts.iter().map(|part| String::from_utf8_lossy(&part.bytes).into_owned()).collect()
    }

    #[test]
    fn an_answer_is_cut_into_parts_of_512_bytes() {
        let body = "r".repeat(1100);
        let parts = told(json!({}), &body);
        assert_eq!(parts.iter().map(String::len).collect::<Vec<_>>(), [512, 512, 76]);
        assert_eq!(parts.concat(), body);
        assert!(told(json!({}), "").is_empty());
    }

    #[test]
    fn an_answer_that_is_not_to_be_cut_is_one_event_of_up_to_100_000_bytes() {
        let body = "r".repeat(ANSWER_BYTES_MAX);
        assert_eq!(told(json!({"unchunked": true}), &body), [body.as_str()]);
        let as_bytes = json!({"unchunked": true, "dataUrlResponseEvent": true});
        assert_eq!(told(as_bytes, &body), [body.as_str()]);
    }

    #[test]
    fn no_part_ends_inside_a_character() {
        let body = "ü".repeat(400) + "x";
        let odd = told(json!({}), &format!("x{body}"));
        assert_eq!(odd[0].len(), 511);
        assert_eq!(odd.concat(), format!("x{body}"));
    }

    #[test]
    fn a_response_template_sees_the_answer_as_json() {
        let body = r#"{"a":[{"t":20}],"s":"x\"y"}"#;
        assert_eq!(told(json!({"responseTemplate": "{{a.0.t}}|{{{s}}}"}), body), ["20|x\"y"]);
        let tree = json!({"responseTemplate": {"v": "{{{s}}}"}});
        assert_eq!(told(tree, body), [r#"{"v":"x\"y"}"#]);
        assert_eq!(told(json!({"responseTemplate": "{{a}}"}), "no json"), ["no json"]);
    }

    #[test]
    fn what_a_response_template_makes_is_cut_like_any_answer() {
        let body = json!({"s": "x".repeat(60_000)}).to_string();
        for template in [json!("{{s}}{{s}}"), json!({"a": "{{s}}", "b": "{{s}}"})] {
            let parts = told(json!({"responseTemplate": template}), &body);
            assert_eq!(parts.iter().map(String::len).sum::<usize>(), ANSWER_BYTES_MAX);
        }
    }

    #[test]
    fn bytes_keep_their_type() {
        let answer = Answer { status: 200, kind: "image/png; q=1".into(), body: vec![0xff; 600] };
        let parts = parts(&definition(json!({"dataUrlResponseEvent": true})), &answer);
        assert_eq!(parts.iter().map(|part| part.bytes.len()).collect::<Vec<_>>(), [512, 88]);
        assert!(parts.iter().all(|part| part.format == 23));
    }

    #[test]
    fn a_topic_keeps_its_number_when_it_is_too_long_and_is_never_internal() {
        let variables = json!({"x": "y".repeat(80)});
        let name_of = |text: &str, number| {
            let template = Template::parse(text).expect("a template");
            name(&topic(&template, &variables).expect("little"), number)
        };
        let long = name_of("hook/{{x}}", Some(12)).expect("a name");
        assert_eq!(long.as_str().len(), 64);
        assert!(long.as_str().ends_with("y/12"));
        assert_eq!(name_of("spark/status", None), None);
        assert_eq!(name_of("{{none}}", Some(0)), None);
    }
}
