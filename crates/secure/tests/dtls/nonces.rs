//! No record number is sealed twice under one key, whatever is lost in a crash.

use std::collections::BTreeSet;

use proptest::prelude::*;
use secure::dtls::{CidMode, ContentType, Role, SNAPSHOT_BYTES, Session, SessionKeys};
use zeroize::Zeroizing;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Seal so many records; each refused one waits for the next reservation.
    Seal(u16),
    /// Make a reservation durable, then use it.
    Reserve,
    /// Make a reservation durable and crash before it is used.
    ReserveAndCrash,
    /// Write a snapshot.
    Snapshot,
    /// Lose everything that is not durable.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..60_u16).prop_map(Step::Seal),
        2 => Just(Step::Reserve),
        1 => Just(Step::ReserveAndCrash),
        2 => Just(Step::Snapshot),
        2 => Just(Step::Crash),
    ]
}

/// Small, so that it is often used up.
const BLOCK: u64 = 32;

struct Store {
    snapshot: Zeroizing<[u8; SNAPSHOT_BYTES]>,
    record_limit: u64,
}

proptest! {
    #[test]
    fn no_nonce_is_sealed_twice_over_restarts(steps in prop::collection::vec(step(), 1..60)) {
        for role in [Role::Server, Role::Client] {
            let keys = SessionKeys { key_block: [1; 40].into(), cid_mode: CidMode::Draft05, cid: [2; 8] };
            let mut session = Session::new(role, &keys, BLOCK);
            let mut store = Store { snapshot: session.to_snapshot(), record_limit: BLOCK };
            let mut nonces = BTreeSet::new();
            for step in &steps {
                session = take(*step, session, &mut store, &mut nonces);
            }
        }
    }
}

fn take(
    step: Step,
    mut session: Session,
    store: &mut Store,
    nonces: &mut BTreeSet<Vec<u8>>,
) -> Session {
    match step {
        Step::Seal(count) => {
            for _ in 0..count {
                seal(&mut session, nonces);
            }
        }
        Step::Reserve => {
            store.record_limit = store.record_limit.max(session.next_record_number() + BLOCK);
            session.set_record_limit(store.record_limit);
        }
        Step::ReserveAndCrash => {
            store.record_limit = store.record_limit.max(session.next_record_number() + BLOCK);
            return restore(store);
        }
        Step::Snapshot => store.snapshot = session.to_snapshot(),
        Step::Crash => return restore(store),
    }
    session
}

fn restore(store: &mut Store) -> Session {
    let mut session = Session::from_snapshot(&*store.snapshot, store.record_limit, 0).unwrap();
    let refused = session.seal(ContentType::ApplicationData, b"too early", &mut Vec::new());
    assert!(refused.is_err(), "nothing is sealed before a new reservation is durable");
    store.record_limit = session.next_record_number() + BLOCK;
    session.set_record_limit(store.record_limit);
    session
}

fn seal(session: &mut Session, nonces: &mut BTreeSet<Vec<u8>>) {
    let mut record = Vec::new();
    let cid_len = if session.role() == Role::Client { 8 } else { 0 };
    if session.seal(ContentType::ApplicationData, b"text", &mut record).is_ok() {
        let nonce = record[13 + cid_len..][..8].to_vec();
        assert_eq!(nonce, record[3..11], "the explicit nonce is epoch and number");
        assert!(nonces.insert(nonce), "sealed twice: {record:02x?}");
    } else {
        assert!(record.is_empty());
    }
}
