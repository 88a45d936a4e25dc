//! One operation: a method on a path, what it needs, takes and gives.

use axum::http::Method;
use utoipa::ToSchema;
use utoipa::openapi::{Ref, RefOr, Schema};

/// What a token must be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    /// In the words of the vendor's scopes, such as `devices:list`; absent: no token is asked for.
    pub(crate) scope: Option<&'static str>,
    /// Whose things it is about.
    pub(crate) reach: Reach,
}

/// Whose things an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The account's.
    Account,
    /// The product's in the path.
    Product,
    /// The caller's own token and name: allowed to every token.
    Token,
}

/// A schema and those it refers to.
pub(crate) type Schemas = Vec<(String, RefOr<Schema>)>;

/// What an operation answers when all is well.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Server-Sent Events.
    Events,
    /// JSON with a schema by name; `list`: an array of them.
    Json { name: String, list: bool },
    /// 204.
    Nothing,
    /// Something else than JSON.
    Raw(&'static str),
}

/// What an operation takes beside its path.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Fields as JSON or as a form, with a schema by name.
    Fields(String),
    /// The same, or one or more files as `multipart/form-data`.
    FieldsOrFile(String),
}

/// A method on a path. Made by [`get`] and the like.
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// Other spellings of the path, left out of the description.
    pub(crate) aliases: Vec<&'static str>,
    pub(crate) summary: &'static str,
    pub(crate) needs: Needs,
    pub(crate) query: Vec<(&'static str, &'static str)>,
    pub(crate) body: Option<Body>,
    pub(crate) body_bytes_max: Option<usize>,
    pub(crate) status: u16,
    pub(crate) answer: Answer,
    pub(crate) schemas: Schemas,
}

pub(crate) fn get(path: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::GET, path, summary)
}

pub(crate) fn post(path: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::POST, path, summary)
}

pub(crate) fn put(path: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::PUT, path, summary)
}

pub(crate) fn delete(path: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::DELETE, path, summary)
}

impl Operation {
    /// Answers 204 and needs no token, unless more is said.
    fn new(method: Method, path: &'static str, summary: &'static str) -> Self {
        let reach =
            if path.starts_with("/v1/products/{") { Reach::Product } else { Reach::Account };
        Self {
            method,
            path,
            aliases: Vec::new(),
            summary,
            needs: Needs { scope: None, reach },
            query: Vec::new(),
            body: None,
            body_bytes_max: None,
            status: 204,
            answer: Answer::Nothing,
            schemas: Vec::new(),
        }
    }

    /// A token is asked for, good for this.
    pub(crate) fn needs(mut self, scope: &'static str) -> Self {
        self.needs.scope = Some(scope);
        self
    }

    /// It is about the caller's own token: no token is too small for it.
    pub(crate) fn of_token(mut self) -> Self {
        self.needs.reach = Reach::Token;
        self
    }

    /// Another spelling of the path.
    pub(crate) fn alias(mut self, path: &'static str) -> Self {
        self.aliases.push(path);
        self
    }

    /// A field of the query.
    pub(crate) fn query(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.query.push((name, meaning));
        self
    }

    /// Fields in the body.
    pub(crate) fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(Body::Fields(self.know::<T>()));
        self
    }

    /// Fields in the body, or files of at most so many bytes in all.
    pub(crate) fn takes_or_file<T: ToSchema>(mut self, bytes_max: usize) -> Self {
        self.body = Some(Body::FieldsOrFile(self.know::<T>()));
        self.body_bytes_max = Some(bytes_max);
        self
    }

    /// Answers 200 with an object.
    pub(crate) fn gives<T: ToSchema>(mut self) -> Self {
        self.answer = Answer::Json { name: self.know::<T>(), list: false };
        self.status = 200;
        self
    }

    /// Answers 201 with an object.
    pub(crate) fn creates<T: ToSchema>(self) -> Self {
        Self { status: 201, ..self.gives::<T>() }
    }

    /// Answers 200 with a bare array.
    pub(crate) fn lists<T: ToSchema>(mut self) -> Self {
        self.answer = Answer::Json { name: self.know::<T>(), list: true };
        self.status = 200;
        self
    }

    /// Answers 200 with an event stream.
    pub(crate) fn streams(self) -> Self {
        Self { status: 200, answer: Answer::Events, ..self }
    }

    /// Answers 200 with something else than JSON.
    pub(crate) fn gives_raw(self, kind: &'static str) -> Self {
        Self { status: 200, answer: Answer::Raw(kind), ..self }
    }

    fn know<T: ToSchema>(&mut self) -> String {
        T::schemas(&mut self.schemas);
        let name = T::name().into_owned();
        self.schemas.push((name.clone(), T::schema()));
        name
    }
}

/// A reference to a schema of the document.
pub(crate) fn reference(name: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(name))
}
