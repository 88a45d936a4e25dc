//! A private key, read or made.

use std::fmt;

use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use zeroize::Zeroizing;

use super::encoding::{self, Shape};
use super::public::{pem, unreadable};
use super::{KeyError, KeyKind, PublicKey};

/// A private key of one of the [`KeyKind`]s, its numbers checked.
///
/// Its `Debug` shows the public half only.
#[derive(Clone)]
pub struct PrivateKey {
    numbers: Numbers,
    public: PublicKey,
}

#[derive(Clone)]
enum Numbers {
    Ec(EcKey<Private>),
    Rsa(Rsa<Private>),
}

impl PrivateKey {
    /// Reads PEM or DER in SEC1, PKCS#1 or unencrypted PKCS#8, fill of device memory after it
    /// allowed. A damaged key is [`KeyError::Inconsistent`].
    pub fn parse(input: &[u8]) -> Result<Self, KeyError> {
        let key = Self::from_der(&encoding::to_der(input)?)?;
        key.check()?;
        Ok(key)
    }

    /// Makes a key. An RSA-1024 key fits the device's parser, see [`Self::fits_device`].
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        match kind {
            KeyKind::P256 => Self::from_ec(new_ec().map_err(|_| KeyError::Library)?),
            KeyKind::Rsa1024 => generate_for_device(),
            KeyKind::Rsa2048 => Self::from_rsa(new_rsa(2048).map_err(|_| KeyError::Library)?),
        }
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        self.public.kind()
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The DER that devices and their tools use: SEC1 with curve and public key (121 bytes), or
    /// PKCS#1 (about 608 bytes for RSA-1024). The only failure is [`KeyError::Library`].
    pub fn to_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let der = match &self.numbers {
            Numbers::Ec(key) => key.private_key_to_der(),
            Numbers::Rsa(key) => key.private_key_to_der(),
        };
        der.map(Zeroizing::new).map_err(|_| KeyError::Library)
    }

    /// [`Self::to_der`] as PEM: `BEGIN EC PRIVATE KEY` or `BEGIN RSA PRIVATE KEY`.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let label = match &self.numbers {
            Numbers::Ec(_) => "EC PRIVATE KEY",
            Numbers::Rsa(_) => "RSA PRIVATE KEY",
        };
        Ok(Zeroizing::new(pem(label, &self.to_der()?)))
    }

    /// The key for OpenSSL's operations on P-256; `None` for RSA.
    pub fn ec(&self) -> Option<&EcKey<Private>> {
        match &self.numbers {
            Numbers::Ec(key) => Some(key),
            Numbers::Rsa(_) => None,
        }
    }

    /// The key for OpenSSL's RSA operations; `None` for P-256.
    pub fn rsa(&self) -> Option<&Rsa<Private>> {
        match &self.numbers {
            Numbers::Ec(_) => None,
            Numbers::Rsa(key) => Some(key),
        }
    }

    /// Whether a device can use the key as its own: P-256 always, RSA if it is RSA-1024 and the
    /// DER has every number where the device's parser looks for it (`tcp-session.md` §4).
    pub fn fits_device(&self) -> bool {
        match self.kind() {
            KeyKind::P256 => true,
            KeyKind::Rsa1024 => self.to_der().is_ok_and(|der| fits_device_parser(&der)),
            KeyKind::Rsa2048 => false,
        }
    }

    /// Reads one DER structure without checking that its numbers belong together.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        match encoding::shape(der)? {
            Shape::Sec1 => Self::from_ec(EcKey::private_key_from_der(der).map_err(unreadable)?),
            Shape::Pkcs1Private => {
                Self::from_rsa(Rsa::private_key_from_der(der).map_err(unreadable)?)
            }
            Shape::Pkcs8 => Self::from_pkcs8(der),
            Shape::Pkcs1Public | Shape::Spki => Err(KeyError::NotPrivate),
        }
    }

    /// The inner structure is written and read again, so that every key, whatever it came in, is
    /// of the library's plain kind, on which repeated operations are fastest.
    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let key = PKey::private_key_from_pkcs8(der).map_err(unreadable)?;
        if let Ok(key) = key.rsa() {
            let inner = key.private_key_to_der().map_err(|_| KeyError::Inconsistent)?;
            let inner = Zeroizing::new(inner);
            return Self::from_rsa(Rsa::private_key_from_der(&inner).map_err(unreadable)?);
        }
        Self::from_ec(key.ec_key().map_err(|_| KeyError::Unsupported)?)
    }

    fn from_ec(key: EcKey<Private>) -> Result<Self, KeyError> {
        let public = PublicKey::from_ec(&key)?;
        Ok(Self { numbers: Numbers::Ec(key), public })
    }

    fn from_rsa(key: Rsa<Private>) -> Result<Self, KeyError> {
        let public = PublicKey::from_rsa(&key)?;
        Ok(Self { numbers: Numbers::Rsa(key), public })
    }

    fn check(&self) -> Result<(), KeyError> {
        let sound = match &self.numbers {
            Numbers::Ec(key) => key.check_key().is_ok(),
            Numbers::Rsa(key) => key.check_key().unwrap_or(false),
        };
        if sound { Ok(()) } else { Err(KeyError::Inconsistent) }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateKey").field(&self.public).finish()
    }
}

fn new_ec() -> Result<EcKey<Private>, ErrorStack> {
    EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)
}

fn new_rsa(bits: u32) -> Result<Rsa<Private>, ErrorStack> {
    Rsa::generate_with_e(bits, &*BigNum::from_u32(0x10001)?)
}

/// About one key in thirty has a number that is a byte short, which the device would misread.
fn generate_for_device() -> Result<PrivateKey, KeyError> {
    for _ in 0..DEVICE_KEY_ATTEMPTS {
        let key = PrivateKey::from_rsa(new_rsa(1024).map_err(|_| KeyError::Library)?)?;
        if key.fits_device() {
            return Ok(key);
        }
    }
    Err(KeyError::Library)
}

/// Walks the PKCS#1 DER as the firmware does (`tcp-session.md` §4): fixed header lengths, the modulus
/// at offset 11, then d with 128 significant bytes and five numbers with 64.
fn fits_device_parser(der: &[u8]) -> bool {
    const HEAD: [u8; 7] = [0x02, 0x01, 0x00, 0x02, 0x81, 0x81, 0x00];
    const EXPONENT: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
    let walk = || {
        let rest = der.strip_prefix(&[0x30, 0x82])?.get(2..)?;
        let rest = rest.strip_prefix(&HEAD)?.get(128..)?;
        let rest = number(rest.strip_prefix(&EXPONENT)?, &[0x81], 128)?;
        (0..5).try_fold(rest, |rest, _| number(rest, &[], 64))
    };
    der.len() <= DEVICE_KEY_BYTES_MAX && walk().is_some_and(<[u8]>::is_empty)
}

/// Skips an INTEGER of exactly `size` significant bytes, a zero before them or not.
fn number<'a>(der: &'a [u8], long_form: &[u8], size: usize) -> Option<&'a [u8]> {
    let (length, rest) = der.strip_prefix(&[0x02])?.strip_prefix(long_form)?.split_first()?;
    let rest = match (usize::from(*length), rest) {
        (length, [0, rest @ ..]) if length == size + 1 => rest,
        (length, [1..=0xff, ..]) if length == size => rest,
        _ => return None,
    };
    rest.get(size..)
}

/// The area of the device's memory for it (`tcp-session.md` §4).
const DEVICE_KEY_BYTES_MAX: usize = 612;
/// The chance that so many keys in a row do not fit is below 10⁻⁹⁰.
const DEVICE_KEY_ATTEMPTS: u32 = 64;
