//! The OpenAPI 3.1 document of all operations.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use utoipa::PartialSchema;
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ComponentsBuilder, ObjectBuilder, Type,
};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder,
    RefOr, Required, Response, ResponseBuilder, Schema,
};

use super::operation::{Answer, Body, Operation, reference};
use super::shapes::Refused;

/// Name of the one way to prove oneself.
const BEARER: &str = "token";
const JSON: &str = "application/json";

/// What was described so far.
#[derive(Default)]
pub(crate) struct Document {
    operations: Vec<(&'static str, Operation)>,
}

impl Document {
    pub(crate) fn add(&mut self, tag: &'static str, operation: Operation) {
        self.operations.push((tag, operation));
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.operations.extend(other.operations);
    }

    pub(crate) fn finish(self) -> OpenApi {
        let mut schemas: BTreeMap<String, RefOr<Schema>> = BTreeMap::new();
        schemas.insert(Refused::name().into_owned(), Refused::schema());
        let mut paths = PathsBuilder::new();
        for (tag, operation) in self.operations {
            schemas.extend(operation.schemas.iter().cloned());
            let item = PathItem::new(method(&operation.method), described(tag, &operation));
            paths = paths.path(operation.path.replace("{*", "{"), item);
        }
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = ComponentsBuilder::new()
            .schemas_from_iter(schemas)
            .security_scheme(BEARER, bearer)
            .build();
        OpenApiBuilder::new().info(info()).paths(paths).components(Some(components)).build()
    }
}

fn info() -> utoipa::openapi::Info {
    InfoBuilder::new()
        .title("Cloud Chamber")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The HTTP API of a device cloud. A token is sent as `Authorization: Bearer TOKEN`; \
             `POST /oauth/token` gives one. Bodies are JSON or forms. Every refusal is JSON.",
        ))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").build()))
        .build()
}

fn method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn described(tag: &str, operation: &Operation) -> utoipa::openapi::path::Operation {
    let mut built = OperationBuilder::new()
        .tag(tag)
        .summary(Some(operation.summary))
        .operation_id(Some(operation_id(operation)))
        .request_body(operation.body.as_ref().map(request_body))
        .response(operation.status.to_string(), answer(operation))
        .response("default", refusal());
    for name in path_parameters(operation.path) {
        built = built.parameter(parameter(name, "", ParameterIn::Path, Required::True));
    }
    for (name, meaning) in &operation.query {
        built = built.parameter(parameter(name, meaning, ParameterIn::Query, Required::False));
    }
    if let Some(scope) = operation.needs.scope {
        built = built.security(SecurityRequirement::new::<&str, [&str; 1], &str>(BEARER, [scope]));
    }
    built.build()
}

/// `GET /v1/devices/{device}` is `get_devices_device`.
fn operation_id(operation: &Operation) -> String {
    let path = operation.path.trim_start_matches("/v1");
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    format!("{}_{}", operation.method.as_str().to_ascii_lowercase(), words.join("_"))
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    let parts = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    parts.map(|name| name.trim_start_matches('*'))
}

fn parameter(
    name: &str,
    meaning: &str,
    place: ParameterIn,
    required: Required,
) -> utoipa::openapi::path::Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let meaning = (!meaning.is_empty()).then_some(meaning);
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(meaning)
        .schema(Some(text))
        .build()
}

fn request_body(body: &Body) -> RequestBody {
    let (Body::Fields(name) | Body::FieldsOrFile(name)) = body;
    let content = || ContentBuilder::new().schema(Some(reference(name))).build();
    let built = RequestBodyBuilder::new()
        .content(JSON, content())
        .content("application/x-www-form-urlencoded", content());
    match body {
        Body::Fields(_) => built.build(),
        Body::FieldsOrFile(_) => built.content("multipart/form-data", files()).build(),
    }
}

/// Any part that has a file name is a file.
fn files() -> utoipa::openapi::Content {
    let bytes = ObjectBuilder::new()
        .schema_type(Type::String)
        .content_media_type("application/octet-stream");
    let rest = AdditionalProperties::FreeForm(true);
    let parts = ObjectBuilder::new().property("file", bytes).additional_properties(Some(rest));
    ContentBuilder::new().schema(Some(parts)).build()
}

fn answer(operation: &Operation) -> Response {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let built = ResponseBuilder::new().description("Done");
    match &operation.answer {
        Answer::Nothing => built.build(),
        Answer::Events => {
            let content = ContentBuilder::new().schema(Some(text())).build();
            built.content("text/event-stream", content).build()
        }
        Answer::Raw(kind) => {
            let content = ContentBuilder::new().schema(Some(text())).build();
            built.content(*kind, content).build()
        }
        Answer::Json { name, list: false } => {
            let content = ContentBuilder::new().schema(Some(reference(name))).build();
            built.content(JSON, content).build()
        }
        Answer::Json { name, list: true } => {
            let list = ArrayBuilder::new().items(reference(name));
            built.content(JSON, ContentBuilder::new().schema(Some(list)).build()).build()
        }
    }
}

fn refusal() -> Response {
    let content = ContentBuilder::new().schema(Some(reference(&Refused::name()))).build();
    ResponseBuilder::new().description("Refused").content(JSON, content).build()
}
/// Every scope that an operation of the document needs, sorted.
pub(crate) fn scopes(document: &OpenApi) -> BTreeSet<String> {
    let text = serde_json::to_value(document).unwrap_or_default();
    let items = text["paths"].as_object().into_iter().flat_map(|paths| paths.values());
    let operations = items.filter_map(|item| item.as_object()).flat_map(|item| item.values());
    let named = operations.filter_map(|operation| operation["security"][0][BEARER][0].as_str());
    named.map(str::to_owned).collect()
}
