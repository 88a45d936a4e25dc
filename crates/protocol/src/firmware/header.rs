//! The module header, `module_info` (`ota.md` §5.1, §5.2).

use model::Platform;
use model::update::Dependency;

use super::{FirmwareError, Function};

/// Size of the header.
pub(super) const BYTES: usize = 24;
/// Where the header may be, in the order tried. 0x20 only behind [`VENDOR_HEADER`].
const OFFSETS: [usize; 6] = [0, 0x20, 0x200, 0x184, 0x10c, 0xc0];
/// Begins the vendor's 32 bytes of Gen 4.
const VENDOR_HEADER: [u8; 8] = [0x99, 0x99, 0x96, 0x96, 0x3f, 0xcc, 0x66, 0xfc];
const COMPRESSED: u8 = 0x02;
const COMBINED: u8 = 0x04;
/// Behind the header of a compressed module: size of these fields, method, window, original size.
const COMPRESSED_HEADER_BYTES: usize = 8;
const RAW_DEFLATE: u8 = 0;
/// No module is larger than the memory of any device.
const MODULE_BYTES_MAX: u64 = 16 << 20;

/// The fields of `module_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    offset: usize,
    start: u32,
    end: u32,
    flags: u8,
    pub(super) version: u16,
    pub(super) platform: Platform,
    pub(super) function: u8,
    pub(super) index: u8,
    pub(super) dependencies: [RawDependency; 2],
}

/// A dependency as written; function 0: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawDependency {
    function: u8,
    index: u8,
    version: u16,
}

impl RawDependency {
    pub(super) fn read(&self) -> Option<Dependency> {
        let Self { function, index, version } = *self;
        Function::from_number(function).map(|_| Dependency { function, index, version })
    }
}

impl Header {
    /// The header of a file: the first candidate whose size is the file's. If there is none, the first
    /// one that looks like a header tells what is wrong.
    pub(super) fn find(file: &[u8]) -> Result<Self, FirmwareError> {
        let candidates = || OFFSETS.iter().filter_map(|offset| Self::at(*offset, file));
        if let Some(header) = candidates().find(|header| header.fits(file.len())) {
            return Ok(header);
        }
        match candidates().next() {
            Some(header) => {
                Err(FirmwareError::WrongSize { bytes: file.len(), header: header.told_bytes() })
            }
            None => Err(FirmwareError::NoHeader),
        }
    }

    /// The header at an offset, if what is there looks like one.
    fn at(offset: usize, file: &[u8]) -> Option<Self> {
        if offset == 0x20 && !file.starts_with(&VENDOR_HEADER) {
            return None;
        }
        let bytes: &[u8; BYTES] = file.get(offset..)?.first_chunk()?;
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let dependency = |at: usize| RawDependency {
            function: bytes[at],
            index: bytes[at + 1],
            version: u16_at(at + 2),
        };
        let header = Self {
            offset,
            start: u32_at(0),
            end: u32_at(4),
            flags: bytes[9],
            version: u16_at(10),
            platform: Platform(u16_at(12)),
            function: bytes[14],
            index: bytes[15],
            dependencies: [dependency(16), dependency(20)],
        };
        header.is_plausible().then_some(header)
    }

    fn is_plausible(&self) -> bool {
        self.platform.is_known()
            && (1..=9).contains(&self.function)
            && self.end > self.start
            && self.told_bytes() <= MODULE_BYTES_MAX
    }

    /// Size of the module with its CRC, as the addresses tell.
    fn told_bytes(&self) -> u64 {
        u64::from(self.end) - u64::from(self.start) + 4
    }

    /// The addresses of a compressed module are those of what it unpacks to.
    fn fits(&self, file: usize) -> bool {
        let (file, told) = (file as u64, self.told_bytes());
        let vendor = if self.offset == 0x20 { 0x20 } else { 0 };
        if self.is_combined() {
            return told <= file;
        }
        self.is_compressed() || told == file || told + vendor == file
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.flags & COMPRESSED != 0
    }

    pub(super) fn is_combined(&self) -> bool {
        self.flags & COMBINED != 0
    }

    /// Size of this module alone; absent if only the whole file tells.
    pub(super) fn module_bytes(&self) -> Option<usize> {
        if self.is_compressed() && !self.is_combined() {
            return None;
        }
        usize::try_from(self.told_bytes()).ok()
    }

    pub(super) fn check_compressed(&self, file: &[u8]) -> Result<(), FirmwareError> {
        let fields = file.get(self.offset + BYTES..).unwrap_or_default();
        let Some(fields) = fields.first_chunk::<COMPRESSED_HEADER_BYTES>() else {
            return Err(FirmwareError::Compressed);
        };
        let header = usize::from(u16::from_le_bytes([fields[0], fields[1]]));
        let original = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
        let is_good = header >= COMPRESSED_HEADER_BYTES
            && header < file.len()
            && fields[2] == RAW_DEFLATE
            && (1..=MODULE_BYTES_MAX).contains(&u64::from(original));
        if is_good { Ok(()) } else { Err(FirmwareError::Compressed) }
    }
}
