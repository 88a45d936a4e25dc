//! Makes firmware binaries that are well formed and do nothing: to try updates without a compiler.

use crc32fast::Hasher;
use sha2::{Digest, Sha256};

/// Header and the shortest suffix with its CRC.
const OVERHEAD: usize = 24 + SUFFIX_BYTES + 4;
const SUFFIX_BYTES: usize = 40;
/// Where an application begins in memory; any address will do.
const START: u32 = 0x0008_0000;
/// The number that stands for no product.
const NONE: u16 = 0xffff;

/// What the binary says of itself (`ota.md` §5.2 and §5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Platform number.
    pub platform: u16,
    /// Module function: 5 is an application, 4 a system part, 2 a bootloader.
    pub function: u8,
    /// Place among the modules of its function.
    pub index: u8,
    /// Module version.
    pub version: u16,
    /// Product id and product version.
    pub product: Option<(u16, u16)>,
    /// Function, index and lowest version of modules it needs; more than two are left out.
    pub dependencies: Vec<(u8, u8, u16)>,
    /// Size of the file in bytes; a smaller one than header and suffix take is raised to that.
    pub bytes: usize,
    /// Decides what stands in for code.
    pub seed: u64,
}

impl Binary {
    /// An application without a product.
    pub fn application(platform: u16, bytes: usize) -> Self {
        Self {
            platform,
            function: 5,
            index: 1,
            version: 6,
            product: None,
            dependencies: Vec::new(),
            bytes,
            seed: 1,
        }
    }

    /// The same of a product.
    #[must_use]
    pub fn of_product(self, id: u16, version: u16) -> Self {
        Self { product: Some((id, version)), ..self }
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let bytes = self.bytes.max(OVERHEAD);
        let mut file = Vec::with_capacity(bytes);
        self.header(bytes, &mut file);
        let code = bytes - OVERHEAD;
        file.extend(noise(self.seed).take(code));
        let (id, version) = self.product.unwrap_or((NONE, NONE));
        file.extend(id.to_le_bytes());
        file.extend(version.to_le_bytes());
        file.extend([0; 2]);
        seal(&mut file);
        file
    }

    fn header(&self, bytes: usize, file: &mut Vec<u8>) {
        // The end leaves out the CRC.
        let end = START + u32::try_from(bytes - 4).unwrap_or(u32::MAX - START);
        file.extend(START.to_le_bytes());
        file.extend(end.to_le_bytes());
        file.extend([0, 0]);
        file.extend(self.version.to_le_bytes());
        file.extend(self.platform.to_le_bytes());
        file.extend([self.function, self.index]);
        for slot in 0..2 {
            let (function, index, version) =
                self.dependencies.get(slot).copied().unwrap_or_default();
            file.extend([function, index]);
            file.extend(version.to_le_bytes());
        }
    }
}

/// Puts hash, size of the suffix and CRC behind everything else.
pub fn seal(file: &mut Vec<u8>) {
    let hash = Sha256::digest(&*file);
    file.extend(hash.as_slice());
    file.extend((SUFFIX_BYTES as u16).to_le_bytes());
    let mut crc = Hasher::new();
    crc.update(file);
    file.extend(crc.finalize().to_be_bytes());
}

/// Bytes that no compression shortens, the same for the same seed (xorshift64).
fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    })
}
