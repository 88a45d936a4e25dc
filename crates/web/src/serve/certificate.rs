//! The server's TLS certificate: read from two PEM files, and again when they change.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};

/// How often the files are looked at.
const LOOK_EACH: Duration = Duration::from_secs(2);

/// Where the certificate and its key lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key in PEM: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// A certificate that cannot be used; the text names the file and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct CertificateError {
    file: String,
    why: String,
}

/// The certificate in force. Cheap to clone; all clones show the same.
#[derive(Debug, Clone)]
pub struct Certificate {
    files: CertificateFiles,
    current: Arc<RwLock<Arc<CertifiedKey>>>,
    /// What was read last, whether or not it could be used.
    seen: Contents,
}

/// What the two files hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// Reads both files. Says which is missing, malformed, or does not fit the other.
    pub fn load(files: CertificateFiles) -> Result<Self, CertificateError> {
        let seen = files.read()?;
        let current = Arc::new(RwLock::new(Arc::new(seen.parse(&files)?)));
        Ok(Self { files, current, seen })
    }

    /// TLS 1.2 and 1.3 with it.
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .expect("the provider has suites for both versions");
        let resolver = Resolver(Arc::clone(&self.current));
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Looks at the files for ever. New handshakes get what is new there; connections that are open
    /// stay as they are. What cannot be read or used (a renewal half written) leaves the old one in force.
    pub(crate) async fn follow(mut self) {
        let mut was_readable = true;
        loop {
            tokio::time::sleep(LOOK_EACH).await;
            let files = self.files.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || files.read()).await else {
                continue;
            };
            // One line when it breaks and one when it is well again, however long that takes.
            let is_readable = read.is_ok();
            match read {
                Err(why) if was_readable => {
                    tracing::warn!(%why, "the old TLS certificate stays in force");
                }
                Err(_) => {}
                Ok(contents) => {
                    if !was_readable {
                        tracing::info!("the files of the TLS certificate can be read again");
                    }
                    if contents != self.seen {
                        self.replace(&contents);
                        self.seen = contents;
                    }
                }
            }
            was_readable = is_readable;
        }
    }

    fn replace(&self, contents: &Contents) {
        match contents.parse(&self.files) {
            Ok(key) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                tracing::info!("the changed TLS certificate is in force");
            }
            Err(why) => tracing::warn!(%why, "the old TLS certificate stays in force"),
        }
    }
}

impl CertificateFiles {
    fn read(&self) -> Result<Contents, CertificateError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|why| CertificateError {
                file: path.display().to_string(),
                why: format!("it cannot be read: {why}"),
            })
        };
        Ok(Contents { certificate: read(&self.certificate)?, key: read(&self.key)? })
    }
}

impl Contents {
    fn parse(&self, files: &CertificateFiles) -> Result<CertifiedKey, CertificateError> {
        let wrong = |path: &PathBuf, why: String| CertificateError {
            file: path.display().to_string(),
            why,
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|why| wrong(&files.certificate, why.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(&files.certificate, "it holds no certificate in PEM".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|why| wrong(&files.key, format!("it holds no private key in PEM: {why}")))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|why| wrong(&files.key, format!("it does not fit the certificate: {why}")))
    }
}

/// Gives each handshake the certificate that is in force at its time.
#[derive(Debug)]
struct Resolver(Arc<RwLock<Arc<CertifiedKey>>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}
