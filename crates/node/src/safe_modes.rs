//! Devices that say they are in safe mode, for whoever helps them out of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use model::{DeviceId, Event};
use tokio::sync::Notify;

use crate::shared::Shared;

/// Devices that wait for their reader; a further one is left out until it says it again.
const DEVICES_MAX: usize = 10_000;
/// The event by which a device's safe mode is shown on the streams.
const SAFE_MODE: &str = "spark/status/safe-mode";

/// Devices that nobody read yet.
#[derive(Debug, Default)]
pub(crate) struct SafeModeBoard {
    waiting: Mutex<BTreeSet<DeviceId>>,
    news: Notify,
}

impl SafeModeBoard {
    /// Notes the device of an event that tells its safe mode.
    pub(crate) fn look_at(&self, event: &Event) {
        if event.name.as_str() != SAFE_MODE {
            return;
        }
        let Some(device) = event.device() else { return };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < DEVICES_MAX {
            waiting.insert(device);
        }
        drop(waiting);
        self.news.notify_one();
    }

    fn take(&self) -> Vec<DeviceId> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting).into_iter().collect()
    }
}

/// The reader's end of the board.
#[derive(Clone)]
pub struct SafeModes {
    shared: Arc<Shared>,
}

impl SafeModes {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Waits for devices and takes all of them. Nothing is lost when the future is dropped.
    pub async fn next(&self) -> Vec<DeviceId> {
        loop {
            let devices = self.shared.safe_modes.take();
            if !devices.is_empty() {
                return devices;
            }
            self.shared.safe_modes.news.notified().await;
        }
    }
}

impl std::fmt::Debug for SafeModes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SafeModes").finish_non_exhaustive()
    }
}
