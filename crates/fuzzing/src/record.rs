//! Records: what is not authentic is dropped and changes nothing, what is opens once.

use secure::dtls::codec::{TYPE_CID, TYPE_MOVED_CID, split_record};
use secure::dtls::record::{mark_moved, mark_moved_cid};
use secure::dtls::{
    CidMode, ClientHello, ContentType, Cookies, Dropped, RecordNumbers, Role, Session, SessionKeys,
    classify,
};

use crate::script::Script;

pub(crate) fn run(input: &[u8]) {
    let _ = classify(input);
    let _ = ClientHello::parse(input);
    let _ = Cookies::new([1; 32]).answer(1, ([192, 0, 2, 1], 5).into(), input);
    let _ = Session::from_snapshot(input, 0, 0);
    split(input);
    for mode in [CidMode::None, CidMode::Draft05, CidMode::Rfc9146] {
        unchanged_by_what_does_not_open(mode, input);
        changed(mode, Script(input));
    }
}

/// A fuzzer that watches comparisons learns to seal under a fixed key: what opens is no finding.
fn unchanged_by_what_does_not_open(mode: CidMode, input: &[u8]) {
    let (mut server, _) = ends(mode);
    let before = server.to_snapshot();
    match server.open(&mut input.to_vec()) {
        Ok(_) | Err(Dropped::UnknownContent) => {}
        Err(_) => assert_eq!(server.to_snapshot(), before),
    }
}

/// Records never overlap and never hold more than there is.
fn split(input: &[u8]) {
    let mut bytes = input.to_vec();
    let (mut rest, mut left) = (bytes.as_mut_slice(), input.len());
    while let Some((_, record, after)) = split_record(rest) {
        assert!(!record.is_empty() && record.len() + after.len() <= left);
        left = after.len();
        rest = after;
    }
}

/// A good record of the client, changed at places of the input's choice.
fn changed(mode: CidMode, mut script: Script<'_>) {
    let (mut server, mut client) = ends(mode);
    let moved = script.flag();
    let mut record = Vec::new();
    let text = script.bytes();
    let text = &text[..text.len().min(1500)];
    client.seal(ContentType::ApplicationData, text, &mut record).expect("unlimited");
    match mode {
        _ if !moved => {}
        CidMode::None => mark_moved(&mut record, &[7; 12]),
        CidMode::Draft05 | CidMode::Rfc9146 => mark_moved_cid(&mut record),
    }
    let good = record.clone();
    while !script.is_done() {
        let at = usize::from(script.number()) % record.len();
        record[at] ^= script.byte();
    }
    // The id behind a marked record only says whose it is.
    let covered = if moved && mode == CidMode::None { good.len() - 13 } else { good.len() };
    let is_same = unmarked(&record[..covered]) == unmarked(&good[..covered]);
    let is_open = server.open(&mut record).is_ok();
    assert!(is_same || !is_open, "a changed record opens");
    let opened = server.open(&mut good.clone()).is_ok();
    assert_eq!(opened, !is_open, "a record opens once");
}

/// The marker of a record with connection id is put on it when it is sealed: type 25 and 253 are the same
/// record.
fn unmarked(record: &[u8]) -> Vec<u8> {
    let mut record = record.to_vec();
    if record.first() == Some(&TYPE_MOVED_CID) {
        record[0] = TYPE_CID;
    }
    record
}

/// Both ends of a session.
pub(crate) fn ends(mode: CidMode) -> (Session, Session) {
    let keys =
        SessionKeys { key_block: [0x42; 40].into(), cid_mode: mode, cid: [0, 0, 0, 0, 1, 2, 3, 4] };
    let numbers = RecordNumbers { next: 1, limit: Session::UNLIMITED, seen: 0 };
    (Session::resume(Role::Server, &keys, numbers), Session::resume(Role::Client, &keys, numbers))
}
