//! Who pays for a device, and whether the payer's plan has room for it.

use model::AccountId;
use node::DevicesPermit;
use store::Device;

use crate::error::ApiError;
use crate::state::{State, utc_now};

/// The owner of the device's product, else its own.
pub(crate) async fn payer_of(
    state: &State,
    device: &Device,
) -> Result<Option<AccountId>, ApiError> {
    let Some(product) = device.product else { return Ok(device.account) };
    let product = state.store.products().get(product).await?;
    Ok(product.map(|product| product.account).or(device.account))
}

/// Leave of the plan of who pays for a device afterwards: hold it until that is stored. A device takes no
/// more room of who pays for it already.
pub(crate) async fn permit(
    state: &State,
    before: Option<AccountId>,
    after: AccountId,
) -> Result<DevicesPermit<'_>, ApiError> {
    let more = u64::from(before != Some(after));
    Ok(state.handle.billing().devices_permit(after, more, utc_now()).await?)
}
