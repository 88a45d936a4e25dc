//! The keys of a world: made once for the process where that is slow, and signatures that are the
//! same in every run.

use std::sync::{Arc, OnceLock};

use model::{DeviceId, KeyHash};
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::ec::{EcGroup, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::sha::Sha256;
use secure::dtls::ServerIdentity;
use secure::keys::{KeyKind, PrivateKey, PublicKey};
use secure::p256::{OpensslP256, P256, P256Error, Point, Scalar, SharedSecret, SigningKey};
use secure::tcp::RsaServerKeys;

use crate::device::Trust;
use crate::identity::{DeviceKey, Identity};

/// The server's keys, and what devices are told of them.
pub(crate) struct Secrets {
    pub(crate) curve: Arc<SteadyP256>,
    pub(crate) identity: ServerIdentity,
    pub(crate) rsa: RsaServerKeys,
    pub(crate) trust: Trust,
}

/// A device's key as the server knows it.
#[derive(Debug, Clone)]
pub(crate) struct KnownKey {
    pub(crate) hash: KeyHash,
    pub(crate) public: PublicKey,
}

impl Secrets {
    /// The same for all worlds of the process: what is played does not depend on them.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Secrets>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(|| Arc::new(Self::make())))
    }

    fn make() -> Self {
        let curve = Arc::new(SteadyP256(OpensslP256::new().expect("the curve is built in")));
        let key = SigningKey::from_scalar(&[5; 32]).expect("the number is in range");
        let rsa = PrivateKey::generate(KeyKind::Rsa2048).expect("OpenSSL makes RSA keys");
        let trust = Trust {
            p256: Some(*key.point()),
            rsa: Some(rsa.public_key().clone()),
            curve: Arc::clone(&curve) as Arc<dyn P256>,
        };
        let identity = ServerIdentity::new(key, None);
        let rsa = RsaServerKeys::new(&rsa, None).expect("RSA-2048 is what it takes");
        Self { curve, identity, rsa, trust }
    }
}

/// Who device `index` is. RSA keys are slow to make: a few serve all devices that need one, as cloned
/// devices have it.
pub(crate) fn identity(index: u32, rsa: bool) -> Identity {
    static RSA: OnceLock<Vec<Arc<PrivateKey>>> = OnceLock::new();
    let made = Identity::of_fleet("e00fce68", 1, index, rsa);
    if !rsa {
        return made;
    }
    let keys = RSA.get_or_init(|| {
        let make = |n| Identity::of_fleet("", 2, n, true).key.private_key();
        (0..RSA_KEYS).map(|n| make(n).expect("OpenSSL makes RSA keys")).collect()
    });
    let key = Arc::clone(&keys[index as usize % keys.len()]);
    Identity { id: made.id, key: DeviceKey::Held(key) }
}

/// What is registered for a device.
pub(crate) fn known_key(identity: &Identity) -> (DeviceId, KnownKey) {
    let public = identity.key.public_key().expect("a key of ours");
    (identity.id, KnownKey { hash: KeyHash(public.hash()), public })
}

const RSA_KEYS: u32 = 3;

/// OpenSSL's arithmetic with signatures that depend on key and digest alone. The number that must be
/// secret and never used twice is a digest of both: good for worlds, not for the world.
pub(crate) struct SteadyP256(OpensslP256);

impl P256 for SteadyP256 {
    fn public_point(&self, secret: &Scalar) -> Result<Point, P256Error> {
        self.0.public_point(secret)
    }

    fn agree(&self, secret: &Scalar, peer: &Point) -> Result<SharedSecret, P256Error> {
        self.0.agree(secret, peer)
    }

    fn sign(&self, key: &SigningKey, digest: &[u8; 32]) -> Result<Vec<u8>, P256Error> {
        steady_signature(key.scalar(), digest).map_err(|_| P256Error::Library)
    }

    fn verify(&self, key: &Point, digest: &[u8; 32], signature: &[u8]) -> Result<(), P256Error> {
        self.0.verify(key, digest, signature)
    }
}

fn steady_signature(secret: &Scalar, digest: &[u8; 32]) -> Result<Vec<u8>, ErrorStack> {
    let mut context = BigNumContext::new()?;
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let mut order = BigNum::new()?;
    group.order(&mut order, &mut context)?;
    let once = number_used_once(secret, digest, &order)?;

    let mut point = EcPoint::new(&group)?;
    point.mul_generator2(&group, &once, &mut context)?;
    let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
    point.affine_coordinates(&group, &mut x, &mut y, &mut context)?;
    let r = &x % &order;

    let (mut inverse, mut s) = (BigNum::new()?, BigNum::new()?);
    inverse.mod_inverse(&once, &order, &mut context)?;
    let product = &r * &BigNum::from_slice(secret)?;
    let sum = &BigNum::from_slice(digest)? + &product;
    s.mod_mul(&inverse, &sum, &order, &mut context)?;
    EcdsaSig::from_private_components(r, s)?.to_der()
}

fn number_used_once(
    secret: &Scalar,
    digest: &[u8; 32],
    order: &BigNumRef,
) -> Result<BigNum, ErrorStack> {
    let mut hash = Sha256::new();
    hash.update(secret);
    hash.update(digest);
    let number = BigNum::from_slice(&hash.finish())?;
    Ok(&number % order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_signatures_are_good_and_the_same_in_every_run() {
        let curve = SteadyP256(OpensslP256::new().unwrap());
        let key = SigningKey::from_scalar(&[9; 32]).unwrap();
        for n in 0..8 {
            let signature = curve.sign(&key, &[n; 32]).unwrap();
            assert_eq!(signature, curve.sign(&key, &[n; 32]).unwrap());
            curve.verify(key.point(), &[n; 32], &signature).unwrap();
        }
    }
}
