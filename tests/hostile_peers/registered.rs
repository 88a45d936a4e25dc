//! A registered device with good keys that says too much, or nonsense.

use crate::messages::{
    ACK, CON, GET, NON, POST, RST, URI_PATH, empty, message, publish, subscribe,
};
use crate::rogue::Rogue;
use crate::scene::{Case, Pace, Scene, rate};
use crate::support::watch::replay;

const DROPPED: &str = "cloudchamber_messages_dropped_total";

/// Says one message after the other.
fn storm(
    case: &Case,
    per_second: u64,
    mut next: impl FnMut(u64, &mut Rogue) -> Vec<u8> + Send,
) -> Scene {
    let scene = Scene::new();
    let mut rogue = Rogue::connect(&scene.folder, 2, scene.ports.udp());
    scene.run(case, |span| {
        let mut sent = 0;
        for number in Pace::new(rate(per_second), span) {
            let message = next(number, &mut rogue);
            rogue.say(&message);
            rogue.ignore();
            sent += 1;
        }
        sent
    });
    scene
}

#[test]
fn one_message_id_with_ever_other_contents_is_one_event() {
    let case = Case {
        name: "one message id, other contents",
        memory_mib: 8,
        counter: (DROPPED, "copy"),
        counted_percent: 90,
    };
    let scene = storm(&case, 5000, |number, _| publish(0x1234, "rogue", &number.to_be_bytes()));
    let events = replay(&scene.ports.url(), &scene.token, "rogue");
    assert_eq!(events.len(), 1, "{events:?}");
    scene.end();
}

#[test]
fn message_ids_that_wrap_around_are_answered_as_any_other() {
    let case = Case {
        name: "pings with message ids that wrap around",
        memory_mib: 8,
        counter: ("cloudchamber_messages_received_total", ""),
        counted_percent: 95,
    };
    storm(&case, 10_000, |number, _| empty(CON, (number as u16).wrapping_mul(257))).end();
}

#[test]
fn answers_to_nothing_are_counted_and_forgotten() {
    let case = Case {
        name: "acknowledgements, resets and answers to nothing",
        memory_mib: 4,
        counter: (DROPPED, "answer_to_nothing"),
        counted_percent: 90,
    };
    let next = |number: u64, _: &mut Rogue| {
        let (id, token) = (number as u16, [(number / 7) as u8]);
        match number % 4 {
            0 => empty(ACK, id),
            1 => empty(RST, id),
            2 => message(ACK, CONTENT, id, &token, &[], b"42"),
            _ => message(NON, CONTENT, id, &token, &[], b"42"),
        }
    };
    storm(&case, 10_000, next).end();
}

/// 2.05.
const CONTENT: u8 = 0x45;

#[test]
fn subscriptions_beyond_the_32_of_a_device_are_refused() {
    let case = Case {
        name: "subscription storm",
        memory_mib: 8,
        counter: ("cloudchamber_subscriptions_refused_total", ""),
        counted_percent: 50,
    };
    storm(&case, 5000, |number, rogue| subscribe(rogue.id(), &format!("prefix-{number}"))).end();
}

#[test]
fn events_beyond_the_rate_of_a_device_are_refused() {
    let case = Case {
        name: "event storm",
        memory_mib: 16,
        counter: ("cloudchamber_publishes_total", "over_rate"),
        counted_percent: 50,
    };
    storm(&case, 5000, |_, rogue| publish(rogue.id(), "storm", &[b'd'; 800])).end();
}

#[test]
fn internal_events_beyond_their_rate_are_refused() {
    let case = Case {
        name: "storm of internal events",
        memory_mib: 16,
        counter: (DROPPED, "internal_over_rate"),
        counted_percent: 0,
    };
    storm(&case, 5000, |_, rogue| publish(rogue.id(), "spark/device/last_reset", b"watchdog"))
        .end();
}

#[test]
fn options_without_measure_are_malformed_or_refused() {
    let case = Case {
        name: "giant options",
        memory_mib: 4,
        counter: (DROPPED, "malformed"),
        counted_percent: 45,
    };
    let path = vec![b'p'; 1900];
    let next = |number: u64, rogue: &mut Rogue| {
        let id = rogue.id();
        let begin = message(CON, POST, id, &[], &[], &[]);
        match number % 6 {
            // Longer than what follows.
            0 => [&begin[..], &[0xBE, 0xFF, 0xFF], &[b'p'; 64]].concat(),
            // Numbers beyond 16 bits.
            1 => [&begin[..], &[0xE0, 0xFF, 0xFF], &[0xE0, 0xFF, 0xFF]].concat(),
            // Reserved nibbles.
            2 => [&begin[..], &[0xF1, 1, 2, 3]].concat(),
            3 => message(CON, GET, id, &[], &[(URI_PATH, b"e"), (URI_PATH, &path)], &[]),
            4 => message(CON, POST, id, &[], &[(URI_PATH, &path)], &[]),
            _ => message(CON, POST, id, &[], &vec![(URI_PATH, &b"E"[..]); 900], b"x"),
        }
    };
    storm(&case, 5000, next).end();
}
