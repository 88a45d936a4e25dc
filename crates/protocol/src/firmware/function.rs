//! What a module is to a device.

/// The function of a module (`ota.md` §5.2), as far as it can be sent to a device. Its discriminant is
/// the number in the file and on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// Starts the device.
    Bootloader = 2,
    /// System and application in one (Core).
    Monolithic = 3,
    /// A part of Device OS.
    SystemPart = 4,
    /// The application.
    UserPart = 5,
    /// Firmware of the network coprocessor.
    Ncp = 7,
    /// The radio's own software.
    RadioStack = 8,
    /// A file for the application.
    Asset = 9,
}

impl Function {
    /// The function of this number; absent for one that cannot be sent.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            2 => Self::Bootloader,
            3 => Self::Monolithic,
            4 => Self::SystemPart,
            5 => Self::UserPart,
            7 => Self::Ncp,
            8 => Self::RadioStack,
            9 => Self::Asset,
            _ => return None,
        })
    }

    /// The number in the file and on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Whether it is what a product is made of.
    pub fn is_application(self) -> bool {
        matches!(self, Self::UserPart | Self::Monolithic)
    }
}

impl std::fmt::Display for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bootloader => "bootloader",
            Self::Monolithic => "monolithic firmware",
            Self::SystemPart => "system part",
            Self::UserPart => "user part",
            Self::Ncp => "network coprocessor firmware",
            Self::RadioStack => "radio stack",
            Self::Asset => "asset",
        })
    }
}
