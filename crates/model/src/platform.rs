//! What is known of a device by its platform number.

use serde::{Deserialize, Serialize};

/// A platform id as devices send it in Hello: 6 is a Photon, 13 a Boron.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform(pub u16);

impl Platform {
    /// Whether the number is that of a platform somebody named.
    pub fn is_known(self) -> bool {
        matches!(self.0, 0 | 3 | 6 | 8 | 10 | 12..=15 | 22..=26 | 28 | 32 | 35 | 37 | 38)
    }

    /// The vendor's short name, or `platform N` for a number nobody named.
    pub fn name(self) -> String {
        let known = match self.0 {
            0 => "core",
            3 => "gcc",
            6 => "photon",
            8 => "p1",
            10 => "electron",
            12 => "argon",
            13 => "boron",
            14 => "xenon",
            15 => "esomx",
            22 => "asom",
            23 => "bsom",
            24 => "xsom",
            25 => "b5som",
            26 => "tracker",
            28 => "trackerm",
            32 => "p2",
            35 => "msom",
            37 => "electron2",
            38 => "sulu",
            other => return format!("platform {other}"),
        };
        known.to_owned()
    }
}
