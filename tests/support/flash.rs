//! Firmware files, and `PUT /v1/devices/:id` with one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use super::run_ok;

/// Makes a firmware file for a platform.
pub fn make(file: &Path, platform: &str, kib: &str, more: &[&str]) {
    let path = file.to_str().expect("text");
    let args = ["firmware", "make", path, "--platform", platform, "--kib", kib];
    run_ok(&[&args[..], more].concat(), "");
}

/// Sends a file to a device, while nobody drives it: the answer does not wait for it.
pub fn flash(host: &str, path: &str, token: &str, file: &[u8]) {
    let (_, told) =
        send_files("PUT", &format!("http://{host}{path}"), token, &[], &[("a.bin", file)]);
    assert!(told.contains("Update started"), "{told}");
}

/// A request with files, while nobody drives the devices: the answer does not wait for them.
pub fn send_files(
    method: &str,
    url: &str,
    token: &str,
    fields: &[(&str, &str)],
    files: &[(&str, &[u8])],
) -> (u16, String) {
    let (host, path) =
        url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a URL");
    let mut body = Vec::new();
    let mut part = |head: String, content: &[u8]| {
        write!(body, "--b\r\nContent-Disposition: form-data; {head}\r\n\r\n").expect("written");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    };
    for (key, value) in fields {
        part(format!("name=\"{key}\""), value.as_bytes());
    }
    for (name, content) in files {
        part(format!("name=\"file\"; filename=\"{name}\""), content);
    }
    body.extend(b"--b--\r\n");
    let mut stream = TcpStream::connect(host).expect("connected");
    write!(
        stream,
        "{method} /{path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data;boundary=b\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .expect("sent");
    stream.write_all(&body).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}
