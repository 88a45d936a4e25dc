//! Arithmetic on the curve P-256 (secp256r1) behind a trait: ECDH and ECDSA with SHA-256.
//!
//! The machines of this crate never call it themselves: they hand out jobs, and whoever runs a job
//! brings an implementation. [`OpensslP256`] is the one for production; a simulation brings one whose
//! signatures are deterministic.

use std::fmt;

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcKeyRef, EcPoint, PointConversionForm};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use zeroize::Zeroizing;

/// An uncompressed point: `04 ‖ X ‖ Y`.
pub type Point = [u8; 65];
/// A private key, big-endian, from 1 to the order of the curve less 1.
pub type Scalar = [u8; 32];
/// What two sides agree on: the X coordinate of a point.
pub type SharedSecret = Zeroizing<[u8; 32]>;

/// What stands in front of the point in a SubjectPublicKeyInfo of this curve (RFC 5480).
pub const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Length of a SubjectPublicKeyInfo of this curve.
pub const SPKI_BYTES: usize = 91;

/// The operations a handshake needs. All of them may take up to half a millisecond.
pub trait P256: Send + Sync {
    /// The public half of `secret`.
    fn public_point(&self, secret: &Scalar) -> Result<Point, P256Error>;

    /// ECDH: the X coordinate of `secret` times `peer`, leading zeros kept. An implementation refuses
    /// a `peer` that is not on the curve.
    fn agree(&self, secret: &Scalar, peer: &Point) -> Result<SharedSecret, P256Error>;

    /// An ECDSA signature of `digest`, in DER.
    fn sign(&self, key: &SigningKey, digest: &[u8; 32]) -> Result<Vec<u8>, P256Error>;

    /// Checks an ECDSA signature in DER.
    fn verify(&self, key: &Point, digest: &[u8; 32], signature: &[u8]) -> Result<(), P256Error>;
}

/// Why an operation gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum P256Error {
    /// The peer's point is not an uncompressed point of the curve.
    #[error("the point is not on the curve")]
    BadPoint,
    /// The scalar is zero or not below the order (one random value of 2^32 is), or a key file
    /// holds something else than a key of this curve.
    #[error("the private key is out of range or of another curve")]
    BadKey,
    /// The signature is not DER or was not made by this key over this digest.
    #[error("the signature is wrong")]
    BadSignature,
    /// The library failed, for lack of memory for example.
    #[error("the cryptographic library failed")]
    Library,
}

/// Writes `point` as a SubjectPublicKeyInfo in DER.
pub fn spki_of_point(point: &Point) -> [u8; SPKI_BYTES] {
    let mut spki = [0; SPKI_BYTES];
    spki[..26].copy_from_slice(&SPKI_PREFIX);
    spki[26..].copy_from_slice(point);
    spki
}

/// Takes the point out of a SubjectPublicKeyInfo; `None` unless it is of this curve and uncompressed.
/// Whether the point is on the curve is not checked here.
pub fn point_of_spki(spki: &[u8]) -> Option<Point> {
    let point: Point = spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok()?;
    (point[0] == 4).then_some(point)
}

/// A private key that signs, parsed once.
pub struct SigningKey {
    scalar: Zeroizing<Scalar>,
    point: Point,
    key: EcKey<Private>,
}

impl SigningKey {
    /// Takes the private number itself.
    ///
    /// # Errors
    /// [`P256Error::BadKey`] if it is out of range.
    pub fn from_scalar(scalar: &Scalar) -> Result<Self, P256Error> {
        let curve = OpensslP256::new()?;
        let number = curve.private_number(scalar)?;
        let mut point = EcPoint::new(&curve.group)?;
        let mut context = BigNumContext::new()?;
        point.mul_generator2(&curve.group, &number, &mut context)?;
        let key = EcKey::from_private_components(&curve.group, &number, &point)?;
        Ok(Self {
            scalar: Zeroizing::new(*scalar),
            point: curve.encode(&point, &mut context)?,
            key,
        })
    }

    /// Parses SEC1 or PKCS#8 in DER.
    ///
    /// # Errors
    /// [`P256Error::BadKey`] for anything else or another curve.
    pub fn from_der(der: &[u8]) -> Result<Self, P256Error> {
        let key = PKey::private_key_from_der(der).and_then(|key| key.ec_key());
        let key = key.map_err(|_| P256Error::BadKey)?;
        Self::from_ec_key(&key)
    }

    /// Parses SEC1 or PKCS#8 in PEM, not encrypted.
    ///
    /// # Errors
    /// [`P256Error::BadKey`] for anything else or another curve.
    pub fn from_pem(pem: &[u8]) -> Result<Self, P256Error> {
        let key = EcKey::private_key_from_pem(pem).map_err(|_| P256Error::BadKey)?;
        Self::from_ec_key(&key)
    }

    /// Takes a key that OpenSSL has parsed.
    ///
    /// # Errors
    /// [`P256Error::BadKey`] if it is of another curve.
    pub fn from_ec_key(key: &EcKeyRef<Private>) -> Result<Self, P256Error> {
        if key.group().curve_name() != Some(Nid::X9_62_PRIME256V1) {
            return Err(P256Error::BadKey);
        }
        let bytes = key.private_key().to_vec_padded(32).map_err(|_| P256Error::BadKey)?;
        let bytes = Zeroizing::new(bytes);
        Self::from_scalar(bytes.first_chunk().ok_or(P256Error::BadKey)?)
    }

    /// The public half.
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// The private number, for implementations of [`P256`] other than OpenSSL's.
    pub fn scalar(&self) -> &Scalar {
        &self.scalar
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

/// [`P256`] by OpenSSL, at the level of points and keys: the EVP level costs a quarter more.
pub struct OpensslP256 {
    group: EcGroup,
    order: BigNum,
    /// Its coordinates take the place of those of a secret point.
    generator: (BigNum, BigNum),
}

impl OpensslP256 {
    /// Loads the curve.
    ///
    /// # Errors
    /// [`P256Error::Library`] if the library does not have it.
    pub fn new() -> Result<Self, P256Error> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let mut order = BigNum::new()?;
        let mut context = BigNumContext::new()?;
        group.order(&mut order, &mut context)?;
        let mut generator = (BigNum::new()?, BigNum::new()?);
        let (x, y) = (&mut generator.0, &mut generator.1);
        let point = group.generator_opt().ok_or(P256Error::Library)?;
        point.affine_coordinates(&group, x, y, &mut context)?;
        Ok(Self { group, order, generator })
    }

    fn private_number(&self, scalar: &Scalar) -> Result<BigNum, P256Error> {
        let mut number = BigNum::new_secure()?;
        number.copy_from_slice(scalar)?;
        number.set_const_time();
        if number.num_bits() == 0 || number >= self.order {
            return Err(P256Error::BadKey);
        }
        Ok(number)
    }

    /// Parsing refuses points that are not on the curve.
    fn decode(&self, point: &Point, context: &mut BigNumContext) -> Result<EcPoint, P256Error> {
        if point[0] != 4 {
            return Err(P256Error::BadPoint);
        }
        EcPoint::from_bytes(&self.group, point, context).map_err(|_| P256Error::BadPoint)
    }

    fn encode(&self, point: &EcPoint, context: &mut BigNumContext) -> Result<Point, P256Error> {
        let bytes = point.to_bytes(&self.group, PointConversionForm::UNCOMPRESSED, context)?;
        bytes.try_into().map_err(|_| P256Error::Library)
    }
}

impl P256 for OpensslP256 {
    fn public_point(&self, secret: &Scalar) -> Result<Point, P256Error> {
        let number = self.private_number(secret)?;
        let mut context = BigNumContext::new_secure()?;
        let mut point = EcPoint::new(&self.group)?;
        point.mul_generator2(&self.group, &number, &mut context)?;
        self.encode(&point, &mut context)
    }

    fn agree(&self, secret: &Scalar, peer: &Point) -> Result<SharedSecret, P256Error> {
        let mut context = BigNumContext::new_secure()?;
        let number = self.private_number(secret)?;
        let peer = self.decode(peer, &mut context)?;
        let mut shared = EcPoint::new(&self.group)?;
        shared.mul2(&self.group, &peer, &number, &mut context)?;
        let (mut x, mut y) = (BigNum::new_secure()?, BigNum::new_secure()?);
        shared.affine_coordinates(&self.group, &mut x, &mut y, &mut context)?;
        // The library does not overwrite a point that it frees.
        let (other_x, other_y) = &self.generator;
        shared.set_affine_coordinates(&self.group, other_x, other_y, &mut context)?;
        let bytes = Zeroizing::new(x.to_vec_padded(32)?);
        bytes.first_chunk().map(|bytes| Zeroizing::new(*bytes)).ok_or(P256Error::Library)
    }

    fn sign(&self, key: &SigningKey, digest: &[u8; 32]) -> Result<Vec<u8>, P256Error> {
        Ok(EcdsaSig::sign(digest, &key.key)?.to_der()?)
    }

    fn verify(&self, key: &Point, digest: &[u8; 32], signature: &[u8]) -> Result<(), P256Error> {
        let point = self.decode(key, &mut BigNumContext::new()?)?;
        let key = EcKey::from_public_key(&self.group, &point)?;
        let signature = EcdsaSig::from_der(signature).map_err(|_| P256Error::BadSignature)?;
        match signature.verify(digest, &key) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(P256Error::BadSignature),
        }
    }
}

impl fmt::Debug for OpensslP256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpensslP256").finish_non_exhaustive()
    }
}

impl From<ErrorStack> for P256Error {
    fn from(_: ErrorStack) -> Self {
        Self::Library
    }
}
