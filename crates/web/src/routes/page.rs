//! The description as a page: no script, nothing to download.

use std::fmt::Write;

use serde_json::Value;
use utoipa::openapi::OpenApi;

const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>Cloud Chamber: HTTP API</title><style>\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{max-width:56rem;margin:2rem auto;padding:0 1rem}\
code{font:14px ui-monospace,monospace}summary{padding:.3rem 0;cursor:pointer}summary b{display:inline-block;width:4.5rem;\
font:600 13px ui-monospace,monospace}details{border-bottom:1px solid #8884}details>*:not(summary){margin-left:4.5rem}\
td{padding:0 1rem 0 0;vertical-align:top}h2{margin:2rem 0 .5rem}</style>";

/// The page of a description.
pub(crate) fn page(document: &OpenApi) -> String {
    let document = serde_json::to_value(document).unwrap_or_default();
    let mut out = String::from(HEAD);
    let info = &document["info"];
    let intro = escaped(info["description"].as_str().unwrap_or_default());
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<h1>HTTP API</h1><p>{intro}</p><p>As data: <a href=\"/openapi.json\">openapi.json</a></p>"
    );
    for (tag, operations) in by_tag(&document) {
        let _ = write!(out, "<h2>{}</h2>", escaped(&tag));
        for (method, path, operation) in operations {
            write_operation(&mut out, &document, &method, &path, operation);
        }
    }
    out
}

type Listed<'d> = Vec<(String, String, &'d Value)>;

/// Operations in the order of paths, under their headings in the order of first use.
fn by_tag(document: &Value) -> Vec<(String, Listed<'_>)> {
    let mut found: Vec<(String, Listed<'_>)> = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            let one = (method.to_uppercase(), path.clone(), operation);
            match found.iter_mut().find(|(known, _)| known == tag) {
                Some((_, listed)) => listed.push(one),
                None => found.push((tag.to_owned(), vec![one])),
            }
        }
    }
    found
}

fn write_operation(
    out: &mut String,
    document: &Value,
    method: &str,
    path: &str,
    operation: &Value,
) {
    let summary = escaped(operation["summary"].as_str().unwrap_or_default());
    let path = escaped(path);
    let _ = write!(
        out,
        "<details><summary><b>{method}</b><code>{path}</code></summary><p>{summary}</p>"
    );
    if let Some(scope) = operation["security"][0]["token"][0].as_str() {
        let _ = write!(out, "<p>Scope: <code>{}</code></p>", escaped(scope));
    }
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "query" {
            let name = escaped(parameter["name"].as_str().unwrap_or_default());
            let meaning = escaped(parameter["description"].as_str().unwrap_or_default());
            let _ = write!(out, "<p><code>?{name}=</code> {meaning}</p>");
        }
    }
    write_fields(out, document, "Takes", &operation["requestBody"]["content"]);
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        if status != "default" {
            write_fields(out, document, &format!("Gives {status}"), &response["content"]);
        }
    }
    out.push_str("</details>");
}

fn write_fields(out: &mut String, document: &Value, heading: &str, content: &Value) {
    let Some((kind, content)) = content.as_object().and_then(|content| content.iter().next())
    else {
        let is_answer = heading.starts_with("Gives");
        let _ = if is_answer { write!(out, "<p>{heading}</p>") } else { Ok(()) };
        return;
    };
    let is_list = content["schema"]["items"].is_object();
    let schema = if is_list { &content["schema"]["items"] } else { &content["schema"] };
    let shape = if is_list { "a list of " } else { "" };
    let _ = write!(out, "<p>{heading}: {shape}<code>{}</code></p>", escaped(kind));
    let name = schema["$ref"].as_str().and_then(|text| text.rsplit('/').next());
    let fields = name.map(|name| &document["components"]["schemas"][name]["properties"]);
    let fields = fields.and_then(Value::as_object).filter(|fields| !fields.is_empty());
    let Some(fields) = fields else { return };
    out.push_str("<table>");
    for (name, field) in fields {
        let meaning = escaped(field["description"].as_str().unwrap_or_default());
        let _ = write!(out, "<tr><td><code>{}</code><td>{meaning}", escaped(name));
    }
    out.push_str("</table>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
