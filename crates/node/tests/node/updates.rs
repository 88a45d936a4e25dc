//! Firmware files given by hand.

use crate::support::{World, connect, wait_for, while_alive};
use model::Refusal;
use node::{Flash, NodeConfig, Reason, Updates, UpdatesConfig, UpdatesError};
use sim::device::profile::Generation;
use sim::device::{Observation, UpdateStep};
use sim::firmware::Binary;
use store::FileHash;

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_flash_leaves_the_file_that_another_one_is_sending() {
    let mut world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let (store, handle) = (server.store.clone(), server.handle.clone());
    let started = Updates::start(store.clone(), handle, UpdatesConfig::default()).await;
    let updates = started.unwrap();
    let mut live = world.device(&server, Generation::Os6).await;
    let device = connect(&mut live);
    let files = [60 << 10, 80 << 10].map(|bytes| Binary::application(12, bytes).build());
    let [sent, other] = files.each_ref().map(|file| FileHash::of(file));
    let flash = |file: &[u8]| {
        let flash = Flash { file: file.to_vec().into(), reason: Reason::Flash, forced: false };
        let updates = updates.clone();
        async move { updates.flash(device, flash).await }
    };
    while_alive(&mut live, flash(&files[0])).await.unwrap();
    for file in &files {
        let refused = while_alive(&mut live, flash(file)).await;
        assert!(
            matches!(refused, Err(UpdatesError::Refused(Refusal::UpdateRunning))),
            "{refused:?}"
        );
    }
    assert!(store.files().get(sent).await.unwrap().is_some());
    assert!(store.files().get(other).await.unwrap().is_none());
    let is_begun =
        |seen: &Observation| matches!(seen, Observation::Update(UpdateStep::Begun { .. }));
    if !live.observations().iter().any(is_begun) {
        wait_for(&mut live, is_begun);
    }
    updates.stop();
    server.stop().await;
}
