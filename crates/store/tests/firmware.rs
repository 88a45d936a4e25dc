//! Firmware files, products' firmware, groups, releases and updates, on every kind of store.

mod support;

use model::{AccountId, DeviceId, ProductId, Timestamp};
use store::{
    Assignment, AssignmentChange, FileHash, Group, GroupChange, NewDevice, Product,
    ProductFirmware, Release, Store, StoreError, StoredUpdate, SystemModule,
};
use support::{NOW, on_each};

const PRODUCT: ProductId = ProductId(12_345);

async fn product(store: &Store) -> AccountId {
    let account = store.accounts().create("a@x", "hash", NOW).await.expect("new").id;
    let product = Product {
        id: PRODUCT,
        account,
        name: "P".into(),
        slug: "p".into(),
        description: String::new(),
        platform: 12,
        location_opt_in: false,
        created_at: NOW,
    };
    store.products().insert(&product).await.expect("new");
    account
}

async fn device(store: &Store, number: u8) -> DeviceId {
    let id = DeviceId([number; 12]);
    let new = NewDevice {
        id,
        account: None,
        product: Some(PRODUCT),
        name: None,
        platform: Some(12),
        key: None,
        first_use: false,
    };
    store.devices().insert(&new, NOW).await.expect("new");
    id
}

fn firmware(version: u16, file: FileHash) -> ProductFirmware {
    ProductFirmware {
        product: PRODUCT,
        version,
        title: "T".into(),
        description: "D".into(),
        name: "f.bin".into(),
        mandatory: false,
        file,
        bytes: 3,
        uploaded_by: AccountId(1),
        uploaded_at: NOW,
        updated_at: NOW,
    }
}

fn release(version: u16, groups: &[&str]) -> Release {
    Release {
        id: 0,
        product: PRODUCT,
        version,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        made_by: AccountId(1),
        made_at: NOW,
        ended_at: None,
        state: "{}".into(),
    }
}

#[tokio::test]
async fn a_file_is_found_by_the_hash_of_its_bytes_until_it_is_removed() {
    on_each(|store| async move {
        let hash = store.files().put("abc".into()).await.expect("kept");
        assert_eq!(hash, FileHash::of(b"abc"));
        assert_eq!(store.files().put("abc".into()).await, Ok(hash));
        assert_eq!(store.files().get(hash).await, Ok(Some("abc".into())));
        assert_eq!(store.files().get(FileHash::of(b"x")).await, Ok(None));
        store.files().delete(hash).await.expect("removed");
        assert_eq!(store.files().get(hash).await, Ok(None));
        store.files().delete(hash).await.expect("removed already");
    })
    .await;
}

#[tokio::test]
async fn a_file_whose_bytes_were_changed_is_not_given_to_anybody() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).await.expect("opens");
    let hash = store.files().put("abc".into()).await.expect("kept");
    let name = hash.to_string();
    let path = folder.path().join("firmware").join(&name[..2]).join(format!("{name}.bin"));
    std::fs::write(path, "abd").expect("changed");
    assert_eq!(store.files().get(hash).await, Err(StoreError::Damaged("firmware file")));
}

#[tokio::test]
async fn firmware_of_a_product_is_kept_by_version() {
    on_each(|store| async move {
        product(&store).await;
        let (one, two) = (firmware(1, FileHash([1; 32])), firmware(2, FileHash([2; 32])));
        for each in [&one, &two] {
            store.firmware().insert(each).await.expect("new");
        }
        assert_eq!(store.firmware().insert(&one).await, Err(StoreError::Taken));
        assert_eq!(store.firmware().list(PRODUCT).await, Ok(vec![two.clone(), one]));
        store.firmware().describe(PRODUCT, 1, "New", "", Timestamp(9)).await.expect("changed");
        let read = store.firmware().get(PRODUCT, 1).await.expect("read").expect("there");
        assert_eq!((read.title.as_str(), read.updated_at), ("New", Timestamp(9)));
        store.firmware().delete(PRODUCT, 1).await.expect("removed");
        assert_eq!(store.firmware().delete(PRODUCT, 1).await, Err(StoreError::NotFound));
        assert_eq!(store.firmware().is_used(two.file).await, Ok(true));
        assert_eq!(store.firmware().is_used(FileHash([1; 32])).await, Ok(false));
        assert_eq!(store.firmware().files().await, Ok(vec![FileHash([2; 32])]));
        store.products().delete(PRODUCT).await.expect("removed");
        assert_eq!(store.firmware().list(PRODUCT).await, Ok(vec![]));
    })
    .await;
}

#[tokio::test]
async fn a_system_module_is_kept_with_what_it_needs() {
    on_each(|store| async move {
        let module = SystemModule {
            file: FileHash([7; 32]),
            platform: 12,
            function: 4,
            index: 1,
            version: 6200,
            dependencies: vec![(2, 0, 400)],
            name: "system.bin".into(),
            bytes: 5,
            added_at: NOW,
        };
        for _ in 0..2 {
            store.firmware().add_module(&module).await.expect("kept");
        }
        assert_eq!(store.firmware().modules().await, Ok(vec![module.clone()]));
        assert_eq!(store.firmware().files().await, Ok(vec![module.file]));
        store.firmware().delete_module(module.file).await.expect("removed");
        assert_eq!(store.firmware().modules().await, Ok(vec![]));
    })
    .await;
}

#[tokio::test]
async fn what_is_assigned_to_a_device_follows_its_groups_and_goes_with_its_product() {
    on_each(|store| async move {
        product(&store).await;
        let (a, b) = (device(&store, 1).await, device(&store, 2).await);
        let group = |name: &str| Group {
            product: PRODUCT,
            name: name.into(),
            description: String::new(),
            color: String::new(),
            created_at: NOW,
        };
        let assignments = store.assignments();
        assignments.insert_group(&group("beta")).await.expect("new");
        assert_eq!(assignments.insert_group(&group("beta")).await, Err(StoreError::Taken));
        let mut assigned =
            Assignment { groups: vec!["beta".into()], desired: Some(3), development: true };
        let change = AssignmentChange {
            groups: Some(GroupChange::Replace(assigned.groups.clone())),
            desired: Some(assigned.desired),
            development: Some(true),
        };
        let told = assignments.assign(PRODUCT, &[a], &change).await;
        assert_eq!(told, Ok(vec![(a, assigned.clone())]));
        assert_eq!(assignments.assignments(&[a, b]).await, Ok(vec![(a, assigned.clone())]));
        assignments.update_group("beta", &group("early")).await.expect("renamed");
        assigned.groups = vec!["early".into()];
        let all = vec![(a, assigned.clone()), (b, Assignment::default())];
        assert_eq!(assignments.of_product(PRODUCT).await, Ok(all));
        assignments.delete_group(PRODUCT, "early").await.expect("removed");
        assigned.groups.clear();
        assert_eq!(assignments.assignments(&[a]).await, Ok(vec![(a, assigned)]));
        store.devices().set_product(a, Some(PRODUCT)).await.expect("stays");
        assert_eq!(assignments.assignments(&[a]).await.expect("read").len(), 1);
        store.devices().set_product(a, None).await.expect("leaves");
        assert_eq!(assignments.assignments(&[a]).await, Ok(vec![]));
    })
    .await;
}

#[tokio::test]
async fn groups_of_many_devices_change_all_or_none_and_nothing_else_does() {
    on_each(|store| async move {
        product(&store).await;
        let (a, b, stranger) =
            (device(&store, 1).await, device(&store, 2).await, DeviceId([9; 12]));
        let assign = |devices: Vec<DeviceId>, change: AssignmentChange| {
            let store = &store;
            async move { store.assignments().assign(PRODUCT, &devices, &change).await }
        };
        let groups = |change| AssignmentChange { groups: Some(change), ..Default::default() };
        let names = |range: std::ops::Range<u8>| -> Vec<String> {
            range.map(|number| format!("group-{number:02}")).collect()
        };
        let locked = AssignmentChange { desired: Some(Some(3)), ..Default::default() };
        assign(vec![a], locked).await.expect("locked");
        let told = assign(vec![b, stranger, a, b], groups(GroupChange::Add(names(0..2)))).await;
        let with = |desired| Assignment { groups: names(0..2), desired, development: false };
        let both = vec![(a, with(Some(3))), (b, with(None))];
        assert_eq!(told, Ok(both.clone()));
        assign(vec![b], groups(GroupChange::Add(names(2..20)))).await.expect("20 groups");
        let told = assign(vec![a, b], groups(GroupChange::Add(names(20..21)))).await;
        assert!(matches!(told, Err(StoreError::TooMany(_))), "{told:?}");
        assign(vec![b], groups(GroupChange::Remove(names(2..20)))).await.expect("two groups");
        assert_eq!(store.assignments().of_product(PRODUCT).await, Ok(both));
    })
    .await;
}

#[tokio::test]
async fn a_release_ends_those_whose_place_it_takes_and_remembers_its_devices() {
    on_each(|store| async move {
        product(&store).await;
        let releases = store.releases();
        let first = releases.insert(&release(1, &[]), &[]).await.expect("new");
        let second = releases.insert(&release(2, &["beta"]), &[]).await.expect("new");
        let third = releases.insert(&release(3, &[]), &[first]).await.expect("new");
        let in_force = releases.in_force().await.expect("a list");
        assert_eq!(in_force.iter().map(|one| one.id).collect::<Vec<_>>(), [second, third]);
        assert_eq!(in_force[0].groups, ["beta"]);
        let ended = releases.get(first).await.expect("read").expect("there");
        assert_eq!(ended.ended_at, Some(NOW));
        let (a, b) = (DeviceId([1; 12]), DeviceId([2; 12]));
        let states = |a_state: &str| vec![(a, a_state.to_owned()), (b, "x".to_owned())];
        releases.save(third, Some("halted"), &states("failed")).await.expect("saved");
        releases.save(third, None, &[(a, "updated".into())]).await.expect("saved");
        assert_eq!(releases.devices(third).await, Ok(states("updated")));
        assert_eq!(releases.list(PRODUCT, 1).await.expect("a list")[0].state, "halted");
        releases.end(&[second, third], Timestamp(5)).await.expect("ended");
        assert_eq!(releases.in_force().await, Ok(vec![]));
    })
    .await;
}

#[tokio::test]
async fn an_update_that_is_not_over_is_found_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).await.expect("opens");
    let update = |device: u8, id, is_open| StoredUpdate {
        device: DeviceId([device; 12]),
        id,
        file: FileHash([device; 32]),
        is_open,
        asked_at: NOW,
        body: "{}".into(),
    };
    for one in [update(1, 1, true), update(2, 2, true), update(1, 3, false)] {
        store.updates().put(std::slice::from_ref(&one)).await.expect("kept");
    }
    store.close().await.expect("closed");
    let store = Store::open(folder.path()).await.expect("opens");
    assert_eq!(store.updates().open().await, Ok(vec![update(2, 2, true)]));
    assert_eq!(store.updates().last_id().await, Ok(3));
    assert_eq!(store.firmware().is_used(FileHash([2; 32])).await, Ok(true));
    assert_eq!(store.firmware().is_used(FileHash([1; 32])).await, Ok(false));
    assert_eq!(store.firmware().files().await, Ok(vec![FileHash([2; 32])]));
}
