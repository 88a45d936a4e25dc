//! Plain HTTP that does one thing: send clients on to the HTTPS address.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header, uri::Authority};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// The port that HTTPS has if a URL names none.
const HTTPS_PORT: u16 = 443;

/// Answers every request with the same address on HTTPS at `port`; the method and body are to be kept.
pub(crate) fn router(port: u16) -> Router {
    Router::new().fallback(redirect).with_state(port)
}

async fn redirect(State(port): State<u16>, request: Request) -> Response {
    let Some(target) = target(&request, port) else {
        let text = "This server is reached by HTTPS; the request names no host to be sent on to";
        return ApiError::bad_request(text).into_response();
    };
    let text = format!("This server is reached by HTTPS: {target}");
    let Ok(location) = HeaderValue::try_from(target) else {
        return ApiError::bad_request("The address is malformed").into_response();
    };
    let mut response = ApiError::new(StatusCode::PERMANENT_REDIRECT, &text).into_response();
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn target(request: &Request, port: u16) -> Option<String> {
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    let host = host.parse::<Authority>().ok().filter(|host| !host.as_str().contains('@'))?;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let port = if port == HTTPS_PORT { String::new() } else { format!(":{port}") };
    Some(format!("https://{}{port}{path}", host.host()))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn sent_to(host: &str, path: &str, port: u16) -> Option<String> {
        let request = Request::builder().uri(path).header(header::HOST, host);
        target(&request.body(Body::empty()).expect("a request"), port)
    }

    #[test]
    fn path_and_query_are_kept_and_the_port_is_ours() {
        let told = sent_to("cloud.example.org:80", "/v1/devices?a=b", 8443);
        assert_eq!(told.as_deref(), Some("https://cloud.example.org:8443/v1/devices?a=b"));
        assert_eq!(sent_to("[::1]:80", "/", 443).as_deref(), Some("https://[::1]/"));
    }

    #[test]
    fn a_host_that_is_none_is_not_repeated() {
        for host in ["", "a b", "user@example.org", "a/b"] {
            assert_eq!(sent_to(host, "/", 443), None, "{host:?}");
        }
    }
}
