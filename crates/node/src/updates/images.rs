//! Firmware files in memory: each once, however many devices get it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use model::update::Expected;
use model::{Image, ProductId};
use protocol::firmware::Firmware;
use store::{FileHash, Store, StoreError};

/// A file that was read and checked.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) image: Arc<Image>,
    pub(super) expected: Expected,
    /// Which version of which product it is; absent: of none.
    pub(super) version_of: Option<(ProductId, u16)>,
}

/// Those that are in use.
#[derive(Debug, Default)]
pub(super) struct Images {
    by_hash: BTreeMap<FileHash, Weak<Loaded>>,
}

impl Images {
    /// A file of the store.
    pub(super) async fn get(
        &mut self,
        store: &Store,
        hash: FileHash,
    ) -> Result<Arc<Loaded>, StoreError> {
        if let Some(loaded) = self.by_hash.get(&hash).and_then(Weak::upgrade) {
            return Ok(loaded);
        }
        let bytes = store.files().get(hash).await?.ok_or(StoreError::Damaged("firmware file"))?;
        let firmware = Firmware::read(&bytes).map_err(|_| StoreError::Damaged("firmware file"))?;
        Ok(self.add(hash, &bytes, &firmware))
    }

    /// A file whose bytes are here; the one in memory, if it is there.
    pub(super) fn add(
        &mut self,
        hash: FileHash,
        bytes: &Bytes,
        firmware: &Firmware,
    ) -> Arc<Loaded> {
        if let Some(loaded) = self.by_hash.get(&hash).and_then(Weak::upgrade) {
            return loaded;
        }
        let loaded = Arc::new(loaded(hash, bytes, firmware));
        self.by_hash.retain(|_, other| other.strong_count() > 0);
        self.by_hash.insert(hash, Arc::downgrade(&loaded));
        loaded
    }
}

fn loaded(hash: FileHash, bytes: &Bytes, firmware: &Firmware) -> Loaded {
    let is_application = firmware.function.is_application();
    let expected = Expected {
        sha256: is_application.then_some(firmware.module_hash),
        version: firmware.version,
        product_version: firmware.product_version,
    };
    let image = Image {
        sha256: hash.0,
        function: firmware.function.number(),
        index: firmware.index,
        bytes: Arc::from(&bytes[..]),
    };
    let version_of = firmware.product.zip(firmware.product_version);
    Loaded { image: Arc::new(image), expected, version_of }
}
