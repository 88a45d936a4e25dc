//! What survives what.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use model::event::Origin;
use model::journal::{Carried, Charge, Entry, MessageName, OperationKind};
use model::link::{Source, Transport};
use model::message::{Subscribe, SubscriptionContent};
use model::{
    AccountId, ApplicationDescription, Bearer, DescribePart, DeviceId, Event, EventData, EventId,
    EventName, EventPrefix, Hello, Metric, Platform, ProductId, SystemDescription, Timestamp,
    Traffic, VariableType,
};

use super::disk::{Disk, Memory, SegmentFile, held};
use super::frame::SEGMENT_HEADER_BYTES;
use super::log::Log;
use super::scan::scan;
use super::stored::{Stored, decode, encode, source_of};
use super::{Journal, window};
use crate::{AppendError, Missed, OpenError};

const NOW: Timestamp = Timestamp(1_769_862_896_789);

fn device(number: u8) -> DeviceId {
    DeviceId([0xe0, 0x0f, 0xce, 0x68, 0, 0, 0, 0, 0, 0, 0, number])
}

fn source(record: u64) -> Source {
    Source { record, message_id: 7, confirmable: true }
}

fn charge(operations: u32) -> Charge {
    Charge {
        account: AccountId(1),
        device: device(1),
        product: Some(ProductId(12_345)),
        kind: OperationKind::Publish,
        operations,
        bytes: 20,
        at: NOW,
    }
}

fn publish(text: &str) -> Entry {
    Entry::Publish {
        event: Arc::new(Event {
            id: EventId(0),
            account: AccountId(1),
            origin: Origin::Device(device(1)),
            product: None,
            name: EventName::parse(b"temp").expect("a name"),
            data: Some(EventData { format: 0, bytes: text.as_bytes().into() }),
            ttl_s: 60,
            published_at: NOW,
        }),
        source: Some(source(300)),
        charge: Some(charge(1)),
        point: Some(Charge { kind: OperationKind::StoredPoint, ..charge(1) }),
    }
}

fn session() -> Entry {
    Entry::Session {
        device: device(1),
        transport: Transport::Udp,
        snapshot: model::link::Snapshot::new([1, 2, 3].into()),
        peer: "[2001:db8::1]:5684".parse().expect("an address"),
        hello: Hello {
            product_id: 0xFFFF,
            product_version: 3,
            flags: model::hello::HelloFlags(0x20),
            platform: Platform(13),
            device_id: Some(device(1)),
            system: None,
        },
        full_handshake: true,
        source: source(1),
        at: NOW,
    }
}

fn every_kind() -> Vec<Entry> {
    let application = ApplicationDescription {
        functions: vec!["led".into()],
        variables: vec![("temp".into(), VariableType::Double)],
    };
    let describe = |part| Entry::Describe {
        device: device(1),
        part: Arc::new(part),
        source: Some(source(5)),
        at: NOW,
    };
    vec![
        Entry::Attempt { charge: charge(2), name: MessageName::Call("led".into()), attempt: 3 },
        Entry::Copy {
            source: source(301),
            charge: charge(1),
            name: MessageName::Call("temp".into()),
        },
        describe(DescribePart::Application(application)),
        describe(DescribePart::System(SystemDescription::default())),
        describe(DescribePart::Metrics(vec![Metric { id: 1, value: -3 }])),
        Entry::Forget { device: device(1) },
        Entry::Presence {
            device: device(1),
            online: true,
            peer: Some("192.0.2.1:40000".parse().expect("an address")),
            last_heard: NOW,
            record_seen: 300,
        },
        publish("23.5"),
        Entry::Reserve { device: device(1), record_limit: 2048 },
        session(),
        Entry::Subscribe {
            device: device(1),
            subscribe: Subscribe {
                prefix: EventPrefix::parse(b"te").expect("a prefix"),
                device: None,
                content: SubscriptionContent::Any,
            },
            source: source(2),
        },
        Entry::Traffic(Carried {
            account: AccountId(1),
            device: device(1),
            product: Some(ProductId(12_345)),
            bearer: Bearer::Tracker,
            traffic: Traffic { received: 300, sent: 70_000 },
            at: NOW,
        }),
    ]
}

fn open(disk: &Arc<Memory>) -> Result<Arc<Log>, OpenError> {
    Ok(Arc::new(scan(Arc::clone(disk) as Arc<dyn Disk>, 1)?))
}

fn writer(log: &Arc<Log>) -> Journal {
    Journal::new(Arc::clone(log), Arc::new(()))
}

/// The data of all events in a log, with their ids.
fn events(log: &Log) -> Vec<(u64, String)> {
    let replay =
        window::replay(log, AccountId(1), EventId(0), NOW, |_| true, usize::MAX).expect("readable");
    let text = |event: &Event| {
        String::from_utf8(event.data.clone().expect("data").bytes.into_vec()).expect("text")
    };
    replay.events.iter().map(|event| (event.id.0, text(event))).collect()
}

fn bytes_of(disk: &Memory, first: u64) -> Vec<u8> {
    let file = disk.open(first).expect("there");
    let mut bytes = vec![0; usize::try_from(file.bytes().expect("readable")).expect("small")];
    let count = file.read_at(&mut bytes, 0).expect("readable");
    assert_eq!(count, bytes.len());
    bytes
}

fn disk_of(segments: &[(u64, &[u8])]) -> Arc<Memory> {
    let disk = Arc::new(Memory::default());
    for (first, bytes) in segments {
        disk.create(*first).and_then(|file| file.write_at(bytes, 0)).expect("memory");
    }
    disk
}

#[test]
fn every_kind_of_entry_is_read_as_the_model_would_read_it() {
    for entry in every_kind() {
        let bytes = encode(&entry, Vec::new()).expect("encodable");
        let by_model: Entry = postcard::from_bytes(&bytes).expect("readable");
        assert_eq!(by_model, entry);
        let (stored, rest) = decode(&bytes).expect("readable");
        assert!(rest.is_empty());
        match (&stored, &entry) {
            (
                Stored::Publish { event, source, charge, point },
                Entry::Publish { event: e, source: s, charge: c, point: p },
            ) => {
                assert_eq!(event.to_event(0).as_ref(), Some(&**e));
                assert_eq!((source, charge, point), (s, c, p));
            }
            (Stored::Session(session), Entry::Session { device, snapshot, hello, at, .. }) => {
                assert_eq!((&session.device, &session.hello, &session.at), (device, hello, at));
                assert_eq!(session.snapshot, &snapshot[..]);
            }
            (stored, entry) => {
                let name = |text: String| text.split([' ', '(']).next().map(str::to_owned);
                assert_eq!(name(format!("{stored:?}")), name(format!("{entry:?}")));
            }
        }
    }
}

#[test]
fn the_encoding_is_the_one_of_version_3() {
    let bytes = encode(&publish("23.5"), Vec::new()).expect("encodable");
    let golden = "05 00 01 01e00fce680000000000000001 00 0474656d70 01 00 0432332e35 3c aaf2e4c08267 \
                  01 ac02 07 01 01 01e00fce680000000000000001 01b960 03 01 14 aaf2e4c08267 \
                  01 01e00fce680000000000000001 01b960 04 01 14 aaf2e4c08267";
    assert_eq!(hex::encode(&bytes), golden.replace(' ', ""));
    let sums: Vec<u32> = every_kind()
        .iter()
        .map(|entry| crc32fast::hash(&encode(entry, Vec::new()).expect("encodable")))
        .collect();
    let golden = [
        4_099_436_687,
        4_134_301_955,
        930_263_599,
        2_575_898_855,
        3_431_224_989,
        2_669_277_274,
        1_037_677_923,
        2_744_531_153,
        2_843_999_360,
        329_266_762,
        1_838_946_895,
        2_024_520_421,
    ];
    assert_eq!(sums, golden);
}

#[test]
fn places_are_counted_over_batches_segments_and_restarts() {
    let disk = Arc::new(Memory::default());
    let mut journal = writer(&open(&disk).expect("empty"));
    assert_eq!(journal.append(NOW, &[]).expect("nothing"), EventId(1));
    assert_eq!(journal.append(NOW, &[publish("a"), publish("b")]).expect("ok"), EventId(1));
    assert_eq!(journal.append(NOW, &[session(), publish("c")]).expect("ok"), EventId(3));
    let log = open(&disk).expect("sound");
    let mut journal = writer(&log);
    assert_eq!(journal.append(NOW, &[publish("d")]).expect("ok"), EventId(5));
    let found = events(&open(&disk).expect("sound"));
    assert_eq!(found, [(1, "a".into()), (2, "b".into()), (4, "c".into()), (5, "d".into())]);
    assert_eq!(found, events(&log));
}

#[test]
fn a_journal_cut_at_any_byte_is_a_prefix_of_its_batches() {
    let disk = Arc::new(Memory::default());
    let mut journal = writer(&open(&disk).expect("empty"));
    let mut ends = vec![SEGMENT_HEADER_BYTES];
    for batch in 0..5 {
        let entries: Vec<_> = (0..=batch).map(|n| publish(&format!("{batch}/{n}"))).collect();
        journal.append(NOW, &entries).expect("ok");
        ends.push(bytes_of(&disk, 1).len());
    }
    let bytes = bytes_of(&disk, 1);
    let all = events(&open(&disk).expect("sound"));
    for cut in 0..=bytes.len() {
        for garbage in [&[][..], &[0; 64], &[0xA5; 64]] {
            let torn = [&bytes[..cut], garbage].concat();
            if cut < SEGMENT_HEADER_BYTES && !garbage.is_empty() {
                continue;
            }
            let disk = disk_of(&[(1, &torn)]);
            let log = open(&disk).expect("a torn end is no damage");
            let batches = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            let expected: usize = (1..=batches).sum();
            assert_eq!(events(&log), all[..expected], "cut at {cut}");
            let mut journal = writer(&log);
            let id = journal.append(NOW, &[publish("after")]).expect("ok");
            assert_eq!(id.0, expected as u64 + 1, "places go on without a gap");
            assert_eq!(events(&open(&disk).expect("sound")).len(), expected + 1);
        }
    }
}

#[test]
fn a_flipped_bit_before_the_last_batch_is_refused_and_in_it_is_taken_for_a_torn_end() {
    let disk = Arc::new(Memory::default());
    let mut journal = writer(&open(&disk).expect("empty"));
    for text in ["a", "b", "c"] {
        journal.append(NOW, &[publish(text)]).expect("ok");
    }
    let bytes = bytes_of(&disk, 1);
    let last = SEGMENT_HEADER_BYTES + (bytes.len() - SEGMENT_HEADER_BYTES) / 3 * 2;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let opened = open(&disk_of(&[(1, &flipped)]));
        if bit / 8 < last {
            assert!(matches!(opened, Err(OpenError::Damaged { .. })), "bit {bit}");
        } else {
            assert_eq!(events(&opened.expect("a torn end")).len(), 2, "bit {bit}");
        }
    }
}

#[test]
fn a_missing_or_damaged_segment_is_refused_unless_the_tables_hold_it() {
    let disk = Arc::new(Memory::default());
    for text in ["a", "b", "c"] {
        writer(&open(&disk).expect("sound")).append(NOW, &[publish(text)]).expect("ok");
    }
    let [first, second, third] = [1, 2, 3].map(|first| bytes_of(&disk, first));
    let gap = disk_of(&[(1, &first), (3, &third)]);
    assert!(matches!(open(&gap), Err(OpenError::Damaged { .. })));
    let mut damaged = second.clone();
    damaged[SEGMENT_HEADER_BYTES + 40] ^= 1;
    let disk = disk_of(&[(1, &first), (2, &damaged), (3, &third)]);
    assert!(matches!(open(&disk), Err(OpenError::Damaged { .. })));
    let log = scan(disk as Arc<dyn Disk>, 3).expect("what is folded is not needed");
    assert_eq!(events(&log), [(1, "a".into()), (3, "c".into())]);
}

#[test]
fn a_segment_of_another_version_is_not_taken_for_damage() {
    let disk = Arc::new(Memory::default());
    writer(&open(&disk).expect("empty")).append(NOW, &[publish("a")]).expect("ok");
    let mut newer = bytes_of(&disk, 1);
    newer[7] += 1;
    let crc = crc32fast::hash(&newer[..20]);
    newer[20..24].copy_from_slice(&crc.to_le_bytes());
    let opened = open(&disk_of(&[(1, &newer)]));
    assert!(matches!(opened, Err(OpenError::OtherVersion { found: 4, known: 3, .. })));
    let started_only = open(&disk_of(&[(1, &newer[..SEGMENT_HEADER_BYTES])]));
    assert!(started_only.is_ok(), "it holds nothing");
}

#[test]
fn bytes_published_by_a_device_do_not_pass_for_a_batch() {
    let disk = Arc::new(Memory::default());
    let mut journal = writer(&open(&disk).expect("empty"));
    journal.append(NOW, &[publish("a")]).expect("ok");
    let other = Arc::new(Memory::default());
    let mut forger = writer(&open(&other).expect("empty"));
    forger.append(NOW, &[publish("x")]).expect("ok");
    forger.append(NOW, &[publish("x")]).expect("ok");
    forger.append(NOW, &[publish("x")]).expect("ok");
    let forged = bytes_of(&other, 1);
    let torn = [&bytes_of(&disk, 1), &[9; 40][..], &forged[SEGMENT_HEADER_BYTES..]].concat();
    let log = open(&disk_of(&[(1, &torn)])).expect("a torn end, whatever is in it");
    assert_eq!(events(&log).len(), 1);
}

/// Memory whose writes or syncs can be made to fail; a failing write leaves half of its bytes.
#[derive(Default)]
struct Faulty {
    memory: Memory,
    writes_fail: Arc<AtomicBool>,
    syncs_fail: Arc<AtomicBool>,
    cuts_fail: Arc<AtomicBool>,
    opened: Mutex<AtomicUsize>,
}

struct FaultyFile {
    file: Arc<dyn SegmentFile>,
    writes_fail: Arc<AtomicBool>,
    syncs_fail: Arc<AtomicBool>,
    cuts_fail: Arc<AtomicBool>,
}

impl Disk for Faulty {
    fn list(&self) -> io::Result<Vec<u64>> {
        self.memory.list()
    }
    fn create(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        held(&self.opened).fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(FaultyFile {
            file: self.memory.create(first)?,
            writes_fail: Arc::clone(&self.writes_fail),
            syncs_fail: Arc::clone(&self.syncs_fail),
            cuts_fail: Arc::clone(&self.cuts_fail),
        }))
    }
    fn open(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        self.memory.open(first)
    }
    fn cut(&self, first: u64, bytes: u64) -> io::Result<()> {
        self.memory.cut(first, bytes)
    }
    fn remove(&self, first: u64) -> io::Result<()> {
        self.memory.remove(first)
    }
    fn path(&self, first: u64) -> std::path::PathBuf {
        self.memory.path(first)
    }
}

impl SegmentFile for FaultyFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.writes_fail.load(Ordering::Relaxed) {
            self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_at(bytes, offset)
    }
    fn truncate(&self, bytes: u64) -> io::Result<()> {
        if self.cuts_fail.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Other.into());
        }
        self.file.truncate(bytes)
    }
    fn sync(&self) -> io::Result<()> {
        if self.syncs_fail.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Other.into());
        }
        self.file.sync()
    }
}

#[test]
fn a_failed_append_keeps_nothing_and_a_later_one_succeeds() {
    for (writes, syncs, cuts) in
        [(true, false, false), (false, true, false), (true, false, true), (false, true, true)]
    {
        let disk = Arc::new(Faulty::default());
        let log = Arc::new(scan(Arc::clone(&disk) as Arc<dyn Disk>, 1).expect("empty"));
        let mut journal = writer(&log);
        journal.append(NOW, &[publish("a")]).expect("ok");
        disk.writes_fail.store(writes, Ordering::Relaxed);
        disk.syncs_fail.store(syncs, Ordering::Relaxed);
        disk.cuts_fail.store(cuts, Ordering::Relaxed);
        for _ in 0..2 {
            let refused = journal.append(NOW, &[publish("lost"), publish("lost")]);
            assert!(matches!(refused, Err(AppendError::Io(_))));
            assert_eq!(journal.next_id(), EventId(2));
            assert_eq!(events(&log), [(1, "a".into())]);
        }
        for fault in [&disk.writes_fail, &disk.syncs_fail, &disk.cuts_fail] {
            fault.store(false, Ordering::Relaxed);
        }
        assert_eq!(journal.append(NOW, &[publish("b")]).expect("ok"), EventId(2));
        let expected = [(1, "a".to_owned()), (2, "b".to_owned())];
        assert_eq!(events(&log), expected);
        let again = scan(disk as Arc<dyn Disk>, 1).expect("sound");
        assert_eq!(events(&again), expected);
    }
}

#[test]
fn a_batch_over_the_bound_is_refused_and_the_next_one_taken() {
    let disk = Arc::new(Memory::default());
    let mut journal = writer(&open(&disk).expect("empty"));
    let large = publish(&"x".repeat(16_384));
    let refused = journal.append(NOW, &vec![large; 1025]);
    assert!(matches!(refused, Err(AppendError::TooLarge(_))));
    assert_eq!(journal.append(NOW, &[publish("a")]).expect("ok"), EventId(1));
}

#[test]
fn segments_go_when_folded_old_and_out_of_the_window() {
    let disk = Arc::new(Memory::default());
    let log = open(&disk).expect("empty");
    let later = |ms: i64| Timestamp(NOW.0 + ms);
    writer(&log).append(NOW, &[publish("a")]).expect("ok");
    let mut newest = writer(&log);
    newest.append(NOW, &[publish("a")]).expect("ok");
    log.prune(3, later(301_000));
    assert_eq!(disk.list().expect("memory"), [1, 2], "copies may come");
    (0..21).for_each(|n| pause(&mut newest, later(5_000 * n)));
    log.prune(24, later(299_000));
    assert_eq!(disk.list().expect("memory"), [1, 2], "the replay window holds both");
    log.prune(1, later(301_000));
    assert_eq!(disk.list().expect("memory"), [1, 2], "nothing is folded");
    log.prune(24, later(301_000));
    assert_eq!(disk.list().expect("memory"), [2], "the newest segment stays");
}

#[test]
fn segments_of_a_time_when_the_clock_was_ahead_are_removed_too() {
    let disk = Arc::new(Memory::default());
    let log = open(&disk).expect("empty");
    let at = |ms: i64| Timestamp(NOW.0 + ms);
    writer(&log).append(at(86_400_000), &[publish("a")]).expect("ok");
    let mut newest = writer(&log);
    (0..21).for_each(|n| pause(&mut newest, at(5_000 * n)));
    log.prune(23, at(100_000));
    assert_eq!(disk.list().expect("memory"), [2]);
}

#[test]
fn segments_are_kept_and_read_though_the_clock_was_set_forward() {
    let disk = Arc::new(Memory::default());
    let log = open(&disk).expect("empty");
    let forward = 3_600_000;
    for (began, step) in [(0, 0), (20_000, 0), (40_000, forward), (60_000, forward)] {
        let mut journal = writer(&log);
        let at = |ms| Timestamp(NOW.0 + began + step + ms);
        journal.append(at(0), &[publish("a")]).expect("ok");
        (1..4).for_each(|n| pause(&mut journal, at(5_000 * n)));
    }
    log.prune(17, Timestamp(NOW.0 + forward + 75_000));
    assert_eq!(disk.list().expect("memory").len(), 4);
    let log = open(&disk).expect("sound");
    let recent = window::recent_sources(&log).expect("readable");
    assert_eq!(recent[&device(1)], [source(300); 4]);

    let later = |ms| Timestamp(NOW.0 + forward + ms);
    let mut journal = writer(&log);
    (0..20).for_each(|n| pause(&mut journal, later(80_000 + 5_000 * n)));
    log.prune(37, later(600_000));
    assert_eq!(disk.list().expect("memory"), [17]);
}

#[test]
fn a_replay_tells_what_is_missing() {
    let disk = Arc::new(Memory::default());
    let log = open(&disk).expect("empty");
    writer(&log).append(NOW, &[publish("a"), publish("b")]).expect("ok");
    let mut newest = writer(&log);
    newest.append(NOW, &[publish("c")]).expect("ok");
    let ask = |after, now| {
        let replay = window::replay(&log, AccountId(1), EventId(after), now, |_| true, usize::MAX);
        let replay = replay.expect("readable");
        let ids: Vec<u64> = replay.events.iter().map(|event| event.id.0).collect();
        assert!(replay.is_whole);
        (ids, replay.missed, replay.upto.0)
    };
    assert_eq!(ask(1, NOW), (vec![2, 3], Missed::Nothing, 3));
    assert_eq!(ask(3, NOW), (vec![], Missed::Nothing, 3));
    assert_eq!(ask(0, Timestamp(NOW.0 + 300_001)), (vec![], Missed::Events(3), 3));
    assert_eq!(ask(99, NOW), (vec![], Missed::Unknown, 3));
    (1..21).for_each(|n| pause(&mut newest, Timestamp(NOW.0 + 5_000 * n)));
    log.prune(24, Timestamp(NOW.0 + 301_000));
    assert_eq!(ask(0, NOW), (vec![3], Missed::Unknown, 23));
    let other = window::replay(&log, AccountId(2), EventId(2), NOW, |_| true, usize::MAX)
        .expect("readable");
    assert_eq!(other.events, []);
}

#[test]
fn a_long_replay_comes_in_pieces_that_lack_nothing() {
    let disk = Arc::new(Memory::default());
    let log = open(&disk).expect("empty");
    writer(&log).append(NOW, &[publish("a"), publish("b"), publish("c")]).expect("ok");
    writer(&log).append(NOW, &[publish("d"), publish("e")]).expect("ok");
    let pieces = |wanted: fn(&Event) -> bool| {
        let (mut after, mut pieces) = (EventId(0), Vec::new());
        loop {
            let bytes = 2 * size_of::<Event>();
            let piece = window::replay(&log, AccountId(1), after, NOW, wanted, bytes);
            let piece = piece.expect("readable");
            assert_eq!(piece.missed, Missed::Nothing);
            pieces.push(piece.events.iter().map(|event| event.id.0).collect::<Vec<_>>());
            after = piece.upto;
            if piece.is_whole {
                assert_eq!(after, EventId(5));
                return pieces;
            }
        }
    };
    assert_eq!(pieces(|_| true), [vec![1, 2], vec![3, 4], vec![5]]);
    assert_eq!(pieces(|event| event.id.0 > 4), [[5]]);
    assert_eq!(pieces(|_| false), [[0_u64; 0]]);
}

#[test]
fn recent_sources_begin_anew_with_a_full_handshake_and_end_with_a_bound() {
    let disk = Arc::new(Memory::default());
    let log = open(&disk).expect("empty");
    let mut journal = writer(&log);
    journal.append(NOW, &[publish("before")]).expect("ok");
    journal.append(NOW, &[session(), publish("after")]).expect("ok");
    let recent = window::recent_sources(&log).expect("readable");
    assert_eq!(recent[&device(1)], [source(1), source(300)]);
    journal.append(Timestamp(NOW.0 + 90_001), &vec![publish("later"); 1000]).expect("ok");
    let recent = window::recent_sources(&log).expect("readable");
    assert_eq!(recent[&device(1)], vec![source(300); 128]);
}

#[test]
fn recent_sources_are_known_though_the_clock_was_set_back() {
    let disk = Arc::new(Memory::default());
    let log = open(&disk).expect("empty");
    let mut journal = writer(&log);
    let back = |ms| Timestamp(NOW.0 - 3_600_000 + ms);
    journal.append(NOW, &[publish("before")]).expect("ok");
    journal.append(back(0), &[session(), publish("after")]).expect("ok");
    journal.append(back(60_000), &[publish("later")]).expect("ok");
    let recent = window::recent_sources(&log).expect("readable");
    assert_eq!(recent[&device(1)], [source(1), source(300), source(300)]);
    (0..19).for_each(|n| pause(&mut journal, back(65_000 + 5_000 * n)));
    journal.append(back(160_000), &[publish("latest")]).expect("ok");
    let recent = window::recent_sources(&log).expect("readable");
    assert_eq!(recent[&device(1)], [source(300)]);
}

#[test]
fn recent_sources_are_known_though_the_clock_was_set_forward() {
    let disk = Arc::new(Memory::default());
    let log = open(&disk).expect("empty");
    let mut journal = writer(&log);
    let at = |ms| Timestamp(NOW.0 + ms);
    let forward = 3_600_000;
    journal.append(at(0), &[publish("forgotten")]).expect("ok");
    journal.append(at(5_000), &[session(), publish("before")]).expect("ok");
    (2..10).for_each(|n| pause(&mut journal, at(5_000 * n)));
    (10..20).for_each(|n| pause(&mut journal, at(5_000 * n + forward)));
    let recent = window::recent_sources(&log).expect("readable");
    assert_eq!(recent[&device(1)], [source(1), source(300)], "90 s ago");
    (20..22).for_each(|n| pause(&mut journal, at(5_000 * n + forward)));
    assert!(window::recent_sources(&log).expect("readable").is_empty());
}

/// A batch in which no device said anything.
fn pause(journal: &mut Journal, at: Timestamp) {
    let forget = Entry::Forget { device: device(9) };
    journal.append(at, &[forget]).expect("ok");
}

#[test]
fn only_what_a_device_said_has_a_source() {
    let with_source: Vec<bool> = every_kind()
        .iter()
        .map(|entry| {
            let bytes = encode(entry, Vec::new()).expect("encodable");
            source_of(&decode(&bytes).expect("readable").0).is_some()
        })
        .collect();
    let expected = [false, true, true, true, true, false, false, true, false, true, true, false];
    assert_eq!(with_source, expected);
}
