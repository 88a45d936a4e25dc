//! The database's disk.

use crate::Rig;
use crate::faults::{EIO, ENOSPC, Fault};
use crate::overwrite;
use crate::support::{http, run};

#[test]
fn a_full_disk_of_the_database_is_told_and_costs_no_acknowledged_publish() {
    let mut rig = Rig::new();
    let tables = rig.path("store.sqlite");
    for error in [ENOSPC, EIO] {
        rig.faults.set([Fault::of_writes(error, &tables)]);
        rig.is_acknowledged();
        rig.await_complaint("the database refuses");
        rig.keeps_complaining();
        let products = format!("{}/v1/user/products", rig.ports.url());
        let (status, told) = http("POST", &products, &rig.token, "name=Full&platform_id=12");
        assert_eq!(status, 503, "{told}");
        rig.is_acknowledged();
        rig.faults.set([]);
        rig.await_health();
    }
    rig.faults.set([Fault::of_writes(ENOSPC, &tables)]);
    rig.is_acknowledged();
    rig.kill();
    let told = rig.refuses_to_start();
    assert!(told.contains("If the disk is full"), "{told}");
    rig.holds_what_was_acknowledged();
}

/// Each page alone: the server starts and serves, or says what to do; `check` finds it.
#[test]
fn a_corrupt_page_of_the_database_is_found_and_never_taken_for_data() {
    let mut rig = Rig::new();
    rig.is_acknowledged();
    rig.server.take().expect("it runs").stop();
    let tables = rig.path("store.sqlite");
    let whole = std::fs::read(&tables).expect("read");
    let page_bytes = 4096;
    let used: Vec<_> = (1..whole.len() / page_bytes)
        .filter(|page| whole[page * page_bytes..][..8].iter().any(|byte| *byte != 0))
        .collect();
    for page in [used[0], used[used.len() / 2], used[used.len() - 1]] {
        overwrite(&tables, (page * page_bytes) as u64, &[0x5a; 4096]);
        let checked = run(&["check", "--data", rig.folder.data()], "");
        let told = String::from_utf8_lossy(&checked.stdout);
        assert!(!checked.status.success() && told.contains("store.sqlite"), "{page}: {told}");
        std::fs::write(&tables, &whole).expect("written");
    }
    overwrite(&tables, page_bytes as u64, &vec![0x5a; whole.len() - page_bytes]);
    let told = rig.refuses_to_start();
    assert!(told.contains("restore the data folder from a backup"), "{told}");
    std::fs::write(&tables, &whole).expect("written");
    rig.holds_what_was_acknowledged();
}
