//! Event streams: who sees what, and what happens to slow readers.

use std::sync::Arc;
use std::time::Duration;

use model::{
    AccountId, DeviceId, Event, EventData, EventId, EventName, Origin, ProductId, Timestamp,
};
use node::{EventHub, StreamBound, StreamFilter, StreamItem};

const OURS: AccountId = AccountId(1);
const A: DeviceId = DeviceId([0xA; 12]);
const B: DeviceId = DeviceId([0xB; 12]);

fn event(id: u64, account: AccountId, origin: Origin, name: &str) -> Arc<Event> {
    Arc::new(Event {
        id: EventId(id),
        account,
        origin,
        product: matches!(origin, Origin::Device(A)).then_some(ProductId(7)),
        name: EventName::parse(name.as_bytes()).unwrap(),
        data: Some(EventData { format: 0, bytes: vec![b'x'; 100].into() }),
        ttl_s: 60,
        published_at: Timestamp(0),
    })
}

fn ids(item: &StreamItem) -> Vec<u64> {
    match item {
        StreamItem::Events(events) => events.iter().map(|event| event.id.0).collect(),
        other => panic!("events expected, got {other:?}"),
    }
}

fn seen_with(filter: StreamFilter) -> Vec<u64> {
    let hub = EventHub::new();
    let mut stream = hub.subscribe(filter, StreamBound::default());
    hub.push(&[
        event(1, OURS, Origin::Device(A), "temp"),
        event(2, AccountId(2), Origin::Device(A), "temp"),
        event(3, OURS, Origin::Device(B), "temp/in"),
        event(4, OURS, Origin::Api, "door"),
    ]);
    stream.take().map(|item| ids(&item)).unwrap_or_default()
}

#[test]
fn a_stream_shows_the_events_of_its_account_device_product_and_prefix() {
    let all = StreamFilter::account(OURS);
    assert_eq!(seen_with(all.clone()), [1, 3, 4]);
    assert_eq!(seen_with(StreamFilter { device: Some(A), ..all.clone() }), [1]);
    assert_eq!(seen_with(StreamFilter { product: Some(ProductId(7)), ..all.clone() }), [1]);
    assert_eq!(seen_with(StreamFilter { prefix: "temp".into(), ..all.clone() }), [1, 3]);
    let narrow = StreamFilter { device: Some(B), prefix: "temp/".into(), ..all.clone() };
    assert_eq!(seen_with(narrow), [3]);
    assert_eq!(seen_with(StreamFilter { prefix: "Temp".into(), ..all }), [0; 0]);
}

#[test]
fn a_slow_reader_misses_the_newest_events_and_is_told_how_many_where_they_lack() {
    let hub = EventHub::new();
    let bound = StreamBound { events: 3, bytes: usize::MAX };
    let mut stream = hub.subscribe(StreamFilter::account(OURS), bound);
    let push = |from: u64, to: u64| {
        let batch: Vec<_> = (from..=to).map(|id| event(id, OURS, Origin::Api, "a")).collect();
        hub.push(&batch);
    };
    push(1, 5);
    push(6, 6);
    assert_eq!(ids(&stream.take().unwrap()), [1, 2, 3]);
    push(7, 8);
    assert_eq!(stream.take(), Some(StreamItem::Missed(3)));
    assert_eq!(ids(&stream.take().unwrap()), [7, 8]);
    assert_eq!(stream.take(), None);
    assert_eq!(hub.events_missed(), 3);
}

#[test]
fn the_bytes_that_wait_are_bounded_too() {
    let hub = EventHub::new();
    let bound = StreamBound { events: 100, bytes: 250 };
    let mut stream = hub.subscribe(StreamFilter::account(OURS), bound);
    hub.push(&(1..=5).map(|id| event(id, OURS, Origin::Api, "a")).collect::<Vec<_>>());
    assert_eq!(ids(&stream.take().unwrap()), [1, 2]);
    assert_eq!(stream.take(), Some(StreamItem::Missed(3)));
}

#[test]
fn a_dropped_stream_leaves_nothing_behind() {
    let hub = EventHub::new();
    let all = StreamFilter::account(OURS);
    let streams = [
        hub.subscribe(all.clone(), StreamBound::default()),
        hub.subscribe(StreamFilter { device: Some(A), ..all }, StreamBound::default()),
    ];
    assert_eq!(hub.streams_open(), 2);
    drop(streams);
    assert_eq!(hub.streams_open(), 0);
    hub.push(&[event(1, OURS, Origin::Device(A), "a")]);
}

#[tokio::test]
async fn a_reader_that_waits_is_woken_by_events_and_by_the_end() {
    let hub = EventHub::new();
    let mut stream = hub.subscribe(StreamFilter::account(OURS), StreamBound::default());
    let pusher = hub.clone();
    let task = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        pusher.push(&[event(9, OURS, Origin::Api, "a")]);
        tokio::time::sleep(Duration::from_millis(10)).await;
        pusher.close();
    });
    assert_eq!(ids(&stream.next().await), [9]);
    assert_eq!(stream.next().await, StreamItem::Closed);
    task.await.unwrap();
    let mut late = hub.subscribe(StreamFilter::account(OURS), StreamBound::default());
    assert_eq!(late.next().await, StreamItem::Closed);
}

/// More than are woken at once.
#[tokio::test]
async fn readers_that_are_woken_in_turns_get_what_came_meanwhile_in_one_piece() {
    let hub = EventHub::new();
    let waking = hub.clone();
    let task = tokio::spawn(async move { waking.wake_readers().await });
    tokio::task::yield_now().await;
    let all = StreamFilter::account(OURS);
    let readers = (0..200).map(|_| hub.subscribe(all.clone(), StreamBound::default()));
    let readers = readers.map(|mut stream| {
        tokio::spawn(async move { (ids(&stream.next().await), ids(&stream.next().await)) })
    });
    let readers: Vec<_> = readers.collect();
    tokio::task::yield_now().await;
    hub.push(&[event(1, OURS, Origin::Api, "a")]);
    hub.push(&[event(2, OURS, Origin::Api, "a")]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    hub.push(&[event(3, OURS, Origin::Api, "a")]);
    for reader in readers {
        assert_eq!(reader.await.expect("woken"), (vec![1, 2], vec![3]));
    }
    hub.close();
    task.await.expect("ended");
}
