//! `/health` when something of the server has failed.

use serde_json::Value;

use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_the_background_that_panics_is_told_by_name() {
    let world = World::new().await;
    let well = world.ask("GET", "/health", "", Value::Null).await.ok();
    assert_eq!(well["status"], "ok");
    let task = world.handle.spawn("roll-up", async { panic!("on purpose") });
    task.await.expect("the panic ends in the task");
    let told = world.ask("GET", "/health", "", Value::Null).await.refused(503);
    assert_eq!(told["status"], "degraded");
    assert_eq!(told["error"], "roll-up failed: restart the server");
}
