//! A definition and an occasion become a request (`api/webhooks.md` §4).

use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use url::Url;
use url::form_urlencoded::Serializer;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::definition::{Content, Definition, Pairs, method_of};
use super::occasion::Occasion;
use super::template::{Inserted, Renderer, TemplateError};

/// Headers that belong to the connection, not to the author of a webhook.
const OURS: [&str; 5] = ["connection", "content-length", "te", "transfer-encoding", "upgrade"];

/// A request, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<String>,
}

/// Why there is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// The rendered address is none, or not of the web.
    #[error("the url is no http address")]
    Address,
    /// The rendered method is none of the four.
    #[error("the request type is none of GET, POST, PUT and DELETE")]
    Method,
    /// A rendered header has a line break or another character that headers cannot have.
    #[error("header {0:?} cannot be sent")]
    Header(String),
    /// See there.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// The address for the variables of a request, without a query of the definition.
pub(crate) fn address(
    definition: &Definition,
    renderer: &mut Renderer<'_>,
) -> Result<Url, RequestError> {
    let text = renderer.render(&definition.url, Inserted::PercentEncoded)?;
    let url = Url::parse(text.trim()).map_err(|_| RequestError::Address)?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.host().is_some();
    if is_web { Ok(url) } else { Err(RequestError::Address) }
}

/// The request for this occasion.
pub(crate) fn request(
    definition: &Definition,
    occasion: &Occasion,
) -> Result<Outgoing, RequestError> {
    let variables = occasion.variables();
    let renderer = &mut Renderer::new(&variables);
    let method = renderer.plain(&definition.method)?;
    let method = method_of(&method).ok_or(RequestError::Method)?;
    let defaults: &[_] = if definition.no_defaults { &[] } else { &occasion.default_fields() };
    let mut url = address(definition, renderer)?;
    let mut query = Vec::new();
    if method == Method::GET {
        merge(&mut query, owned(defaults));
    }
    merge(&mut query, rendered(&definition.query, renderer)?);
    let mut headers = HeaderMap::new();
    let mut body = None;
    if method == Method::POST || method == Method::PUT {
        let (kind, text) = content(&definition.body, defaults, renderer)?;
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if kind == Some(JSON) {
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        }
        body = Some(text);
    } else if let (Content::Form(pairs), true) = (&definition.body, method == Method::GET) {
        merge(&mut query, rendered(pairs, renderer)?);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(&query);
    }
    add_headers(&mut headers, definition, renderer)?;
    Ok(Outgoing { method, url, headers, body })
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

type Texts = Vec<(String, String)>;

/// The body of a POST or PUT and its type.
fn content(
    content: &Content,
    defaults: &[(&str, &str)],
    renderer: &mut Renderer<'_>,
) -> Result<(Option<&'static str>, String), RequestError> {
    Ok(match content {
        Content::Form(pairs) => {
            let mut fields = owned(defaults);
            merge(&mut fields, rendered(pairs, renderer)?);
            (Some(FORM), form(&fields))
        }
        Content::Json(tree) => {
            let own = defaults.iter().map(|(key, value)| ((*key).to_owned(), (*value).into()));
            let mut fields: Map<String, Value> = own.collect();
            if let Value::Object(defined) = tree.render(renderer)? {
                fields.extend(defined);
            }
            (Some(JSON), Value::Object(fields).to_string())
        }
        Content::JsonText(template) => (Some(JSON), renderer.plain(template)?),
        Content::Nothing if defaults.is_empty() => (None, String::new()),
        Content::Nothing => (Some(FORM), form(&owned(defaults))),
        Content::Text(template) => (None, renderer.plain(template)?),
    })
}

fn owned(defaults: &[(&str, &str)]) -> Texts {
    defaults.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn rendered(pairs: &Pairs, renderer: &mut Renderer<'_>) -> Result<Texts, TemplateError> {
    pairs.iter().map(|(key, value)| Ok((renderer.plain(key)?, renderer.plain(value)?))).collect()
}

/// What the definition says replaces what was there.
fn merge(fields: &mut Texts, defined: Texts) {
    for (key, value) in defined {
        match fields.iter_mut().find(|(known, _)| *known == key) {
            Some(field) => field.1 = value,
            None => fields.push((key, value)),
        }
    }
}

fn form(fields: &Texts) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn add_headers(
    headers: &mut HeaderMap,
    definition: &Definition,
    renderer: &mut Renderer<'_>,
) -> Result<(), RequestError> {
    if let Some((user, password)) = &definition.auth {
        let user = renderer.plain(user)?;
        let password = renderer.plain(password)?;
        let text = format!("Basic {}", BASE64.encode(format!("{user}:{password}")));
        let value = HeaderValue::from_str(&text);
        headers.insert(AUTHORIZATION, value.map_err(|_| RequestError::Header("auth".into()))?);
    }
    for (name, value) in rendered(&definition.headers, renderer)? {
        let unfit = || RequestError::Header(name.chars().take(64).collect());
        let parsed = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| unfit())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| unfit())?;
        if !OURS.contains(&parsed.as_str()) {
            headers.insert(parsed, value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::event::Origin;
    use model::{AccountId, DeviceId, Event, EventData, EventId, EventName, Timestamp};
    use serde_json::json;

    use super::super::definition::normal_form;
    use super::*;

    const DEFAULTS: &str = "event=temp%2Fout&data=DATA&\
        published_at=2026-01-31T12%3A34%3A56.789Z&coreid=abababababababababababab";

    fn occasion(data: &str) -> Occasion {
        let event = Event {
            id: EventId(7),
            account: AccountId(1),
            origin: Origin::Device(DeviceId([0xab; 12])),
            product: None,
            name: EventName::parse(b"temp/out").expect("a name"),
            data: Some(EventData { format: 0, bytes: data.as_bytes().into() }),
            ttl_s: 60,
            published_at: Timestamp(1_769_862_896_789),
        };
        Occasion::of(&event, None)
    }

    fn made(extra: Value, data: &str) -> Result<Outgoing, RequestError> {
        let mut fields = json!({"event": "temp", "url": "http://h.example/p"});
        let extra = extra.as_object().expect("an object").clone();
        fields.as_object_mut().expect("an object").extend(extra);
        let fields = normal_form(fields.as_object().expect("an object"), false).expect("fields");
        request(&Definition::parse(&fields).expect("a definition"), &occasion(data))
    }

    fn kind(outgoing: &Outgoing) -> Option<&str> {
        outgoing.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
    }

    #[test]
    fn without_a_body_of_its_own_a_post_is_a_form_of_the_default_fields() {
        let outgoing = made(json!({}), "20").expect("a request");
        assert_eq!(outgoing.body, Some(DEFAULTS.replace("DATA", "20")));
        assert_eq!(kind(&outgoing), Some(FORM));
        assert_eq!(outgoing.url.as_str(), "http://h.example/p");
    }

    #[test]
    fn a_get_has_everything_in_its_query_and_a_delete_only_its_own() {
        let get =
            made(json!({"requestType": "get", "query": {"data": "q"}, "form": {"f": "1"}}), "20");
        let get = get.expect("a request");
        assert_eq!(get.url.query(), Some(&*format!("{}&f=1", DEFAULTS.replace("DATA", "q"))));
        assert_eq!(get.body, None);
        let delete = made(json!({"requestType": "DELETE", "query": {"a": "{{x}}"}}), r#"{"x":5}"#);
        let delete = delete.expect("a request");
        assert_eq!((delete.url.query(), delete.body), (Some("a=5"), None));
    }

    #[test]
    fn a_json_object_wins_over_the_default_fields_and_its_values_are_texts() {
        let json = json!({"temperature": "{{t}}", "data": "own"});
        let outgoing = made(json!({"json": json}), r#"{"t":20}"#).expect("a request");
        let body: Value =
            serde_json::from_str(&outgoing.body.clone().expect("a body")).expect("JSON");
        assert_eq!(body["temperature"], "20");
        assert_eq!(body["data"], "own");
        assert_eq!(body["coreid"], "abababababababababababab");
        assert_eq!(kind(&outgoing), Some(JSON));
        assert_eq!(outgoing.headers[ACCEPT], "application/json");
    }

    #[test]
    fn json_as_a_text_and_a_body_are_sent_as_rendered() {
        let text = r#"{"v":{{{PARTICLE_EVENT_VALUE}}}}"#;
        let outgoing = made(json!({"json": text}), "[1,2]").expect("a request");
        assert_eq!(outgoing.body.as_deref(), Some(r#"{"v":[1,2]}"#));
        let outgoing = made(json!({"body": "<{{0}}>"}), "[1,2]").expect("a request");
        assert_eq!((outgoing.body.as_deref(), kind(&outgoing)), (Some("<1>"), None));
    }

    #[test]
    fn credentials_and_headers_are_templates_too() {
        let extra = json!({
            "auth": {"username": "u{{n}}", "password": "p"},
            "headers": {"X-{{n}}": "{{{PARTICLE_DEVICE_ID}}}", "Content-Length": "9", "Content-Type": "a/b"},
        });
        let outgoing = made(extra, r#"{"n":1}"#).expect("a request");
        assert_eq!(outgoing.headers[AUTHORIZATION], "Basic dTE6cA==");
        assert_eq!(outgoing.headers["x-1"], "abababababababababababab");
        assert!(!outgoing.headers.contains_key("content-length"));
        assert_eq!(kind(&outgoing), Some("a/b"));
    }

    #[test]
    fn a_request_is_bounded_however_often_its_definition_inserts_the_event() {
        let data = "x".repeat(16_000);
        let often = |count: usize| {
            let pairs =
                (0..count).map(|key| (key.to_string(), json!("{{{PARTICLE_EVENT_VALUE}}}")));
            Value::Object(pairs.collect())
        };
        for key in ["json", "form", "query", "headers"] {
            assert!(made(json!({key: often(10)}), &data).is_ok(), "{key}");
            let why = made(json!({key: often(400)}), &data).expect_err("too large");
            assert_eq!(why, TemplateError::TooLarge.into(), "{key}");
        }
        let half = json!({"query": often(9), "headers": often(9)});
        assert_eq!(made(half, &data).expect_err("too large"), TemplateError::TooLarge.into());
    }

    #[test]
    fn event_data_cannot_add_headers_or_change_the_host() {
        let headers = json!({"headers": {"X-A": "{{{PARTICLE_EVENT_VALUE}}}"}});
        assert_eq!(
            made(headers, "a\r\nX-B: c").expect_err("a line break"),
            RequestError::Header("X-A".into())
        );
        let url = json!({"url": "http://h.example/{{{PARTICLE_EVENT_VALUE}}}"});
        let outgoing = made(url, "../@evil.example:80/?a=b#c").expect("a request");
        assert_eq!(outgoing.url.host_str(), Some("h.example"));
        assert_eq!(outgoing.url.query(), None);
        for text in ["evil.example/", "evil.example#", "a@evil.example"] {
            let url = json!({"url": "http://{{{PARTICLE_EVENT_VALUE}}}.h.example/"});
            assert_eq!(made(url, text).expect_err("no host"), RequestError::Address, "{text}");
        }
    }
}
