//! The DTLS engine against a client that somebody else wrote: GnuTLS, which sends and wants Certificate
//! messages with raw public keys (RFC 7250), as the firmware does not.

mod support;

use std::process::{Command, Stdio};

use support::folder::{Folder, OWNER, Ports};
use support::run_ok;
use support::watch::await_metric;

/// What `dtls-session.md` §2 allows, in GnuTLS's words.
const PRIORITY: &str = "NORMAL:-VERS-ALL:+VERS-DTLS1.2:-CTYPE-ALL:+CTYPE-CLI-RAWPK:+CTYPE-SRV-RAWPK:\
    -CIPHER-ALL:+AES-128-CCM-8:-KX-ALL:+ECDHE-ECDSA:-GROUP-ALL:+GROUP-SECP256R1:+SIGN-ECDSA-SHA256";
const WITHOUT_EXTENDED_MASTER_SECRET: &str = ":%NO_SESSION_HASH";

/// A key pair in the files that GnuTLS reads, and a server that has one device.
struct Keys {
    folder: Folder,
    private: String,
    public: String,
}

impl Keys {
    fn new() -> Self {
        let folder = Folder::new();
        let file = |name: &str| folder.path(name).to_str().expect("text").to_owned();
        let (private, public) = (file("device.pem"), file("device.pub.pem"));
        let key = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1)
            .and_then(|curve| openssl::ec::EcKey::generate(&curve))
            .and_then(openssl::pkey::PKey::from_ec_key)
            .expect("a key");
        std::fs::write(&private, key.private_key_to_pem_pkcs8().expect("PEM")).expect("written");
        std::fs::write(&public, key.public_key_to_pem().expect("PEM")).expect("written");
        Self { folder, private, public }
    }

    fn register(&self) {
        let id = "e00fce680000000000000001";
        let data = self.folder.data();
        run_ok(
            &["device", "add", id, "--owner", OWNER, "--public-key", &self.public, "--data", data],
            "",
        );
    }

    /// What GnuTLS says of one connection.
    fn connect(&self, ports: &Ports, priority: &str, datagram_bytes: u16) -> String {
        let port = ports.udp().port().to_string();
        let output = Command::new("gnutls-cli")
            .args(["--udp", "--insecure", "--port", &port, "127.0.0.1", "--priority", priority])
            .args(["--mtu", &datagram_bytes.to_string()])
            .args(["--rawpkkeyfile", &self.private, "--rawpkfile", &self.public])
            .stdin(Stdio::null())
            .output()
            .expect("gnutls-cli of Debian's gnutls-bin: `cargo xtask test` installs it");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

#[test]
fn gnutls_completes_handshakes_whole_and_in_fragments_with_both_kinds_of_master_secret() {
    let keys = Keys::new();
    keys.register();
    let server = keys.folder.serve();
    let ports = Ports::of(&server);
    for (suffix, is_extended) in [("", true), (WITHOUT_EXTENDED_MASTER_SECRET, false)] {
        for datagram_bytes in [1400, 256] {
            let told = keys.connect(&ports, &format!("{PRIORITY}{suffix}"), datagram_bytes);
            assert!(told.contains("Handshake was completed"), "{told}");
            assert!(told.contains("(DTLS1.2-Raw Public Key)"), "{told}");
            assert_eq!(told.contains("extended master secret"), is_extended, "{told}");
        }
    }
    await_metric(&ports.url(), "cloudchamber_dtls_handshakes_total", "", 4);
}

#[test]
fn gnutls_with_a_key_that_nobody_registered_is_refused() {
    let keys = Keys::new();
    let server = keys.folder.serve();
    let ports = Ports::of(&server);
    let told = keys.connect(&ports, PRIORITY, 1400);
    assert!(told.contains("Access was denied"), "{told}");
    await_metric(&ports.url(), "cloudchamber_dtls_failures_total", "unknown_key", 1);
    await_metric(&ports.url(), "cloudchamber_dtls_handshakes_total", "", 0);
}

#[test]
fn gnutls_without_our_cipher_suite_is_refused_in_words() {
    let keys = Keys::new();
    keys.register();
    let server = keys.folder.serve();
    let other_suite = PRIORITY.replace("+AES-128-CCM-8", "+AES-128-GCM");
    let told = keys.connect(&Ports::of(&server), &other_suite, 1400);
    assert!(told.contains("Handshake failed"), "{told}");
}
