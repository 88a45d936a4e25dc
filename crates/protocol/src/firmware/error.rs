//! Why a file is no firmware for a device, in words.

use model::{Platform, ProductId};

use super::Function;

/// Why a file was refused. Each text is for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirmwareError {
    /// The compressed data do not begin as they must.
    #[error("the file says that it is compressed, but its compressed data are malformed")]
    Compressed,
    /// The modules in a combined file do not fill it.
    #[error("the file says that it holds several modules, but they are not whole")]
    Combined,
    /// The CRC-32 at the end differs from that of the bytes before it.
    #[error("the file is damaged: its CRC is {stored:08x}, its bytes give {computed:08x}")]
    Crc {
        /// As written in the file.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// The SHA-256 in the suffix differs from that of the bytes before it.
    #[error("the file is damaged: the SHA-256 in it is not that of its bytes")]
    Hash,
    /// Not an application.
    #[error("product firmware is an application, and the file is a {function}")]
    NoApplication {
        /// What it is.
        function: Function,
    },
    /// No header of a known platform anywhere.
    #[error("the file is no firmware binary: it has no module header of a known platform")]
    NoHeader,
    /// It names no product.
    #[error(
        "the file names no product: compile it with PRODUCT_VERSION(n), and below Device OS 4 with PRODUCT_ID(n)"
    )]
    NoProduct,
    /// A module that is not sent to devices.
    #[error("modules of function {function} cannot be sent to a device")]
    NotFlashable {
        /// The number in the file.
        function: u8,
    },
    /// The suffix tells a size that cannot be.
    #[error("the file is damaged: the suffix before its CRC is malformed")]
    Suffix,
    /// More than a device, or this server, takes.
    #[error("the file has {bytes} bytes; at most {max} are taken")]
    TooLarge {
        /// Size of the file.
        bytes: usize,
        /// The largest size taken.
        max: usize,
    },
    /// Less than the smallest binary.
    #[error("the file has {bytes} bytes, too few for a firmware binary")]
    TooShort {
        /// Size of the file.
        bytes: usize,
    },
    /// Another size than the header says.
    #[error(
        "the file has {bytes} bytes, but its header says {header}: it is truncated or not a module alone"
    )]
    WrongSize {
        /// Size of the file.
        bytes: usize,
        /// What the header says.
        header: u64,
    },
    /// For other devices.
    #[error("the file is for {}, and the device is {}", file.name(), device.name())]
    WrongPlatform {
        /// In the file.
        file: Platform,
        /// The device's.
        device: Platform,
    },
    /// For another product.
    #[error("the file is for product {file}, not for product {product}")]
    WrongProduct {
        /// In the file.
        file: ProductId,
        /// Where it was sent.
        product: ProductId,
    },
    /// Another version than told.
    #[error("the file is version {file} of the product, not version {asked}")]
    WrongVersion {
        /// In the file.
        file: u16,
        /// As told with it.
        asked: u16,
    },
}
