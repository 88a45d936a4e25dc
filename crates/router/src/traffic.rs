//! Bytes over the carrier (`metering/rules.md` §4).

use std::collections::VecDeque;

use metering::{Payer, carried};
use model::journal::Entry;
use model::{Bearer, DeviceId, Now, Traffic};

use crate::device::Device;
use crate::shard::Shard;

/// Devices that left this shard a moment ago: the last bytes of their connections are still to come.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    devices: VecDeque<(Payer, Bearer)>,
}

/// They come with the next turn of work; of devices beyond this number they are lost.
const DEPARTED_MAX: usize = 256;

impl Departed {
    fn push(&mut self, payer: Payer, bearer: Bearer) {
        if self.devices.len() == DEPARTED_MAX {
            self.devices.pop_front();
        }
        self.devices.push_back((payer, bearer));
    }

    fn find(&self, device: DeviceId) -> Option<(Payer, Bearer)> {
        self.devices.iter().rev().find(|(payer, _)| payer.device == device).copied()
    }
}

impl Shard {
    /// Writes down what a device's connection carried; what nobody pays for is not.
    pub(crate) fn traffic(&mut self, now: Now, id: DeviceId, traffic: Traffic) {
        if !self.config.counts {
            return;
        }
        let known = self.devices.slot_of(id).and_then(|slot| self.devices.get(slot));
        let payer = match known {
            Some(device) => device.payer().map(|payer| (payer, self.bearer_of(device))),
            None => self.departed.find(id),
        };
        if let Some((payer, bearer)) = payer {
            self.record(Entry::Traffic(carried(payer, bearer, traffic, now.utc)), None);
        }
    }

    /// How a device is connected to the internet.
    pub(crate) fn bearer_of(&self, device: &Device) -> Bearer {
        self.config.platforms.bearer(device.facts.platform, device.row.has_modem)
    }

    /// A device leaves this shard.
    pub(crate) fn departs(&mut self, device: &Device) {
        if let Some(payer) = device.payer() {
            let bearer = self.bearer_of(device);
            self.departed.push(payer, bearer);
        }
    }
}
