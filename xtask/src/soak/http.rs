//! Just enough of HTTP to ask a server on this machine.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::shell::Outcome;

/// Longer than a call to a device may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// A request with a body of this kind; gives status and body.
pub(super) fn ask(
    host: &str,
    method: &str,
    path: &str,
    token: &str,
    (kind, body): (&str, &[u8]),
) -> Outcome<(u16, String)> {
    let mut stream = open(host, method, path, token, (kind, body))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|why| format!("{path}: {why}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.ok_or("no answer")?, body.to_owned()))
}

/// The body of an answer that must be a success.
pub(super) fn get(host: &str, path: &str, token: &str) -> Outcome<String> {
    let (status, body) = ask(host, "GET", path, token, NOTHING)?;
    if status == 200 { Ok(body) } else { Err(format!("{path}: {status} {body}")) }
}

/// A request whose answer is read by the caller.
pub(super) fn open(
    host: &str,
    method: &str,
    path: &str,
    token: &str,
    (kind, body): (&str, &[u8]),
) -> Outcome<TcpStream> {
    let failed = |why: std::io::Error| format!("{path}: {why}");
    let mut stream = TcpStream::connect(host).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).map_err(failed)?;
    Ok(stream)
}

/// No body.
pub(super) const NOTHING: (&str, &[u8]) = ("text/plain", b"");
/// What fields are sent as.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
