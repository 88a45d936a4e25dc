//! Which devices are on a carrier, by their platform numbers (`metering/rules.md` §4).

use std::collections::BTreeSet;

use model::journal::Carried;
use model::{Bearer, Platform, Timestamp, Traffic};
use serde::Deserialize;

use crate::Payer;

/// The platforms whose bytes are limited. Those that are not named are Wi-Fi.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platforms {
    /// Those that always have a modem, Trackers included.
    cellular: BTreeSet<u16>,
    /// Those that have one if their Describe tells its IMEI.
    cellular_with_modem: BTreeSet<u16>,
    /// Those whose bytes have an allowance of their own.
    tracker: BTreeSet<u16>,
}

impl Platforms {
    /// How a device of this platform is connected; `has_modem` if its Describe told an IMEI.
    pub fn bearer(&self, platform: Platform, has_modem: bool) -> Bearer {
        let Platform(number) = platform;
        let by_modem = has_modem && self.cellular_with_modem.contains(&number);
        match self.cellular.contains(&number) || by_modem {
            true if self.tracker.contains(&number) => Bearer::Tracker,
            true => Bearer::Cellular,
            false => Bearer::Wifi,
        }
    }

    /// Whether a device of this platform is on a carrier; `has_modem` as above.
    pub fn is_cellular(&self, platform: Platform, has_modem: bool) -> bool {
        self.bearer(platform, has_modem) != Bearer::Wifi
    }

    /// Whether a device of this platform is a Tracker, whose locations are stored.
    pub fn is_tracker(&self, platform: Platform) -> bool {
        self.tracker.contains(&platform.0)
    }

    /// A platform that is a Tracker and not cellular would be limited by nothing.
    pub(crate) fn tracker_without_modem(&self) -> Option<u16> {
        self.tracker.difference(&self.cellular).next().copied()
    }
}

/// What is written down of a device's bytes.
pub fn carried(payer: Payer, bearer: Bearer, traffic: Traffic, at: Timestamp) -> Carried {
    let Payer { account, product, device } = payer;
    Carried { account, device, product, bearer, traffic, at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogues;

    #[test]
    fn the_platforms_of_the_rules_are_cellular_and_one_only_with_a_modem() {
        let shipped = Catalogues::shipped().expect("the shipped file");
        let bearer = |number, modem| shipped.platforms().bearer(Platform(number), modem);
        for number in [10, 13, 23, 25, 37] {
            assert_eq!(bearer(number, false), Bearer::Cellular, "{number}");
        }
        assert_eq!([26, 28].map(|number| bearer(number, false)), [Bearer::Tracker; 2]);
        assert_eq!([false, true].map(|modem| bearer(35, modem)), [Bearer::Wifi, Bearer::Cellular]);
        for number in [0, 6, 12, 15, 32] {
            assert_eq!(bearer(number, true), Bearer::Wifi, "{number}");
        }
    }
}
