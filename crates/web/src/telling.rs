//! What was written of devices is told to their shards, even if the client goes away between the two:
//! the server drops what it did for a connection that ends.

use std::panic::resume_unwind;

use model::{DeviceId, Refusal};

use crate::error::ApiError;
use crate::state::State;

/// Does this to its end, even if nobody waits for it any more.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::spawn(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        Err(Err(_stopped)) => Err(Refusal::Unavailable.into()),
    }
}

/// Tells the shards of all these devices, also of those behind one of which they could not be told.
pub(crate) async fn tell_devices(state: &State, devices: Vec<DeviceId>) -> Result<(), ApiError> {
    let mut told = Ok(());
    for device in devices {
        told = told.and(state.handle.device_changed(device).await);
    }
    Ok(told?)
}
