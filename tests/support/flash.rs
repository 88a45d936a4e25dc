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
    let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n";
    let mut body = head.as_bytes().to_vec();
    body.extend(file);
    body.extend(b"\r\n--b--\r\n");
    let mut stream = TcpStream::connect(host).expect("connected");
    write!(
        stream,
        "PUT {path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data;boundary=b\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .expect("sent");
    stream.write_all(&body).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("Update started"), "{answer}");
}
