//! Mustache without logic, as webhooks use it (`api/webhooks.md` §3): values, sections, inverted
//! sections, comments; dotted paths whose parts may be indices of arrays. No partials, no lambdas,
//! no other delimiters.

use std::borrow::Cow;

use serde_json::Value;

/// How deep sections may lie in each other.
const DEPTH_MAX: usize = 16;
/// What all templates of one request may become together, in bytes: a definition has room for hundreds
/// that insert the whole event.
const RENDERED_BYTES_MAX: usize = 256 * 1024;
/// Tags and elements of lists looked at for all of them: sections over lists in lists would multiply
/// without bound.
const STEPS_MAX: usize = 40_000;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Section { path: Path, inverted: bool, inner: Vec<Self> },
    Text(String),
    Value { path: Path, escaped: bool },
}

/// The parts of a dotted path; without any it is the element of the innermost section.
type Path = Vec<String>;

/// Why a text is no template, or what is rendered is too much.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A tag or section without an end, or an end without a beginning.
    #[error("the template is not balanced at {0:?}")]
    Unbalanced(String),
    /// Partials and other delimiters.
    #[error("templates cannot have {0:?}")]
    Unsupported(String),
    /// Sections too deep, a text too long, or lists in lists.
    #[error("the template makes too much of this")]
    TooLarge,
}

/// What is done to a value that a template inserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// `{{x}}` is escaped for HTML, `{{{x}}}` is not.
    Plain,
    /// Every value is percent-encoded, unless it is the whole template.
    PercentEncoded,
}

impl Template {
    /// Parses a text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut rest = text;
        let pieces = parse_pieces(&mut rest, None, 0)?;
        Ok(Self(pieces))
    }

    /// Whether every rendering is the same text.
    pub fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for these variables, if it is the only one.
    pub fn render(&self, variables: &Value, how: Inserted) -> Result<String, TemplateError> {
        Renderer::new(variables).render(self, how)
    }
}

/// Renders the templates of one request: all for the same variables, and within one bound.
#[derive(Debug)]
pub struct Renderer<'v> {
    variables: &'v Value,
    left: Left,
}

/// What may still be made.
#[derive(Debug)]
struct Left {
    bytes: usize,
    steps: usize,
}

impl<'v> Renderer<'v> {
    /// Nothing is rendered yet.
    pub fn new(variables: &'v Value) -> Self {
        Self { variables, left: Left { bytes: RENDERED_BYTES_MAX, steps: STEPS_MAX } }
    }

    /// The text for the variables; unknown ones are empty.
    pub fn render(&mut self, template: &Template, how: Inserted) -> Result<String, TemplateError> {
        let is_whole = matches!(template.0.as_slice(), [Piece::Value { .. }]);
        let how = if is_whole { Inserted::Plain } else { how };
        let mut rendering = Rendering { out: String::new(), left: &mut self.left, how };
        rendering.pieces(&template.0, &mut vec![self.variables])?;
        Ok(rendering.out)
    }

    /// The same, with nothing encoded for an address.
    pub(crate) fn plain(&mut self, template: &Template) -> Result<String, TemplateError> {
        self.render(template, Inserted::Plain)
    }
}

/// Reads up to the end of the text, or of the section `open`.
fn parse_pieces(
    rest: &mut &str,
    open: Option<&Path>,
    depth: usize,
) -> Result<Vec<Piece>, TemplateError> {
    if depth > DEPTH_MAX {
        return Err(TemplateError::TooLarge);
    }
    let mut pieces = Vec::new();
    while let Some((text, tail)) = rest.split_once("{{") {
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let (tag, tail) = split_tag(tail)?;
        *rest = tail;
        let (sign, name) = sign_of(tag);
        match sign {
            '!' => {}
            '#' | '^' => {
                let path = path_of(name);
                let inner = parse_pieces(rest, Some(&path), depth + 1)?;
                pieces.push(Piece::Section { path, inverted: sign == '^', inner });
            }
            '/' if open == Some(&path_of(name)) => return Ok(pieces),
            '/' => return Err(TemplateError::Unbalanced(tag.to_owned())),
            '>' | '=' => return Err(TemplateError::Unsupported(tag.to_owned())),
            '{' | '&' => pieces.push(Piece::Value { path: path_of(name), escaped: false }),
            _ => pieces.push(Piece::Value { path: path_of(name), escaped: true }),
        }
    }
    if let Some(path) = open {
        return Err(TemplateError::Unbalanced(path.join(".")));
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text((*rest).to_owned()));
    }
    Ok(pieces)
}

/// What stands between the braces, and what is behind them.
fn split_tag(text: &str) -> Result<(&str, &str), TemplateError> {
    let end = if text.starts_with('{') { "}}}" } else { "}}" };
    let unbalanced = || TemplateError::Unbalanced(text.chars().take(32).collect());
    text.split_once(end).ok_or_else(unbalanced)
}

/// The sign of a tag; a letter for plain values.
fn sign_of(tag: &str) -> (char, &str) {
    let tag = tag.trim();
    match tag.chars().next() {
        Some(sign @ ('!' | '#' | '^' | '/' | '>' | '=' | '{' | '&')) => (sign, &tag[1..]),
        _ => ('v', tag),
    }
}

fn path_of(name: &str) -> Path {
    match name.trim() {
        "." => Vec::new(),
        name => name.split('.').map(|part| part.trim().to_owned()).collect(),
    }
}

struct Rendering<'l> {
    out: String,
    left: &'l mut Left,
    how: Inserted,
}

/// Takes from what is left.
fn take(left: &mut usize, count: usize) -> Result<(), TemplateError> {
    *left = left.checked_sub(count).ok_or(TemplateError::TooLarge)?;
    Ok(())
}

impl Rendering<'_> {
    fn pieces(&mut self, pieces: &[Piece], stack: &mut Vec<&Value>) -> Result<(), TemplateError> {
        for piece in pieces {
            take(&mut self.left.steps, 1)?;
            match piece {
                Piece::Section { path, inverted, inner } => {
                    self.section(find(path, stack), *inverted, inner, stack)?;
                }
                Piece::Text(text) => self.push(text)?,
                Piece::Value { path, escaped } => {
                    if let Some(value) = find(path, stack) {
                        self.insert(value, *escaped)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn section<'v>(
        &mut self,
        value: Option<&'v Value>,
        inverted: bool,
        inner: &[Piece],
        stack: &mut Vec<&'v Value>,
    ) -> Result<(), TemplateError> {
        let value = value.filter(|value| is_truthy(value));
        let elements = match (value, inverted) {
            (None, true) => return self.pieces(inner, stack),
            (None, false) | (Some(_), true) => return Ok(()),
            (Some(Value::Array(elements)), false) => elements.as_slice(),
            (Some(value), false) => std::slice::from_ref(value),
        };
        for element in elements {
            // Also where nothing is to be made of it.
            take(&mut self.left.steps, 1)?;
            stack.push(element);
            let done = self.pieces(inner, stack);
            stack.pop();
            done?;
        }
        Ok(())
    }

    fn insert(&mut self, value: &Value, escaped: bool) -> Result<(), TemplateError> {
        let text = text_of(value);
        match self.how {
            Inserted::PercentEncoded => self.push(&percent_encoded(&text)),
            Inserted::Plain if escaped => text.chars().try_for_each(|c| match html_escape(c) {
                Some(escape) => self.push(escape),
                None => self.push(c.encode_utf8(&mut [0; 4])),
            }),
            Inserted::Plain => self.push(&text),
        }
    }

    fn push(&mut self, text: &str) -> Result<(), TemplateError> {
        take(&mut self.left.bytes, text.len())?;
        self.out.push_str(text);
        Ok(())
    }
}

/// The innermost thing that has the first part, then part by part into it.
fn find<'v>(path: &Path, stack: &[&'v Value]) -> Option<&'v Value> {
    let Some((first, rest)) = path.split_first() else { return stack.last().copied() };
    let start = stack.iter().rev().find_map(|value| part_of(value, first))?;
    rest.iter().try_fold(start, |value, part| part_of(value, part))
}

fn part_of<'v>(value: &'v Value, part: &str) -> Option<&'v Value> {
    match value {
        Value::Array(elements) => elements.get(part.parse::<usize>().ok()?),
        Value::Object(fields) => fields.get(part),
        _ => None,
    }
}

/// As in JavaScript, whose templates people bring.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Array(elements) => !elements.is_empty(),
        Value::Bool(is) => *is,
        Value::Null => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Object(_) => true,
        Value::String(text) => !text.is_empty(),
    }
}

fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

fn html_escape(c: char) -> Option<&'static str> {
    Some(match c {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '"' => "&quot;",
        '\'' => "&#39;",
        _ => return None,
    })
}

/// Percent-encodes everything but the unreserved characters (RFC 3986 §2.3).
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(template: &str, variables: &Value) -> String {
        let template = Template::parse(template).expect("a template");
        template.render(variables, Inserted::Plain).expect("a text")
    }

    #[test]
    fn values_are_escaped_in_two_braces_and_not_in_three() {
        let variables = json!({"x": "<a href=\"b\">&'", "n": 1.5, "t": true, "o": {"k": null}});
        assert_eq!(rendered("{{x}}", &variables), "&lt;a href=&quot;b&quot;&gt;&amp;&#39;");
        assert_eq!(rendered("{{{x}}}|{{&x}}", &variables), "<a href=\"b\">&'|<a href=\"b\">&'");
        assert_eq!(rendered("{{n}} {{ t }} {{{o}}}", &variables), "1.5 true {\"k\":null}");
        assert_eq!(rendered("a{{unknown}}{{o.k}}{{x.y.z}}b{{! no }}", &variables), "ab");
    }

    #[test]
    fn paths_go_into_objects_and_arrays() {
        let variables = json!({"c": [{"ca": "first"}, {"ca": "second"}], "a": {"b": {"c": 3}}});
        assert_eq!(rendered("{{{c.0.ca}}} {{c.1.ca}} {{a.b.c}}", &variables), "first second 3");
        assert_eq!(rendered("{{0}}-{{1.x}}", &json!(["top", {"x": 1}])), "top-1");
    }

    #[test]
    fn sections_follow_truth_and_lists() {
        let variables = json!({
            "list": [{"n": 1}, {"n": 2}], "words": ["a", "b"], "none": [], "off": false,
            "on": "yes", "outer": "o", "zero": 0, "empty": "",
        });
        assert_eq!(rendered("{{#list}}<{{n}}{{outer}}>{{/list}}", &variables), "<1o><2o>");
        assert_eq!(rendered("{{#words}}{{.}},{{/words}}", &variables), "a,b,");
        assert_eq!(rendered("{{#on}}{{on}}{{/on}}{{^on}}no{{/on}}", &variables), "yes");
        for name in ["none", "off", "missing", "zero", "empty"] {
            let template =
                format!("{{{{#{name}}}}}no{{{{/{name}}}}}{{{{^{name}}}}}yes{{{{/{name}}}}}");
            assert_eq!(rendered(&template, &variables), "yes", "{name}");
        }
    }

    #[test]
    fn in_addresses_values_cannot_add_parts_unless_they_are_all_of_it() {
        let variables = json!({"x": "a/b?c#@d é", "u": "http://e/"});
        let render = |text: &str| {
            let template = Template::parse(text).expect("a template");
            template.render(&variables, Inserted::PercentEncoded).expect("a text")
        };
        assert_eq!(render("http://h/{{x}}"), "http://h/a%2Fb%3Fc%23%40d%20%C3%A9");
        assert_eq!(render("{{{u}}}"), "http://e/");
    }

    #[test]
    fn what_is_not_balanced_or_not_offered_is_refused() {
        for text in ["{{x", "{{#a}}", "{{#a}}{{/b}}", "{{/a}}", "{{>p}}", "{{=<% %>=}}", "{{{x}}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        let deep = "{{#a}}".repeat(2000) + &"{{/a}}".repeat(2000);
        assert_eq!(Template::parse(&deep), Err(TemplateError::TooLarge));
        assert_eq!(Template::parse("no tags").expect("text").constant(), Some("no tags"));
    }

    #[test]
    fn lists_in_lists_do_not_multiply_without_bound() {
        let variables = json!({"a": vec![0.5; 1000]});
        let template =
            Template::parse("{{#a}}{{#a}}{{#a}}{{.}}{{/a}}{{/a}}{{/a}}").expect("parsed");
        assert_eq!(template.render(&variables, Inserted::Plain), Err(TemplateError::TooLarge));
    }

    #[test]
    fn the_templates_of_one_request_share_the_bound() {
        let variables = json!({"x": "x".repeat(100_000), "a": vec![0; 6_000]});
        for (text, times) in [("{{{x}}}", 2), ("{{#a}}{{/a}}{{#a}}{{none}}{{/a}}", 2)] {
            let template = Template::parse(text).expect("parsed");
            let mut renderer = Renderer::new(&variables);
            for _ in 0..times {
                renderer.plain(&template).expect("a text");
            }
            assert_eq!(renderer.plain(&template), Err(TemplateError::TooLarge), "{text}");
        }
    }

    #[test]
    fn sections_that_make_nothing_end_too() {
        let variables = json!({"a": vec![1; 30_000]});
        let template = Template::parse("{{#a}}{{#a}}{{/a}}{{/a}}").expect("parsed");
        assert_eq!(Renderer::new(&variables).plain(&template), Err(TemplateError::TooLarge));
    }
}
