//! Firmware binaries (`ota.md` §5 and §6): what a file says of itself, whether it is whole, whether it
//! suits a device, and which modules a device lacks.
//!
//! Nothing here panics or allocates by what a file claims. Begin with [`Firmware::read`].

mod error;
mod function;
mod header;
mod plan;
mod suffix;

pub use error::FirmwareError;
pub use function::Function;
pub use plan::{Candidate, Missing, name, next_missing};

use model::update::Dependency;
use model::{Platform, ProductId};

use header::Header;
use suffix::Suffix;

/// The shortest file that can hold a header, a suffix and a CRC.
pub const FIRMWARE_BYTES_MIN: usize = header::BYTES + suffix::BYTES_MIN;
/// Numbers below this stand for platforms, not for products.
pub const FIRST_PRODUCT: u32 = 10_000;
/// Modules in one combined file (`ota.md` §5.4).
const COMBINED_MAX: usize = 2;

/// What a firmware binary is. A value of this type was whole: sizes, CRC and hash agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// The platform it was built for.
    pub platform: Platform,
    /// What it is to a device.
    pub function: Function,
    /// Its place among the modules of its function.
    pub index: u8,
    /// The module's own version: of system parts 6200 is Device OS 6.2.0.
    pub version: u16,
    /// The product it was built for; absent: for none.
    pub product: Option<ProductId>,
    /// Its product version; absent: it names none.
    pub product_version: Option<u16>,
    /// What must be there for it to run, at most two.
    pub dependencies: Vec<Dependency>,
    /// The SHA-256 in its suffix; a device tells that of its application in Describe.
    pub module_hash: [u8; 32],
    /// Whether devices need the ability to unpack it (Hello flag 0x40).
    pub compressed: bool,
    /// Whether several modules follow one another in the file; what is told here is of the first.
    pub combined: bool,
    /// Size of the file, in bytes.
    pub bytes: usize,
}

impl Firmware {
    /// Reads a file and checks that it is whole.
    ///
    /// # Errors
    /// See [`FirmwareError`]; each text is for the person who made the file.
    pub fn read(file: &[u8]) -> Result<Self, FirmwareError> {
        if file.len() < FIRMWARE_BYTES_MIN {
            return Err(FirmwareError::TooShort { bytes: file.len() });
        }
        let header = Header::find(file)?;
        if !header.is_combined() {
            return Self::of(&header, file);
        }
        let mut firmware = Self::of(&header, first_of(&header, file)?)?;
        firmware.combined = true;
        check_rest(file, firmware.bytes)?;
        firmware.bytes = file.len();
        Ok(firmware)
    }

    /// Whether the file suits a device of this platform that is not in a product, or whatever its
    /// product is.
    ///
    /// # Errors
    /// `WrongPlatform`
    pub fn suits(&self, platform: Platform) -> Result<(), FirmwareError> {
        if self.platform == platform {
            return Ok(());
        }
        Err(FirmwareError::WrongPlatform { file: self.platform, device: platform })
    }

    /// Whether the file can be this version of this product: an application of it.
    ///
    /// # Errors
    /// `NoApplication`, `NoProduct`, `WrongProduct` or `WrongVersion`.
    pub fn is_version(&self, version: u16, product: ProductId) -> Result<(), FirmwareError> {
        if !self.function.is_application() {
            return Err(FirmwareError::NoApplication { function: self.function });
        }
        let (Some(own), Some(own_version)) = (self.product, self.product_version) else {
            return Err(FirmwareError::NoProduct);
        };
        if own != product {
            return Err(FirmwareError::WrongProduct { file: own, product });
        }
        if own_version != version {
            return Err(FirmwareError::WrongVersion { file: own_version, asked: version });
        }
        Ok(())
    }

    fn of(header: &Header, file: &[u8]) -> Result<Self, FirmwareError> {
        let suffix = Suffix::read(file)?;
        if header.is_compressed() {
            header.check_compressed(file)?;
        }
        let Some(function) = Function::from_number(header.function) else {
            return Err(FirmwareError::NotFlashable { function: header.function });
        };
        let product = suffix.product.filter(|_| function.is_application());
        let named = product.filter(|(id, _)| *id >= FIRST_PRODUCT && *id != 0xffff);
        Ok(Self {
            platform: header.platform,
            function,
            index: header.index,
            version: header.version,
            product: named.map(|(id, _)| ProductId(id)),
            product_version: named.map(|(_, version)| version).filter(|v| *v != 0xffff),
            dependencies: header
                .dependencies
                .iter()
                .filter_map(header::RawDependency::read)
                .collect(),
            module_hash: suffix.hash,
            compressed: header.is_compressed(),
            combined: false,
            bytes: file.len(),
        })
    }
}

/// The first module of a combined file.
fn first_of<'f>(header: &Header, file: &'f [u8]) -> Result<&'f [u8], FirmwareError> {
    header.module_bytes().and_then(|bytes| file.get(..bytes)).ok_or(FirmwareError::Combined)
}

/// What follows the first module must be whole modules as well.
fn check_rest(file: &[u8], first: usize) -> Result<(), FirmwareError> {
    let mut at = first;
    for _ in 1..COMBINED_MAX {
        let rest = file.get(at..).unwrap_or_default();
        if rest.len() < FIRMWARE_BYTES_MIN {
            break;
        }
        let header = Header::find(rest).map_err(|_| FirmwareError::Combined)?;
        let bytes = header.module_bytes().unwrap_or(rest.len()).min(rest.len());
        Suffix::read(rest.get(..bytes).unwrap_or_default())?;
        at += bytes;
    }
    if at == file.len() { Ok(()) } else { Err(FirmwareError::Combined) }
}
