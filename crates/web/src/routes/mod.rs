//! The routes with their description: one call gives a route its handler, what a token needs for it,
//! and its place in the OpenAPI document.

mod document;
pub(crate) mod fleet_shapes;
mod operation;
mod page;
pub(crate) mod shapes;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use utoipa::openapi::OpenApi;

use crate::state::State;
use document::Document;

pub(crate) use document::scopes;
pub(crate) use operation::{Needs, Operation, Reach, delete, get, post, put};
pub(crate) use page::page;

/// Routes of one subject, or of all.
pub(crate) struct Routes {
    router: Router<State>,
    document: Document,
    tag: &'static str,
}

impl Routes {
    /// No route yet; `tag` heads them on the page.
    pub(crate) fn about(tag: &'static str) -> Self {
        Self { router: Router::new(), document: Document::default(), tag }
    }

    /// One more operation. Two of the same method and path are a mistake that stops the server.
    pub(crate) fn add<H, T>(mut self, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, State>,
        T: 'static,
    {
        let route = |handler| with_layers(on(filter(&operation), handler), &operation);
        for path in &operation.aliases {
            self.router = self.router.route(path, route(handler.clone()));
        }
        self.router = self.router.route(operation.path, route(handler));
        self.document.add(self.tag, operation);
        self
    }

    /// Those of another subject as well.
    pub(crate) fn merge(self, other: Self) -> Self {
        let mut document = self.document;
        document.merge(other.document);
        Self { router: self.router.merge(other.router), document, tag: self.tag }
    }

    /// Routes to serve, and their description.
    pub(crate) fn finish(self) -> (Router<State>, OpenApi) {
        (self.router, self.document.finish())
    }
}

fn filter(operation: &Operation) -> MethodFilter {
    let method = operation.method.clone();
    MethodFilter::try_from(method).expect("operations are made by functions for known methods")
}

fn with_layers(route: MethodRouter<State>, operation: &Operation) -> MethodRouter<State> {
    let route = route.layer(axum::Extension(operation.needs));
    match operation.body_bytes_max {
        None => route,
        Some(bytes) => route.layer(DefaultBodyLimit::max(bytes)),
    }
}
