//! Asks the HTTPS port, and looks when its certificate ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use openssl::asn1::Asn1Time;
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};

use super::{Finding, PATIENCE, failure, ok, reachable, warning};

const CHECK: &str = "https answers";
/// A certificate that ends within this many days should have been renewed.
const RENEWED_DAYS: u32 = 14;

/// Trust is not looked at: this is about whether the server answers, and for how long clients will
/// take its certificate.
pub(super) fn ask(listen: SocketAddr) -> Finding {
    let target = reachable(listen);
    match health(target) {
        Err(why) => failure(CHECK, format!("{target} does not answer: {why}")),
        Ok((text, _)) if !text.contains(" 200 ") => {
            failure(CHECK, format!("{target}: {}", text.lines().last().unwrap_or("no answer")))
        }
        Ok((_, true)) => ok(CHECK, &format!("{target} is well")),
        Ok((_, false)) => {
            let text = format!(
                "{target} is well, but its certificate ends within {RENEWED_DAYS} days: renew it"
            );
            warning(CHECK, text)
        }
    }
}

/// What `/health` says, and whether the certificate is good for long enough.
fn health(target: SocketAddr) -> Result<(String, bool), Box<dyn std::error::Error>> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_verify(SslVerifyMode::NONE);
    let connector = connector.build().configure()?.verify_hostname(false);
    let mut stream = connector.use_server_name_indication(false).connect("localhost", stream)?;
    write!(stream, "GET /health HTTP/1.0\r\nHost: {target}\r\n\r\n")?;
    let is_long = is_long(&stream)?;
    let mut text = String::new();
    stream.take(4096).read_to_string(&mut text)?;
    Ok((text, is_long))
}

fn is_long(stream: &SslStream<TcpStream>) -> Result<bool, openssl::error::ErrorStack> {
    let Some(certificate) = stream.ssl().peer_certificate() else { return Ok(false) };
    let soon = Asn1Time::days_from_now(RENEWED_DAYS)?;
    Ok(certificate.not_after() > soon)
}
