//! The console's files, embedded. Each lies below a path that changes with any of them, so that
//! browsers may keep it for ever; the page around them is asked for each time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use crate::error::ApiError;

const SHELL: &str = include_str!("../../console/index.html");
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// A file as it is served.
#[derive(Hash)]
struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! ours {
    ($kind:ident $name:literal) => {
        Asset { name: $name, kind: $kind, bytes: include_bytes!(concat!("../../console/", $name)) }
    };
}

/// Files that the build takes from npm (`build.rs`).
macro_rules! theirs {
    ($kind:ident $name:literal) => {
        Asset {
            name: $name,
            kind: $kind,
            bytes: include_bytes!(concat!(env!("OUT_DIR"), "/", $name)),
        }
    };
}

const LICENCES: &str = "text/plain; charset=utf-8";
const ICON: &str = "image/svg+xml";

const ASSETS: &[Asset] = &[
    ours!(SCRIPT "api.js"),
    ours!(SCRIPT "app.js"),
    ours!(SCRIPT "chart.js"),
    ours!(SCRIPT "device.js"),
    ours!(SCRIPT "devices.js"),
    ours!(SCRIPT "events.js"),
    ours!(SCRIPT "format.js"),
    ours!(SCRIPT "login.js"),
    ours!(SCRIPT "start.js"),
    ours!(SCRIPT "ui.js"),
    ours!(SCRIPT "calls.js"),
    ours!(SCRIPT "update.js"),
    ours!(SCRIPT "vitals.js"),
    ours!(SCRIPT "billing.js"),
    ours!(SCRIPT "integrations.js"),
    ours!(SCRIPT "product.js"),
    ours!(SCRIPT "products.js"),
    ours!(SCRIPT "releases.js"),
    ours!(SCRIPT "server.js"),
    ours!(SCRIPT "team.js"),
    ours!(STYLE "style.css"),
    ours!(ICON "icon.svg"),
    theirs!(LICENCES "licences.txt"),
    theirs!(SCRIPT "lean-qr.js"),
    theirs!(SCRIPT "lit-html.js"),
    theirs!(SCRIPT "uplot.js"),
    theirs!(STYLE "uplot.css"),
];

/// Says of all files together which they are.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    ASSETS.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
});

static PAGE: LazyLock<String> = LazyLock::new(|| SHELL.replace("{version}", &VERSION));

/// The shell of every page.
pub(super) async fn page() -> Html<&'static str> {
    Html(&PAGE)
}

/// One file. Another version's path has nothing: a page that asks for it is out of date.
pub(super) async fn asset(
    Path((version, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let found = ASSETS.iter().find(|asset| asset.name == name && version == *VERSION);
    let Some(asset) = found else {
        let text = "Not found: the page is of another version of this server, load it again";
        return Err(ApiError::new(axum::http::StatusCode::NOT_FOUND, text));
    };
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_console_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/console");
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("text");
            let is_source = ["index.html", "package.json", "package-lock.json"].contains(&&*name);
            assert!(is_source || ASSETS.iter().any(|asset| asset.name == name), "{name}");
        }
    }

    #[test]
    fn the_page_names_no_other_host() {
        let ours = ASSETS.iter().filter(|asset| !asset.name.contains("licences"));
        for text in ours.map(|asset| String::from_utf8_lossy(asset.bytes)) {
            let namespaces = text
                .replace("http://www.w3.org/", "")
                .replace("https://github.com/leeoniya/uPlot", "");
            assert!(!namespaces.contains("src=\"http"), "{text:.80}");
            assert!(!namespaces.contains("fetch(\"http"), "{text:.80}");
        }
        assert!(!SHELL.contains("://"));
    }
}
