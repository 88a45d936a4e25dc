//! What the owner of a webhook writes (`api/webhooks.md` §2), checked once and parsed.

use model::DeviceId;
use model::limits::EVENT_NAME_BYTES_MAX;
use serde_json::{Map, Value, json};
use url::Url;

use super::template::{Renderer, Template, TemplateError};

/// Largest definition, in bytes of JSON.
const DEFINITION_BYTES_MAX: usize = 16 * 1024;
/// How deep objects of a definition may lie in each other.
const DEPTH_MAX: usize = 32;
/// The one kind of integration there is.
pub(crate) const WEBHOOK: &str = "Webhook";
/// Keys as they are kept, each with the other names that clients give it.
const KEYS: [(&str, &[&str]); 20] = [
    ("auth", &[]),
    ("body", &[]),
    ("dataUrlResponseEvent", &[]),
    ("deviceID", &["deviceid", "deviceId"]),
    ("disabled", &[]),
    ("errorResponseTopic", &["errorResponseEvent"]),
    ("event", &["eventName"]),
    ("form", &[]),
    ("headers", &[]),
    ("integration_type", &[]),
    ("json", &[]),
    ("name", &[]),
    ("noDefaults", &["nodefaults"]),
    ("query", &[]),
    ("rejectUnauthorized", &[]),
    ("requestType", &["method"]),
    ("responseTemplate", &[]),
    ("responseTopic", &["responseEvent"]),
    ("unchunked", &[]),
    ("url", &[]),
];
/// Those that hold objects; forms send them as JSON text.
const OBJECTS: [&str; 6] = ["auth", "form", "headers", "json", "query", "responseTemplate"];
/// Those that switch something.
const SWITCHES: [&str; 5] =
    ["dataUrlResponseEvent", "disabled", "noDefaults", "rejectUnauthorized", "unchunked"];

/// A parsed definition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Definition {
    /// Prefix of the events that cause it.
    pub(crate) event: String,
    /// Only events of this device cause it.
    pub(crate) device: Option<DeviceId>,
    /// Nothing causes it.
    pub(crate) disabled: bool,
    pub(crate) url: Template,
    /// GET, POST, PUT or DELETE once rendered.
    pub(crate) method: Template,
    pub(crate) body: Content,
    pub(crate) query: Pairs,
    pub(crate) headers: Pairs,
    /// User name and password.
    pub(crate) auth: Option<(Template, Template)>,
    /// Whether the default fields are left out.
    pub(crate) no_defaults: bool,
    /// Whether the target's certificate must be valid.
    pub(crate) verify: bool,
    pub(crate) response_template: Option<Tree>,
    pub(crate) response_topic: Option<Template>,
    pub(crate) error_topic: Option<Template>,
    /// Whether the answer becomes one event.
    pub(crate) unchunked: bool,
    /// Whether the answer is passed on as bytes of its type.
    pub(crate) as_bytes: bool,
}

/// What a request carries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Form(Pairs),
    Json(Tree),
    /// JSON as one text, sent as it is rendered.
    JsonText(Template),
    Nothing,
    Text(Template),
}

/// Names and values.
pub(crate) type Pairs = Vec<(Template, Template)>;

/// JSON whose texts are templates, each rendered alone, so that no value can break out of its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    List(Vec<Self>),
    Object(Vec<(Template, Self)>),
    Text(Template),
    Value(Value),
}

/// Why a definition is refused; a text for its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DefinitionError(String);

fn wrong(text: impl Into<String>) -> DefinitionError {
    DefinitionError(text.into())
}

impl Definition {
    /// Parses what [`normal_form`] gave.
    pub(crate) fn parse(fields: &Map<String, Value>) -> Result<Self, DefinitionError> {
        let reader = Reader(fields);
        let definition = Self {
            event: reader.event()?,
            device: reader.device()?,
            disabled: reader.switch("disabled", false),
            url: reader.url()?,
            method: reader.method()?,
            body: reader.content()?,
            query: reader.pairs("query")?,
            headers: reader.pairs("headers")?,
            auth: reader.auth()?,
            no_defaults: reader.switch("noDefaults", false),
            verify: reader.switch("rejectUnauthorized", true),
            response_template: reader.tree("responseTemplate")?,
            response_topic: reader.template("responseTopic")?,
            error_topic: reader.template("errorResponseTopic")?,
            unchunked: reader.switch("unchunked", false),
            as_bytes: reader.switch("dataUrlResponseEvent", false),
        };
        reader.check_kind()?;
        Ok(definition)
    }
}

/// The fields of a request that define a webhook, under the names they are kept by. Forms have texts
/// only, so theirs are read as what they must be.
pub(crate) fn normal_form(
    fields: &Map<String, Value>,
    is_form: bool,
) -> Result<Map<String, Value>, DefinitionError> {
    let mut kept = Map::new();
    for (key, others) in KEYS {
        let mut names = std::iter::once(&key).chain(others);
        let Some(value) = names.find_map(|name| fields.get(*name)) else { continue };
        if value.is_null() {
            continue;
        }
        kept.insert(key.into(), normal_value(key, value, is_form));
    }
    kept.entry("integration_type").or_insert_with(|| json!(WEBHOOK));
    kept.entry("requestType").or_insert_with(|| json!("POST"));
    kept.entry("noDefaults").or_insert_with(|| json!(false));
    kept.entry("rejectUnauthorized").or_insert_with(|| json!(true));
    if serde_json::to_string(&kept).map_or(usize::MAX, |text| text.len()) > DEFINITION_BYTES_MAX {
        return Err(wrong(format!("A webhook has at most {DEFINITION_BYTES_MAX} bytes")));
    }
    Ok(kept)
}

fn normal_value(key: &str, value: &Value, is_form: bool) -> Value {
    match value {
        Value::String(text) if SWITCHES.contains(&key) => json!(text == "true" || text == "1"),
        Value::Number(number) if SWITCHES.contains(&key) => json!(number.as_i64() == Some(1)),
        Value::String(text) if OBJECTS.contains(&key) && (is_form || key != "json") => {
            match serde_json::from_str(text) {
                Ok(object @ Value::Object(_)) => object,
                _ => value.clone(),
            }
        }
        other => other.clone(),
    }
}

impl Tree {
    /// Parses JSON.
    fn parse(value: &Value, depth: usize) -> Result<Self, DefinitionError> {
        if depth > DEPTH_MAX {
            return Err(wrong("Objects lie too deep in each other"));
        }
        Ok(match value {
            Value::Array(elements) => {
                let elements = elements.iter().map(|element| Self::parse(element, depth + 1));
                Self::List(elements.collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, value)| Ok((template(key)?, Self::parse(value, depth + 1)?)));
                Self::Object(fields.collect::<Result<_, DefinitionError>>()?)
            }
            Value::String(text) => Self::Text(template(text)?),
            other => Self::Value(other.clone()),
        })
    }

    /// The JSON for the variables of a request.
    pub(crate) fn render(&self, renderer: &mut Renderer<'_>) -> Result<Value, TemplateError> {
        Ok(match self {
            Self::List(elements) => {
                let elements = elements.iter().map(|element| element.render(renderer));
                Value::Array(elements.collect::<Result<_, _>>()?)
            }
            Self::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, value)| Ok((renderer.plain(key)?, value.render(renderer)?)));
                Value::Object(fields.collect::<Result<_, TemplateError>>()?)
            }
            Self::Text(template) => Value::String(renderer.plain(template)?),
            Self::Value(value) => value.clone(),
        })
    }
}

fn template(text: &str) -> Result<Template, DefinitionError> {
    Template::parse(text).map_err(|why| wrong(why.to_string()))
}

struct Reader<'f>(&'f Map<String, Value>);

impl Reader<'_> {
    fn text(&self, key: &str) -> Result<Option<&str>, DefinitionError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(format!("{key} must be a text"))),
        }
    }

    fn switch(&self, key: &str, default: bool) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    fn template(&self, key: &str) -> Result<Option<Template>, DefinitionError> {
        let text = self.text(key)?.filter(|text| !text.is_empty());
        text.map(|text| template(text).map_err(|why| wrong(format!("{key}: {why}")))).transpose()
    }

    fn event(&self) -> Result<String, DefinitionError> {
        let event = self.text("event")?.unwrap_or_default();
        if event.is_empty() || event.len() > EVENT_NAME_BYTES_MAX {
            return Err(wrong("event is required: the beginning of event names, 1 to 64 bytes"));
        }
        Ok(event.to_owned())
    }

    fn device(&self) -> Result<Option<DeviceId>, DefinitionError> {
        let text = self.text("deviceID")?.filter(|text| !text.is_empty() && *text != "mine");
        let parsed =
            text.map(|text| text.parse().map_err(|_| wrong("deviceID must be a device id")));
        parsed.transpose()
    }

    fn url(&self) -> Result<Template, DefinitionError> {
        let template = self.template("url")?.ok_or_else(|| wrong("url is required"))?;
        if let Some(text) = template.constant() {
            let parsed = Url::parse(text).map_err(|why| wrong(format!("url: {why}")))?;
            if !matches!(parsed.scheme(), "http" | "https") {
                return Err(wrong("url must begin with http:// or https://"));
            }
        }
        Ok(template)
    }

    fn method(&self) -> Result<Template, DefinitionError> {
        let template =
            self.template("requestType")?.ok_or_else(|| wrong("requestType is empty"))?;
        let is_known = template.constant().is_none_or(|text| method_of(text).is_some());
        if is_known {
            Ok(template)
        } else {
            Err(wrong("requestType must be GET, POST, PUT or DELETE"))
        }
    }

    fn content(&self) -> Result<Content, DefinitionError> {
        let given = ["json", "form", "body"].into_iter().filter(|key| self.0.contains_key(*key));
        if given.count() > 1 {
            return Err(wrong("Only one of json, form and body can be sent"));
        }
        if let Some(text) = self.text("body")? {
            return Ok(Content::Text(template(text)?));
        }
        if self.0.contains_key("form") {
            return Ok(Content::Form(self.pairs("form")?));
        }
        Ok(match self.0.get("json") {
            None => Content::Nothing,
            Some(Value::String(text)) => Content::JsonText(template(text)?),
            Some(object @ Value::Object(_)) => Content::Json(Tree::parse(object, 0)?),
            Some(_) => return Err(wrong("json must be an object or a text")),
        })
    }

    fn pairs(&self, key: &str) -> Result<Pairs, DefinitionError> {
        let fields = match self.0.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err(wrong(format!("{key} must be an object"))),
        };
        let pairs = fields.iter().map(|(name, value)| {
            let text = match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Ok((template(name)?, template(&text)?))
        });
        pairs.collect()
    }

    fn auth(&self) -> Result<Option<(Template, Template)>, DefinitionError> {
        let fields = match self.0.get("auth") {
            None => return Ok(None),
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err(wrong("auth must be an object with username and password")),
        };
        let text = |key| fields.get(key).and_then(Value::as_str).unwrap_or_default();
        Ok(Some((template(text("username"))?, template(text("password"))?)))
    }

    fn tree(&self, key: &str) -> Result<Option<Tree>, DefinitionError> {
        self.0.get(key).map(|value| Tree::parse(value, 0)).transpose()
    }

    fn check_kind(&self) -> Result<(), DefinitionError> {
        match self.text("integration_type")? {
            None | Some(WEBHOOK) => Ok(()),
            Some(other) => {
                let other: String = other.chars().take(32).collect();
                Err(wrong(format!("integration_type {other} is not offered: only {WEBHOOK} is")))
            }
        }
    }
}

/// The method of this name, in any case.
pub(crate) fn method_of(text: &str) -> Option<reqwest::Method> {
    Some(match text.trim().to_ascii_uppercase().as_str() {
        "DELETE" => reqwest::Method::DELETE,
        "GET" => reqwest::Method::GET,
        "POST" => reqwest::Method::POST,
        "PUT" => reqwest::Method::PUT,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: Value, is_form: bool) -> Result<Definition, DefinitionError> {
        let fields = value.as_object().expect("an object");
        Definition::parse(&normal_form(fields, is_form)?)
    }

    #[test]
    fn event_and_url_are_enough() {
        let parsed = parse(json!({"event": "a", "url": "http://h/"}), false).expect("complete");
        assert_eq!(parsed.method.constant(), Some("POST"));
        assert!(parsed.verify && !parsed.no_defaults && !parsed.disabled);
        assert_eq!(parsed.body, Content::Nothing);
    }

    #[test]
    fn every_clients_names_are_understood_and_others_are_not_kept() {
        let id = "e00fce68a1b2c3d4e5f60718";
        for key in ["deviceID", "deviceid", "deviceId"] {
            let fields = json!({"eventName": "a", "url": "http://h/", key: id, "method": "put"});
            let parsed = parse(fields, false).expect("complete");
            assert_eq!(parsed.device, id.parse().ok());
            assert_eq!(parsed.method.constant(), Some("put"));
        }
        let fields = json!({"event": "a", "url": "http://h/", "access_token": "secret"});
        let kept = normal_form(fields.as_object().expect("an object"), false).expect("kept");
        assert!(!kept.contains_key("access_token"));
    }

    #[test]
    fn forms_hold_objects_and_switches_as_text() {
        let fields = json!({
            "event": "a", "url": "http://h/", "json": "{\"v\":\"{{x}}\"}", "noDefaults": "true",
        });
        let parsed = parse(fields.clone(), true).expect("complete");
        assert!(matches!(parsed.body, Content::Json(_)) && parsed.no_defaults);
        let parsed = parse(fields, false).expect("complete");
        assert!(matches!(parsed.body, Content::JsonText(_)));
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_reason() {
        for (fields, reason) in [
            (json!({"url": "http://h/"}), "event"),
            (json!({"event": "a"}), "url"),
            (json!({"event": "a", "url": "ftp://h/"}), "http"),
            (json!({"event": "a", "url": "h"}), "url"),
            (json!({"event": "a", "url": "http://h/", "requestType": "PATCH"}), "requestType"),
            (json!({"event": "a", "url": "http://h/", "json": {}, "body": "x"}), "one of"),
            (json!({"event": "a", "url": "http://h/", "json": {"a": "{{#x}}"}}), "balanced"),
            (json!({"event": "a", "url": "http://h/", "deviceID": "x"}), "deviceID"),
            (json!({"event": "a", "url": "http://h/", "headers": "x"}), "headers"),
            (json!({"event": "a", "url": "http://h/", "integration_type": "AzureIotHub"}), "Azure"),
            (json!({"event": "a", "url": "http://h/", "body": "x".repeat(20_000)}), "bytes"),
        ] {
            let why = parse(fields.clone(), false).expect_err("refused").to_string();
            assert!(why.contains(reason), "{fields}: {why}");
        }
    }

    #[test]
    fn a_value_cannot_break_out_of_its_place_in_an_object() {
        let tree = Tree::parse(&json!({"v": "{{{x}}}", "n": [1, "{{{x}}}"]}), 0).expect("a tree");
        let variables = json!({"x": "\",\"a\":\"\n"});
        let rendered = tree.render(&mut Renderer::new(&variables)).expect("rendered");
        assert_eq!(rendered, json!({"v": "\",\"a\":\"\n", "n": [1, "\",\"a\":\"\n"]}));
    }
}
