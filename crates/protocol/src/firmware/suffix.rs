//! The end of a binary: product, SHA-256, CRC-32 (`ota.md` §5.3).

use sha2::{Digest, Sha256};

use super::FirmwareError;

/// The shortest suffix with the CRC behind it.
pub(super) const BYTES_MIN: usize = SUFFIX_BYTES_MIN + CRC_BYTES;
const CRC_BYTES: usize = 4;
/// Reserved, hash, size.
const SUFFIX_BYTES_MIN: usize = 36;
/// The same with product id and version.
const SUFFIX_BYTES_LEGACY: usize = 40;
const EXTENSION_END: u16 = 0;
const EXTENSION_PRODUCT: u16 = 1;

/// What stands behind the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suffix {
    /// Product id and version, as written.
    pub(super) product: Option<(u32, u16)>,
    pub(super) hash: [u8; 32],
}

impl Suffix {
    /// Reads the suffix of a module and checks the module by it.
    pub(super) fn read(file: &[u8]) -> Result<Self, FirmwareError> {
        let (body, crc) = file.split_last_chunk::<CRC_BYTES>().ok_or(FirmwareError::Suffix)?;
        let (stored, computed) = (u32::from_be_bytes(*crc), crc32fast::hash(body));
        if stored != computed {
            return Err(FirmwareError::Crc { stored, computed });
        }
        let (before, size) = body.split_last_chunk::<2>().ok_or(FirmwareError::Suffix)?;
        let size = usize::from(u16::from_le_bytes(*size));
        let start = body.len().checked_sub(size).filter(|_| size >= SUFFIX_BYTES_MIN);
        let start = start.ok_or(FirmwareError::Suffix)?;
        let (covered, hash) = before.split_last_chunk::<32>().ok_or(FirmwareError::Suffix)?;
        if Sha256::digest(covered).as_slice() != hash {
            return Err(FirmwareError::Hash);
        }
        // Behind the extensions two bytes are reserved.
        let extensions = covered.get(start..covered.len().saturating_sub(2)).unwrap_or_default();
        Ok(Self { product: product(extensions, size), hash: *hash })
    }
}

fn product(extensions: &[u8], suffix: usize) -> Option<(u32, u16)> {
    if suffix == SUFFIX_BYTES_LEGACY {
        let [a, b, c, d] = *extensions.first_chunk()?;
        return Some((u32::from(u16::from_le_bytes([a, b])), u16::from_le_bytes([c, d])));
    }
    let mut rest = extensions;
    while let Some([a, b, c, d]) = rest.first_chunk() {
        let (kind, bytes) =
            (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        let data = rest.get(4..bytes)?;
        match (kind, data) {
            (EXTENSION_END, _) => return None,
            // As applications of 5.0.0 for P2 have it: two bytes ff, then id and version.
            (EXTENSION_PRODUCT, [_, _, a, b, c, d, ..]) => {
                let id = u32::from(u16::from_le_bytes([*a, *b]));
                return Some((id, u16::from_le_bytes([*c, *d])));
            }
            _ => rest = rest.get(bytes..)?,
        }
    }
    None
}
