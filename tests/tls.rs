//! The API over TLS: real handshakes with certificates made here.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use support::folder::Folder;
use support::{Server, cloudchamber};

const SOON: Duration = Duration::from_secs(20);

/// A certificate for `localhost` that signs itself.
struct Made {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
}

fn make() -> Made {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let signed = params.self_signed(&key).expect("a certificate");
    Made { certificate: signed.pem(), key: key.serialize_pem(), der: signed.der().clone() }
}

impl Made {
    fn write(&self, folder: &Folder) {
        std::fs::write(folder.path("tls.crt"), &self.certificate).expect("written");
        std::fs::write(folder.path("tls.key"), &self.key).expect("written");
    }
}

fn serve(folder: &Folder) -> Server {
    let path = |name: &str| folder.path(name).to_str().expect("text").to_owned();
    folder.serve_with(&[
        ("CLOUDCHAMBER_HTTP__TLS_CERTIFICATE", &path("tls.crt")),
        ("CLOUDCHAMBER_HTTP__TLS_KEY", &path("tls.key")),
        ("CLOUDCHAMBER_HTTP__REDIRECT_LISTEN", "127.0.0.1:0"),
    ])
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A connection that trusts this certificate alone; fails in the handshake if the server shows another.
fn connect(
    server: &Server,
    trusted: &Made,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = TcpStream::connect(server.text("http"))?;
    stream.set_read_timeout(Some(SOON))?;
    client.complete_io(&mut stream)?;
    Ok(StreamOwned::new(client, stream))
}

fn get(stream: &mut Tls, path: &str, token: &str) -> String {
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("read");
    text
}

const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn the_api_answers_over_tls_1_2_and_1_3_and_not_in_plain() {
    let (folder, made) = (Folder::new(), make());
    made.write(&folder);
    let (token, server) = (folder.token(), serve(&folder));
    assert!(server.text("url").starts_with("https://"));
    for version in BOTH {
        let mut stream = connect(&server, &made, &[version]).expect("a handshake");
        assert_eq!(stream.conn.protocol_version(), Some(version.version));
        let answer = get(&mut stream, "/v1/user", &token);
        assert!(
            answer.starts_with("HTTP/1.0 200") && answer.contains("owner@example.org"),
            "{answer}"
        );
    }
    let mut plain = TcpStream::connect(server.text("http")).expect("connected");
    write!(plain, "GET /health HTTP/1.0\r\n\r\n").expect("sent");
    let mut bytes = Vec::new();
    let _ = plain.read_to_end(&mut bytes);
    assert!(!bytes.starts_with(b"HTTP/"), "{bytes:?}");
}

#[test]
fn a_silent_connection_does_not_keep_others_from_their_handshake() {
    let (folder, made) = (Folder::new(), make());
    made.write(&folder);
    let server = serve(&folder);
    let _silent: Vec<TcpStream> =
        (0..50).map(|_| TcpStream::connect(server.text("http")).expect("connected")).collect();
    let mut stream = connect(&server, &made, BOTH).expect("a handshake");
    assert!(get(&mut stream, "/health", "").contains("200 OK"));
}

#[test]
fn plain_http_is_sent_on_to_https() {
    let (folder, made) = (Folder::new(), make());
    made.write(&folder);
    let server = serve(&folder);
    let mut plain = TcpStream::connect(server.text("redirect")).expect("connected");
    write!(
        plain,
        "POST /oauth/token?a=b HTTP/1.0\r\nHost: localhost:80\r\nContent-Length: 0\r\n\r\n"
    )
    .expect("sent");
    let mut answer = String::new();
    plain.read_to_string(&mut answer).expect("read");
    assert!(answer.starts_with("HTTP/1.0 308"), "{answer}");
    let port = server.text("http").rsplit(':').next().expect("a port").to_owned();
    assert!(
        answer.contains(&format!("location: https://localhost:{port}/oauth/token?a=b")),
        "{answer}"
    );
    assert!(answer.contains("content-type: application/json"), "{answer}");
}

#[test]
fn a_renewed_certificate_is_shown_to_new_connections_and_open_streams_go_on() {
    let (folder, old, new) = (Folder::new(), make(), make());
    old.write(&folder);
    let (token, server) = (folder.token(), serve(&folder));
    let mut stream = connect(&server, &old, BOTH).expect("a handshake");
    write!(stream, "GET /v1/devices/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
        .expect("sent");
    let mut events = BufReader::new(stream);
    await_line(&mut events, ":ok");
    // Half a renewal: the certificate without its key.
    std::fs::write(folder.path("tls.crt"), &new.certificate).expect("written");
    std::thread::sleep(Duration::from_secs(5));
    connect(&server, &old, BOTH).expect("the old certificate is still in force");
    std::fs::write(folder.path("tls.key"), &new.key).expect("written");
    await_handshake(&server, &new);
    assert!(connect(&server, &old, BOTH).is_err(), "nobody is shown the old one any more");
    let mut publish = connect(&server, &new, BOTH).expect("a handshake");
    let body = "name=still-here";
    write!(
        publish,
        "POST /v1/devices/events HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    await_line(&mut events, "event: still-here");
}

fn await_line(stream: &mut impl BufRead, wanted: &str) {
    let mut line = String::new();
    while line.trim_end() != wanted {
        line.clear();
        assert!(stream.read_line(&mut line).expect("read") > 0, "the stream ended before {wanted}");
    }
}

fn await_handshake(server: &Server, trusted: &Made) {
    let deadline = Instant::now() + SOON;
    while connect(server, trusted, BOTH).is_err() {
        assert!(Instant::now() < deadline, "the new certificate was never shown");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Tries to serve and gives why it does not.
fn refused(environment: &[(&str, &str)], data: &Path) -> String {
    let mut command = cloudchamber(&["serve", "--data", data.to_str().expect("text")]);
    let output = command.envs(environment.iter().copied()).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn what_cannot_be_served_safely_is_refused_at_the_start() {
    let folder = Folder::empty();
    let (made, other) = (make(), make());
    made.write(&folder);
    std::fs::write(folder.path("other.key"), &other.key).expect("written");
    let path = |name: &str| folder.path(name).to_str().expect("text").to_owned();
    let (certificate, key, wrong) = (path("tls.crt"), path("tls.key"), path("other.key"));
    let absent = path("absent.key");
    let data = folder.path("data");
    const CERTIFICATE: &str = "CLOUDCHAMBER_HTTP__TLS_CERTIFICATE";
    const KEY: &str = "CLOUDCHAMBER_HTTP__TLS_KEY";
    const REDIRECT: &str = "CLOUDCHAMBER_HTTP__REDIRECT_LISTEN";
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[("CLOUDCHAMBER_HTTP__LISTEN", "0.0.0.0:0")], "allow_plain"),
        (&[(CERTIFICATE, &certificate)], "http.tls_key"),
        (&[(KEY, &key)], "http.tls_certificate"),
        (&[(REDIRECT, "127.0.0.1:0")], "http.redirect_listen"),
        (
            &[(CERTIFICATE, &certificate), (KEY, &key), (REDIRECT, "everywhere")],
            "http.redirect_listen",
        ),
        (&[(CERTIFICATE, &certificate), (KEY, &absent)], "absent.key: it cannot be read"),
        (&[(CERTIFICATE, &certificate), (KEY, &wrong)], "does not fit"),
        (&[(CERTIFICATE, &key), (KEY, &key)], "no certificate"),
    ];
    for (environment, expected) in cases {
        let why = refused(environment, &data);
        assert!(why.contains(expected) && !why.contains("panicked"), "{expected}: {why}");
        assert!(!why.contains("PRIVATE KEY"), "{why}");
    }
    assert!(!data.exists(), "nothing is made before the settings are known to be good");
}
