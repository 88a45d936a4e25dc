//! What shards want of the store: claims, and keys bound by trust on first use. Rare, so one after
//! the other.

use std::sync::Arc;

use model::{DeviceId, DeviceRow, KeyHash, LinkId};
use protocol::endpoint::NeedAnswer;
use router::{ClaimOutcome, Input};
use secure::keys::PublicKey;
use store::{DeviceKey, NewDevice, Redeemed, StoreError};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::mail::Notice;
use crate::shared::Shared;
use crate::{BillingError, DevicesPermit};

/// Errands that wait. Full: a claim code is not looked up, a key is not bound.
pub(crate) const ERRANDS_MAX: usize = 1024;
/// Devices bound by trust on first use that nobody claimed.
const FIRST_USE_MAX: u64 = 1000;

/// One of them, and which shard waits.
#[derive(Debug)]
pub(crate) enum Errand {
    /// May this key, which nobody registered, be this device's?
    Bind { shard: u8, link: LinkId, device: DeviceId, public_key: Box<[u8]> },
    /// A device told a claim code.
    Claim { shard: u8, device: DeviceId, code: Box<str> },
}

/// Runs errands until nobody can send any.
pub(crate) async fn run(mut errands: mpsc::Receiver<Errand>, shared: Arc<Shared>) {
    while let Some(errand) = errands.recv().await {
        shared.run_errand(errand).await;
    }
}

impl Errand {
    /// What the shard is told when the errand cannot be run.
    pub(crate) fn refused(self, shared: &Shared) -> Notice {
        match self {
            Self::Bind { link, .. } => Notice::Answer(NeedAnswer::Bind { link, bound: false }),
            Self::Claim { device, .. } => {
                let row = shared.registry.row(device);
                let outcome = ClaimOutcome::NotLookedUp;
                Notice::Input(Input::Claimed { device, outcome, row })
            }
        }
    }
}

impl Shared {
    async fn run_errand(&self, errand: Errand) {
        match errand {
            Errand::Bind { shard, link, device, public_key } => {
                let bound = match PublicKey::from_spki(&public_key) {
                    Ok(key) => self.bind(device, &key).await,
                    Err(_) => false,
                };
                self.tell(shard, Notice::Answer(NeedAnswer::Bind { link, bound }));
            }
            Errand::Claim { shard, device, code } => {
                let outcome = self.claim(device, &code).await;
                let _turn = self.changing.lock().await;
                let row = self.refresh(device).await;
                // The device may have gone to another shard meanwhile.
                let shard = self.registry.session_shard(device).unwrap_or(shard);
                self.tell(shard, Notice::Input(Input::Claimed { device, outcome, row }));
            }
        }
    }

    fn tell(&self, shard: u8, notice: Notice) {
        if let Some(shard) = self.shard(shard) {
            shard.notify(notice);
        }
    }

    async fn claim(&self, device: DeviceId, code: &str) -> ClaimOutcome {
        let _permit = match self.claim_permit(device, code).await {
            Ok(permit) => permit,
            Err(error) => {
                warn!(%device, %error, "claim refused");
                return of_refusal(&error);
            }
        };
        match self.store.claims().redeem(code, device, self.utc()).await {
            Ok(Redeemed::Claimed(account)) => {
                info!(%device, %account, "device claimed");
                ClaimOutcome::Claimed
            }
            Ok(Redeemed::OwnedByOther { owner, wanted_by }) => {
                info!(%device, %owner, %wanted_by, "claim of a device that has another owner");
                ClaimOutcome::OwnedByOther
            }
            Ok(Redeemed::Unknown) => ClaimOutcome::Unknown,
            Err(error) => {
                warn!(%device, %error, "claim code not looked up");
                ClaimOutcome::NotLookedUp
            }
        }
    }

    /// Leave of the plan of whoever made the code; a device that has an owner needs none.
    async fn claim_permit(
        &self,
        device: DeviceId,
        code: &str,
    ) -> Result<Option<DevicesPermit<'_>>, BillingError> {
        let owned = self.registry.row(device).is_some_and(|row| row.account.is_some());
        let maker = self.store.claims().maker(code, self.utc()).await?;
        let Some(maker) = maker.filter(|_| !owned) else { return Ok(None) };
        self.billing.devices_permit(maker, 1, self.utc()).await.map(Some)
    }

    /// The device's row as the store has it, or as it was if the store cannot be read. To be called
    /// by whose turn it is to change rows.
    async fn refresh(&self, device: DeviceId) -> Option<DeviceRow> {
        match self.store.devices().registered(device).await {
            Ok(stored) => self.registry.refresh(device, stored).row,
            Err(error) => {
                warn!(%device, %error, "device not read again");
                self.registry.row(device)
            }
        }
    }

    /// Whether `key` is the device's from now on: it had none, and there is room for strangers.
    pub(crate) async fn bind(&self, device: DeviceId, key: &PublicKey) -> bool {
        let bound = self.try_bind(device, key).await;
        if let Err(error) = &bound {
            warn!(%device, %error, "key of a new device not stored");
        }
        let bound = bound.unwrap_or(false);
        if bound {
            let _turn = self.changing.lock().await;
            self.refresh(device).await;
            info!(%device, key = %KeyHash(key.hash()), "key bound on first use");
        }
        bound
    }

    async fn try_bind(&self, device: DeviceId, key: &PublicKey) -> Result<bool, StoreError> {
        if self.registry.key(device).is_some() {
            return Ok(false);
        }
        let devices = self.store.devices();
        if devices.count_first_use().await? >= FIRST_USE_MAX {
            return Ok(false);
        }
        let key = DeviceKey { hash: KeyHash(key.hash()), spki: key.spki().to_vec() };
        match devices.get(device).await? {
            Some(known) if known.key.is_some() => Ok(false),
            Some(_) => devices.set_key(device, &key, self.utc()).await,
            None => {
                let new = NewDevice {
                    id: device,
                    account: None,
                    product: None,
                    name: None,
                    platform: None,
                    key: Some(key),
                    first_use: true,
                };
                devices.insert(&new, self.utc()).await?;
                Ok(true)
            }
        }
    }
}

/// A code that the plan has no room for is used up; what the operator can mend is tried again.
fn of_refusal(why: &BillingError) -> ClaimOutcome {
    match why {
        BillingError::NoAccount(_) | BillingError::TooManyDevices { .. } => ClaimOutcome::Unknown,
        BillingError::Catalogue(_)
        | BillingError::CatalogueGone { .. }
        | BillingError::Store(_) => ClaimOutcome::NotLookedUp,
    }
}

#[cfg(test)]
mod tests {
    use secure::keys::ServerKeys;
    use store::Store;

    use super::*;
    use crate::{Node, NodeConfig};

    #[tokio::test]
    async fn a_claim_code_that_cannot_be_looked_up_is_not_an_unknown_one() {
        let store = Arc::new(Store::in_memory().await.unwrap());
        let keys = ServerKeys::generate().unwrap();
        let (node, _handle) =
            Node::start(NodeConfig::loopback(), Arc::clone(&store), keys).await.unwrap();
        let device = DeviceId([1; 12]);
        assert_eq!(node.shared.claim(device, "code").await, ClaimOutcome::Unknown);
        store.close().await.unwrap();
        assert_eq!(node.shared.claim(device, "code").await, ClaimOutcome::NotLookedUp);

        let errand = Errand::Claim { shard: 0, device, code: "code".into() };
        let Notice::Input(Input::Claimed { outcome, .. }) = errand.refused(&node.shared) else {
            panic!("the shard is told what became of the claim");
        };
        assert_eq!(outcome, ClaimOutcome::NotLookedUp, "the queue was full");
        node.stop().await;
    }
}
