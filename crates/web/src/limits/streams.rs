//! How many event streams each address has open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The open streams by address.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenStreams(Arc<Mutex<HashMap<IpAddr, u32>>>);

/// One open stream; dropping it closes it.
#[derive(Debug)]
pub(crate) struct OpenStream {
    streams: OpenStreams,
    address: IpAddr,
}

impl OpenStreams {
    /// Opens a stream, unless the address has `max` of them.
    pub(crate) fn open(&self, address: IpAddr, max: u32) -> Option<OpenStream> {
        let mut by_address = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_address.entry(address).or_default();
        if *open >= max {
            return None;
        }
        *open += 1;
        drop(by_address);
        Some(OpenStream { streams: self.clone(), address })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut by_address = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = by_address.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_stream_frees_its_place() {
        let streams = OpenStreams::default();
        let address = IpAddr::from([127, 0, 0, 1]);
        let first = streams.open(address, 1).expect("a place");
        assert!(streams.open(address, 1).is_none());
        drop(first);
        assert!(streams.open(address, 1).is_some());
    }
}
