//! What the batteries share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses the parts it needs")]

use std::sync::Arc;

use model::{AccountId, Timestamp};
use store::Store;

/// When the tests take place.
pub const NOW: Timestamp = Timestamp(1_769_862_896_789);

/// Runs a test on a store in a folder and on one in memory.
pub async fn on_each<F: Future<Output = ()>>(test: impl Fn(Arc<Store>) -> F) {
    let folder = tempfile::tempdir().expect("a folder");
    test(Arc::new(Store::open(folder.path()).await.expect("opens"))).await;
    test(Arc::new(Store::in_memory().await.expect("opens"))).await;
}

/// A new account of this address.
pub async fn account(store: &Store, email: &str) -> AccountId {
    store.accounts().create(email, "hash", NOW).await.expect("new").id
}
