//! How much of a body is read of whom, and bodies that are none.

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use futures_util::stream::{self, StreamExt};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::support::World;

/// Begins a file of a multipart body.
const FILE: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\
                    Content-Type: application/octet-stream\r\n\r\n";
const MULTIPART: &str = "multipart/form-data;boundary=b";

/// A body that begins like this and then never ends.
fn endless(start: Vec<u8>) -> Body {
    let start = stream::once(async move { Ok::<_, std::io::Error>(Bytes::from(start)) });
    Body::from_stream(start.chain(stream::pending()))
}

/// What a flash request with this body is answered.
async fn flash(world: &World, token: &str, kind: &str, body: Body) -> (StatusCode, Value) {
    let path = format!("/v1/devices/{}", world.device);
    let mut request = Request::builder().method("PUT").uri(path).header(header::CONTENT_TYPE, kind);
    if !token.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let response = world.respond(request.body(body).expect("a request")).await;
    let status = response.status();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&bytes).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_of_who_names_a_wrong_token() {
    let world = World::new().await;
    for kind in [MULTIPART, "application/json"] {
        let (status, body) = flash(&world, "wrong", kind, endless(Vec::new())).await;
        assert_eq!((status.as_u16(), body["error"].as_str()), (401, Some("invalid_token")));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn little_is_read_of_who_names_no_token() {
    let world = World::new().await;
    let much = [FILE.as_bytes(), &[b'x'; 128 * 1024]].concat();
    let (status, body) = flash(&world, "", MULTIPART, endless(much)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
    assert!(body["error"].as_str().is_some_and(|text| text.contains("Authorization")), "{body}");
    let (status, _) = flash(&world, "", "application/json", endless(vec![b' '; 128 * 1024])).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let little = [FILE.as_bytes(), b"x\r\n--b--\r\n"].concat();
    let (status, body) = flash(&world, "", MULTIPART, little.into()).await;
    assert_eq!((status.as_u16(), body["error"].as_str()), (400, Some("invalid_request")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_with_the_token_opens_the_way_for_the_file_behind_it() {
    let world = World::new().await;
    let field = |token: &str| {
        let head = "--b\r\nContent-Disposition: form-data; name=\"access_token\"\r\n\r\n";
        [format!("{head}{token}\r\n{FILE}").as_bytes(), &[b'x'; 128 * 1024], b"\r\n--b--\r\n"]
            .concat()
    };
    let token = world.token(world.owner).await;
    let (status, body) = flash(&world, "", MULTIPART, field(&token).into()).await;
    let text = body["error"].as_str().unwrap_or_default();
    assert!(status == StatusCode::BAD_REQUEST && text != "invalid_request", "no firmware: {body}");
    let (status, body) = flash(&world, "", MULTIPART, field("wrong").into()).await;
    assert_eq!((status.as_u16(), body["error"].as_str()), (401, Some("invalid_token")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_cannot_be_read_are_refused_in_json_and_words() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let (form, json) = ("application/x-www-form-urlencoded", "application/json");
    for (kind, body) in [
        (json, b"{\"name\":".to_vec()),
        (json, b"[1]".to_vec()),
        (json, b"\xff\xfe".to_vec()),
        (json, [b"{\"name\":".repeat(200), b"1".to_vec()].concat()),
        (form, b"a=%ff%fe&b".to_vec()),
        ("multipart/form-data", b"--b".to_vec()),
        (MULTIPART, b"--b\r\nno header".to_vec()),
        (MULTIPART, FILE.as_bytes().to_vec()),
        (MULTIPART, [FILE, "\r\n"].concat().repeat(200).into_bytes()),
        ("text/plain", b"hello".to_vec()),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let (status, body) = flash(&world, &token, kind, body.into()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{kind} {shown}: {body}");
        assert!(body["error"].as_str().is_some_and(|text| text.len() > 5), "{kind}: {body}");
        for never in [".rs", "panicked", "SELECT", "/root", "/home", "/work"] {
            assert!(!body.to_string().contains(never), "{kind} {shown}: {body}");
        }
    }
    world.stop().await;
}
