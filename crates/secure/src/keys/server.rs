//! All keys of one server.

use super::{KeyError, KeyKind, PrivateKey};

/// The server's keys for both transports: the current ones, and of each the one before it while
/// there are devices that still know it.
#[derive(Debug, Clone)]
pub struct ServerKeys {
    ec: PrivateKey,
    rsa: PrivateKey,
    previous_ec: Option<PrivateKey>,
    previous_rsa: Option<PrivateKey>,
}

impl ServerKeys {
    /// Takes a P-256 and an RSA-2048 key; any other kind is [`KeyError::Unsupported`].
    pub fn new(ec: PrivateKey, rsa: PrivateKey) -> Result<Self, KeyError> {
        let (ec, rsa) = (of_kind(KeyKind::P256, ec)?, of_kind(KeyKind::Rsa2048, rsa)?);
        Ok(Self { ec, rsa, previous_ec: None, previous_rsa: None })
    }

    /// Makes both keys; takes about a tenth of a second.
    pub fn generate() -> Result<Self, KeyError> {
        Self::new(PrivateKey::generate(KeyKind::P256)?, PrivateKey::generate(KeyKind::Rsa2048)?)
    }

    /// Sets the keys before the current ones, of the same kinds.
    pub fn with_previous(
        self,
        ec: Option<PrivateKey>,
        rsa: Option<PrivateKey>,
    ) -> Result<Self, KeyError> {
        let previous_ec = ec.map(|key| of_kind(KeyKind::P256, key)).transpose()?;
        let previous_rsa = rsa.map(|key| of_kind(KeyKind::Rsa2048, key)).transpose()?;
        Ok(Self { previous_ec, previous_rsa, ..self })
    }

    /// The P-256 key that signs DTLS handshakes.
    pub fn ec(&self) -> &PrivateKey {
        &self.ec
    }

    /// The RSA-2048 key of TCP handshakes.
    pub fn rsa(&self) -> &PrivateKey {
        &self.rsa
    }

    /// The P-256 key before [`Self::ec`].
    pub fn previous_ec(&self) -> Option<&PrivateKey> {
        self.previous_ec.as_ref()
    }

    /// The RSA-2048 key before [`Self::rsa`].
    pub fn previous_rsa(&self) -> Option<&PrivateKey> {
        self.previous_rsa.as_ref()
    }
}

fn of_kind(kind: KeyKind, key: PrivateKey) -> Result<PrivateKey, KeyError> {
    if key.kind() == kind { Ok(key) } else { Err(KeyError::Unsupported) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_wrong_kind_are_refused() {
        let keys = ServerKeys::generate().unwrap();
        let (ec, rsa) = (keys.ec().clone(), keys.rsa().clone());
        assert!(ServerKeys::new(rsa.clone(), ec.clone()).is_err());
        assert!(keys.clone().with_previous(Some(rsa.clone()), None).is_err());
        assert!(keys.with_previous(Some(ec), Some(rsa)).is_ok());
    }
}
