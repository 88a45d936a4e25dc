//! Who a simulated device is: its id and its key, and what a server must be told of both.

use std::sync::Arc;

use model::DeviceId;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::rsa::RsaPrivateKeyBuilder;
use openssl::sha::Sha256;
use secure::keys::{KeyError, PrivateKey, PublicKey};
use secure::p256::SigningKey;

/// An id with its private key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The device id.
    pub id: DeviceId,
    /// Its key.
    pub key: DeviceKey,
}

/// The private key of a device. A seeded key takes 32 bytes until it is used and is the same in
/// every run, so that a fleet of any size needs no key file.
#[derive(Debug, Clone)]
pub enum DeviceKey {
    /// A key in memory, possibly shared by many devices.
    Held(Arc<PrivateKey>),
    /// A P-256 key made from this seed.
    SeededP256([u8; 32]),
    /// An RSA-1024 key made from this seed; takes some milliseconds to make.
    SeededRsa([u8; 32]),
}

impl Identity {
    /// Device `index` of the fleet that `seed` names: `prefix` is the beginning of its id in hex
    /// (at most 16 digits are used), the rest is the index.
    pub fn of_fleet(prefix: &str, seed: u64, index: u32, rsa: bool) -> Self {
        let key_seed = derive(seed, index);
        let key =
            if rsa { DeviceKey::SeededRsa(key_seed) } else { DeviceKey::SeededP256(key_seed) };
        Self { id: fleet_id(prefix, index), key }
    }

    /// The line that registers this device: `{"device_id":…,"public_key_pem":…}`.
    pub fn registration(&self) -> Result<String, KeyError> {
        let pem = self.key.public_key()?.to_pem();
        let line = serde_json::json!({ "device_id": self.id.to_string(), "public_key_pem": pem });
        Ok(line.to_string())
    }
}

impl DeviceKey {
    /// The private key. The only failure is the cryptographic library's.
    pub fn private_key(&self) -> Result<Arc<PrivateKey>, KeyError> {
        match self {
            Self::Held(key) => Ok(Arc::clone(key)),
            Self::SeededP256(seed) => Ok(Arc::new(p256_from_seed(seed)?)),
            Self::SeededRsa(seed) => Ok(Arc::new(rsa_from_seed(seed)?)),
        }
    }

    /// The key for signatures of the DTLS handshake; [`KeyError::Unsupported`] for RSA.
    pub(crate) fn signing_key(&self) -> Result<Arc<SigningKey>, KeyError> {
        let key = match self {
            Self::SeededP256(seed) => SigningKey::from_scalar(seed),
            Self::Held(key) => SigningKey::from_der(&key.to_der()?),
            Self::SeededRsa(_) => return Err(KeyError::Unsupported),
        };
        key.map(Arc::new).map_err(|_| KeyError::Unsupported)
    }

    /// The public half.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        Ok(self.private_key()?.public_key().clone())
    }

    /// Tells whether two keys are the same without making them.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        match self {
            Self::Held(key) => key.public_key().hash(),
            Self::SeededP256(seed) | Self::SeededRsa(seed) => *seed,
        }
    }
}

/// Registration lines (JSON, one device each) of `count` devices with keys of their own, or of one
/// shared key.
pub fn registrations(
    identities: impl IntoIterator<Item = Identity>,
) -> impl Iterator<Item = Result<String, KeyError>> {
    identities.into_iter().map(|identity| identity.registration())
}

fn fleet_id(prefix: &str, index: u32) -> DeviceId {
    let mut bytes = [0; 12];
    for (byte, digits) in bytes[..8].iter_mut().zip(prefix.as_bytes().chunks(2)) {
        let text = std::str::from_utf8(digits).unwrap_or("0");
        *byte = u8::from_str_radix(text, 16).unwrap_or(0);
    }
    bytes[8..].copy_from_slice(&index.to_be_bytes());
    DeviceId(bytes)
}

fn derive(seed: u64, index: u32) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"simulated device key");
    hash.update(&seed.to_be_bytes());
    hash.update(&index.to_be_bytes());
    hash.finish()
}

/// A P-256 key whose private number is the seed. Out of range (a chance of 2⁻³²) is an error.
pub(crate) fn p256_from_seed(seed: &[u8; 32]) -> Result<PrivateKey, KeyError> {
    let der = p256_der(seed).map_err(|_| KeyError::Library)?;
    PrivateKey::parse(&der)
}

fn p256_der(seed: &[u8; 32]) -> Result<Vec<u8>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let scalar = BigNum::from_slice(seed)?;
    let mut point = EcPoint::new(&group)?;
    point.mul_generator2(&group, &scalar, &mut *BigNumContext::new()?)?;
    EcKey::from_private_components(&group, &scalar, &point)?.private_key_to_der()
}

/// An RSA-1024 key that fits the device's parser, out of primes found from the seed.
fn rsa_from_seed(seed: &[u8; 32]) -> Result<PrivateKey, KeyError> {
    let mut primes = Primes { seed: *seed, counter: 0 };
    for _ in 0..RSA_ATTEMPTS {
        let der = rsa_der(&mut primes).map_err(|_| KeyError::Library)?;
        let key = PrivateKey::parse(&der)?;
        if key.fits_device() {
            return Ok(key);
        }
    }
    Err(KeyError::Library)
}

/// About one key in thirty does not fit the device's parser.
const RSA_ATTEMPTS: u32 = 32;

fn rsa_der(primes: &mut Primes) -> Result<Vec<u8>, ErrorStack> {
    let mut context = BigNumContext::new()?;
    let e = BigNum::from_u32(0x10001)?;
    let (p, q) = (primes.next(&mut context)?, primes.next(&mut context)?);
    let one = BigNum::from_u32(1)?;
    let (p1, q1) = (&p - &one, &q - &one);
    let n = &p * &q;
    let phi = &p1 * &q1;
    let mut d = BigNum::new()?;
    d.mod_inverse(&e, &phi, &mut context)?;
    let (dp, dq) = (&d % &p1, &d % &q1);
    let mut inverse = BigNum::new()?;
    inverse.mod_inverse(&q, &p, &mut context)?;
    RsaPrivateKeyBuilder::new(n, e, d)?
        .set_factors(p, q)?
        .set_crt_params(dp, dq, inverse)?
        .build()
        .private_key_to_der()
}

struct Primes {
    seed: [u8; 32],
    counter: u64,
}

impl Primes {
    /// The next 512-bit prime with its two top bits set that allows e = 65537.
    fn next(&mut self, context: &mut BigNumContext) -> Result<BigNum, ErrorStack> {
        let mut candidate = self.start()?;
        let two = BigNum::from_u32(2)?;
        while !(usable(&candidate, context)?) {
            candidate = &candidate + &two;
        }
        Ok(candidate)
    }

    fn start(&mut self) -> Result<BigNum, ErrorStack> {
        let mut bytes = Vec::with_capacity(64);
        for half in 0..2u8 {
            let mut hash = Sha256::new();
            hash.update(&self.seed);
            hash.update(&self.counter.to_be_bytes());
            hash.update(&[half]);
            bytes.extend(hash.finish());
        }
        self.counter += 1;
        bytes[0] |= 0xC0;
        bytes[63] |= 1;
        BigNum::from_slice(&bytes)
    }
}

fn usable(candidate: &BigNum, context: &mut BigNumContext) -> Result<bool, ErrorStack> {
    let allows_e = candidate.mod_word(0x10001)? != 1;
    Ok(allows_e && candidate.is_prime_fasttest(PRIME_ROUNDS, context, true)?)
}

const PRIME_ROUNDS: i32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_keys_are_the_same_in_every_run_and_differ_between_devices() {
        let pem = |seed, index, rsa| {
            Identity::of_fleet("e00fce68", seed, index, rsa).registration().expect("a key")
        };
        for rsa in [false, true] {
            assert_eq!(pem(1, 7, rsa), pem(1, 7, rsa));
            assert_ne!(pem(1, 7, rsa), pem(1, 8, rsa));
            assert_ne!(pem(1, 7, rsa), pem(2, 7, rsa));
        }
    }

    #[test]
    fn ids_are_the_prefix_and_the_index() {
        let identity = Identity::of_fleet("e00fce68", 1, 258, false);
        assert_eq!(identity.id.to_string(), "e00fce680000000000000102");
    }

    #[test]
    fn seeded_rsa_keys_fit_a_device() {
        for index in 0..4 {
            let identity = Identity::of_fleet("33", 5, index, true);
            assert!(identity.key.private_key().expect("a key").fits_device());
        }
    }
}
