//! Rolls the ledger up every hour: old sums of hours become sums of days and months.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Timestamp;
use store::{Kept, Store, StoreError};
use tracing::{info, warn};

use crate::clock;

const EACH: Duration = Duration::from_secs(3600);
/// So many times as long as a step takes, none is taken: others write meanwhile.
const REST_PER_STEP: u32 = 3;

/// Begins at once, because a server may have been stopped for long. Never returns.
pub(crate) async fn run(store: Arc<Store>, kept: Kept) {
    loop {
        match pass(&store, kept, clock::utc()).await {
            Ok(0) => {}
            Ok(steps) => info!(steps, "the ledger is rolled up"),
            Err(error) => warn!(%error, "the ledger is not rolled up; tried again in an hour"),
        }
        tokio::time::sleep(EACH).await;
    }
}

/// Tells in how many steps something was moved.
async fn pass(store: &Store, kept: Kept, now: Timestamp) -> Result<u64, StoreError> {
    let mut roll_up = store.roll_up(kept, now).await?;
    let mut steps = 0;
    loop {
        let begun = Instant::now();
        match roll_up.step().await? {
            store::Step::Done => return Ok(steps),
            store::Step::Looked => {}
            store::Step::Moved => steps += 1,
        }
        tokio::time::sleep(begun.elapsed() * REST_PER_STEP).await;
    }
}
