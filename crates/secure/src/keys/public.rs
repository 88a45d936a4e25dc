//! A public key in its one canonical form.

use std::fmt;

use openssl::base64;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcKeyRef, PointConversionForm};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, PKey, PKeyRef, Public};
use openssl::rsa::{Rsa, RsaRef};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::encoding::{self, Shape};
use super::{KeyError, KeyKind, PrivateKey};

/// A public key of one of the [`KeyKind`]s, held as its canonical SubjectPublicKeyInfo in DER: two
/// keys are equal when these bytes are (`keys-and-provisioning.md` §7).
///
/// An elliptic-curve key is a point on the curve; an RSA modulus has its top bit set.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    kind: KeyKind,
    spki: Box<[u8]>,
}

impl PublicKey {
    /// Reads a key as users have them: PEM or DER, public (SPKI or PKCS#1) or private (SEC1, PKCS#1
    /// or PKCS#8, of which the public half is taken), fill of device memory after it allowed.
    pub fn parse(input: &[u8]) -> Result<Self, KeyError> {
        let der = encoding::to_der(input)?;
        match encoding::shape(&der)? {
            Shape::Spki => Self::from_spki(&der).or_else(|_| Self::from_any_spki(&der)),
            Shape::Pkcs1Public => {
                let key = Rsa::public_key_from_der_pkcs1(&der).map_err(unreadable)?;
                Self::from_rsa(&key)
            }
            Shape::Pkcs1Private | Shape::Pkcs8 | Shape::Sec1 => {
                Ok(PrivateKey::from_der(&der)?.public_key().clone())
            }
        }
    }

    /// Takes a SubjectPublicKeyInfo that is canonical already, as devices send it: exactly 91, 162
    /// or 294 bytes. RSA keys pass without arithmetic; of a P-256 key the point is checked.
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let kind = [KeyKind::P256, KeyKind::Rsa1024, KeyKind::Rsa2048]
            .into_iter()
            .find(|kind| kind.spki_len() == spki.len() && spki.starts_with(prefix(*kind)))
            .ok_or(KeyError::Unsupported)?;
        let body = &spki[prefix(kind).len()..];
        match kind {
            KeyKind::P256 => check_point(body)?,
            KeyKind::Rsa1024 | KeyKind::Rsa2048 => check_modulus(body)?,
        }
        Ok(Self { kind, spki: spki.into() })
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The canonical SubjectPublicKeyInfo in DER: 91, 162 or 294 bytes.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The SHA-256 of [`Self::spki`], under which a key is registered.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.spki).into()
    }

    /// The key as PEM (`BEGIN PUBLIC KEY`), lines of 64 characters.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &self.spki)
    }

    /// The modulus of an RSA key, 128 or 256 bytes, its top bit set; `None` for P-256.
    pub fn modulus(&self) -> Option<&[u8]> {
        let start = prefix(self.kind).len();
        Some(&self.spki[start..start + self.kind.modulus_len()?])
    }

    /// The key for OpenSSL's RSA operations; [`KeyError::Unsupported`] for P-256.
    pub fn to_rsa(&self) -> Result<Rsa<Public>, KeyError> {
        let modulus = self.modulus().ok_or(KeyError::Unsupported)?;
        rsa_from_modulus(modulus).map_err(|_| KeyError::Library)
    }

    /// The uncompressed point of a P-256 key: 65 bytes that begin with 4; `None` for RSA.
    pub fn point(&self) -> Option<&[u8]> {
        match self.kind {
            KeyKind::P256 => Some(&self.spki[P256_PREFIX.len()..]),
            KeyKind::Rsa1024 | KeyKind::Rsa2048 => None,
        }
    }

    pub(super) fn from_rsa<T: HasPublic>(key: &RsaRef<T>) -> Result<Self, KeyError> {
        let kind = match key.n().num_bits() {
            1024 => KeyKind::Rsa1024,
            2048 => KeyKind::Rsa2048,
            _ => return Err(KeyError::Unsupported),
        };
        let spki = [prefix(kind), &key.n().to_vec(), &RSA_EXPONENT].concat();
        if key.e().to_vec() != RSA_EXPONENT[2..] {
            return Err(KeyError::Unsupported);
        }
        Self::from_spki(&spki)
    }

    pub(super) fn from_ec<T: HasPublic>(key: &EcKeyRef<T>) -> Result<Self, KeyError> {
        if key.group().curve_name() != Some(Nid::X9_62_PRIME256V1) {
            return Err(KeyError::Unsupported);
        }
        let point = uncompressed(key).map_err(|_| KeyError::Inconsistent)?;
        let spki = [P256_PREFIX, &point].concat();
        Self::from_spki(&spki)
    }

    /// A SubjectPublicKeyInfo in another encoding, such as one with a compressed point.
    fn from_any_spki(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_pkey(&*PKey::public_key_from_der(der).map_err(unreadable)?)
    }

    fn from_pkey<T: HasPublic>(key: &PKeyRef<T>) -> Result<Self, KeyError> {
        if let Ok(key) = key.rsa() {
            return Self::from_rsa(&key);
        }
        let key = key.ec_key().map_err(|_| KeyError::Unsupported)?;
        Self::from_ec(&key)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.kind, hex::encode(self.hash()))
    }
}

/// A PEM block with lines of 64 characters. It grows in place: of what it may hold no copy is left.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let base64 = Zeroizing::new(base64::encode_block(der));
    let mut text = String::with_capacity(base64.len() * 66 / 64 + 2 * label.len() + 64);
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// For [`Result::map_err`] where OpenSSL refuses what it was given to read.
pub(super) fn unreadable(_: ErrorStack) -> KeyError {
    KeyError::Unreadable
}

fn prefix(kind: KeyKind) -> &'static [u8] {
    match kind {
        KeyKind::P256 => P256_PREFIX,
        KeyKind::Rsa1024 => RSA_1024_PREFIX,
        KeyKind::Rsa2048 => RSA_2048_PREFIX,
    }
}

/// An even modulus or one without its top bit would make OpenSSL refuse the key later.
fn check_modulus(body: &[u8]) -> Result<(), KeyError> {
    let modulus = body.strip_suffix(&RSA_EXPONENT).ok_or(KeyError::Unsupported)?;
    match modulus {
        [0x80..=0xff, .., last] if last & 1 == 1 => Ok(()),
        _ => Err(KeyError::Inconsistent),
    }
}

fn check_point(point: &[u8]) -> Result<(), KeyError> {
    let key = || -> Result<EcKey<Public>, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let mut context = BigNumContext::new()?;
        let point = openssl::ec::EcPoint::from_bytes(&group, point, &mut context)?;
        EcKey::from_public_key(&group, &point)
    };
    let checked = key().and_then(|key| key.check_key());
    checked.map_err(|_| KeyError::Inconsistent)
}

fn uncompressed<T: HasPublic>(key: &EcKeyRef<T>) -> Result<Vec<u8>, ErrorStack> {
    let mut context = BigNumContext::new()?;
    key.public_key().to_bytes(key.group(), PointConversionForm::UNCOMPRESSED, &mut context)
}

fn rsa_from_modulus(modulus: &[u8]) -> Result<Rsa<Public>, ErrorStack> {
    Rsa::from_public_components(BigNum::from_slice(modulus)?, BigNum::from_u32(0x10001)?)
}

/// SEQUENCE, AlgorithmIdentifier { id-ecPublicKey, prime256v1 }, BIT STRING, uncompressed point.
const P256_PREFIX: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
/// SEQUENCE, AlgorithmIdentifier { rsaEncryption, NULL }, BIT STRING, SEQUENCE, INTEGER with a
/// leading zero (`tcp-session.md` §4).
const RSA_1024_PREFIX: &[u8] =
    b"\x30\x81\x9f\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x81\x8d\x00\x30\x81\x89\x02\x81\x81\x00";
const RSA_2048_PREFIX: &[u8] =
    b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00\x30\x82\x01\x0a\x02\x82\x01\x01\x00";
/// INTEGER 65537.
const RSA_EXPONENT: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
