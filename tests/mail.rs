//! Notices by e-mail, taken by a real mail server: TLS, login, certificates, and what a crash leaves.

mod support;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use sim::device::profile::Generation;
use support::folder::{Folder, OWNER, SMALL_PLANS, identity};
use support::{Server, root, run_ok};

/// From a notice that is due to its mail; a pause of 2 s after a failure is in it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than the pause after a failure.
const SILENCE: Duration = Duration::from_secs(4);

/// A folder whose account has as many devices as its plan allows, and a certificate for `127.0.0.1`.
struct Place {
    folder: Folder,
    plans: String,
    certificate: String,
    key: String,
}

impl Place {
    fn new() -> Self {
        let folder = Folder::new();
        folder.register(&[1, 2].map(|index| identity(Generation::Os6, index)));
        let own = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        let signed = params.self_signed(&own).expect("a certificate");
        let write = |name: &str, text: &str| {
            let path = folder.path(name);
            std::fs::write(&path, text).expect("written");
            path.to_str().expect("text").to_owned()
        };
        let plans = write("own-plans.toml", SMALL_PLANS);
        let certificate = write("mail.pem", &signed.pem());
        let key = write("mail.key", &own.serialize_pem());
        Self { folder, plans, certificate, key }
    }

    /// The cloud with this mail server; it trusts the certificate or not.
    fn serve(&self, smtp: &str, trusts: bool) -> Server {
        let trust = if trusts { self.certificate.as_str() } else { "/nonexistent" };
        self.folder.serve_with(&[
            ("CLOUDCHAMBER_METERING__PLANS", &self.plans),
            ("CLOUDCHAMBER_METERING__CATALOGUE", "small"),
            ("CLOUDCHAMBER_MAIL__SMTP", smtp),
            ("CLOUDCHAMBER_MAIL__FROM", "Cloud <cloud@example.org>"),
            ("SSL_CERT_FILE", trust),
            ("SSL_CERT_DIR", "/nonexistent"),
        ])
    }

    /// The account's devices are at 100 % from now on.
    fn cause_a_notice(&self) {
        run_ok(&["plan", "set", OWNER, "free", "--data", self.folder.data()], "");
    }

    fn mail_server(&self, mode: &str, hangs: bool) -> MailServer {
        let mut command = Command::new("python3");
        command.arg(root().join("tests/clients/smtp.py"));
        command.args([mode, &self.certificate, &self.key]).stdout(Stdio::piped());
        if hangs {
            command.env("HANG", "1");
        }
        MailServer::start(command)
    }
}

/// A process of its own; killed when dropped.
struct MailServer {
    child: Child,
    port: String,
    mails: Receiver<Value>,
}

impl MailServer {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("python3 starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines.next().expect("run `cargo xtask test` once: aiosmtpd").expect("text");
        let (sender, mails) = channel();
        let read = move |lines: Lines<BufReader<ChildStdout>>| {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).expect("JSON"));
            }
        };
        std::thread::spawn(move || read(lines));
        Self { child, port, mails }
    }

    fn url(&self, scheme: &str, rest: &str) -> String {
        format!("{scheme}://cloud:correct%20horse@127.0.0.1:{}{rest}", self.port)
    }

    fn mail(&self) -> Value {
        self.mails.recv_timeout(PATIENCE).expect("a mail")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn message_id(mail: &Value) -> String {
    let text = mail["text"].as_str().expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("Message-ID: "));
    line.unwrap_or_else(|| panic!("no Message-ID in {text}")).to_owned()
}

#[test]
fn a_notice_is_mailed_with_tls_and_a_login_by_starttls_and_from_the_first_byte() {
    let place = Place::new();
    for (mode, scheme, rest) in [("starttls", "smtp", "?tls=required"), ("tls", "smtps", "")] {
        let server = place.mail_server(mode, false);
        let cloud = place.serve(&server.url(scheme, rest), true);
        place.cause_a_notice();
        let mail = server.mail();
        assert_eq!((&mail["tls"], &mail["login"]), (&true.into(), &"cloud".into()), "{mode}");
        assert_eq!((&mail["from"], &mail["to"][0]), (&"cloud@example.org".into(), &OWNER.into()));
        let text = mail["text"].as_str().expect("text");
        assert!(text.contains("Subject: 100 % of 2 devices used"), "{mode}: {text}");
        drop(cloud);
        // A limit that is reached again is told again.
        run_ok(&["plan", "set", OWNER, "unlimited", "--data", place.folder.data()], "");
    }
}

/// Neither the mail nor the password goes to somebody whose certificate is not trusted; nothing is lost by it.
#[test]
fn a_mail_server_that_is_not_trusted_gets_nothing_and_the_notice_waits() {
    let place = Place::new();
    let server = place.mail_server("starttls", false);
    let url = server.url("smtp", "?tls=required");
    let cloud = place.serve(&url, false);
    place.cause_a_notice();
    assert!(server.mails.recv_timeout(SILENCE).is_err(), "a mail to nobody knows whom");
    drop(cloud);
    let wrong = place.serve(&url.replace("horse", "donkey"), true);
    assert!(server.mails.recv_timeout(SILENCE).is_err(), "a mail without a login");
    drop(wrong);
    let _cloud = place.serve(&url, true);
    assert!(message_id(&server.mail()).starts_with("<notice-"));
}

#[test]
fn a_mail_that_is_sent_again_after_a_crash_has_its_old_message_id() {
    let place = Place::new();
    let hanging = place.mail_server("tls", true);
    let cloud = place.serve(&hanging.url("smtps", ""), true);
    place.cause_a_notice();
    let first = hanging.mail();
    cloud.kill();
    let server = place.mail_server("tls", false);
    let _cloud = place.serve(&server.url("smtps", ""), true);
    let second = server.mail();
    assert_eq!((message_id(&second), &second["text"]), (message_id(&first), &first["text"]));
    assert!(server.mails.recv_timeout(SILENCE).is_err(), "taken once, it is done");
}
