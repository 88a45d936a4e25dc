//! TCP peers that are slow, cut, reset, too large, or deaf.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::http_clients::Publisher;
use crate::messages::{CON, GET, URI_PATH, empty, message, subscribe};
use crate::rogue::{Stream, open, reset};
use crate::scene::{Case, Pace, Scene, rate};

const FAILURES: &str = "cloudchamber_tcp_failures_total";
const CLOSED: &str = "cloudchamber_connections_closed_total";
/// The TCP device in wrong hands.
const ROGUE: u32 = 2;

#[test]
fn peers_that_send_a_byte_at_a_time_and_then_too_much_are_closed() {
    let scene = Scene::new();
    let case = Case {
        name: "TCP handshakes a byte at a time, then too long",
        memory_mib: 8,
        counter: (FAILURES, "refused"),
        counted_percent: 95,
    };
    scene.run(&case, |span| {
        let mut opened = 0;
        for _ in Pace::new(1, span) {
            opened += trickle(&scene, span.min(Duration::from_secs(1)));
        }
        opened
    });
    scene.end();
}

fn trickle(scene: &Scene, span: Duration) -> u64 {
    let connections: Vec<_> =
        (0..64).map(|_| TcpStream::connect(&*scene.ports.tcp).expect("connected")).collect();
    for number in Pace::new(rate(2000), span) {
        let mut stream = &connections[number as usize % connections.len()];
        stream.set_nodelay(true).expect("set");
        // Closed already is as good.
        let _ = stream.write_all(&[number as u8]);
    }
    for mut stream in &connections {
        let _ = stream.write_all(&[0x55; 300]);
    }
    let closed = connections.iter().filter(|stream| is_closed(stream)).count();
    assert_eq!(closed, connections.len(), "more than 256 bytes end a key exchange");
    connections.len() as u64
}

/// Whether the server ended the stream: its nonce is read, then there is an end.
fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let mut bytes = [0; 256];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn resets_in_the_middle_of_a_handshake_and_of_a_frame_leave_nothing() {
    let scene = Scene::new();
    let case = Case {
        name: "TCP resets within a handshake or a frame",
        memory_mib: 8,
        counter: (FAILURES, "gone"),
        counted_percent: 80,
    };
    scene.run(&case, |span| {
        let mut opened = 0;
        for number in Pace::new(200, span) {
            if number.is_multiple_of(50) {
                let mut stream = Stream::connect(&scene.folder, ROGUE, scene.ports.tcp());
                let frame = stream.seal(&empty(CON, 2));
                stream.socket.write_all(&frame[..frame.len() / 2]).expect("sent");
                reset(stream.socket);
            } else {
                let mut stream = open(scene.ports.tcp());
                stream.write_all(&[0x55; 100][..number as usize % 100]).expect("sent");
                reset(stream);
            }
            opened += 1;
        }
        opened
    });
    scene.end();
}

#[test]
fn frames_in_segments_of_one_byte_are_read_as_any_other() {
    let scene = Scene::new();
    let case = Case {
        name: "TCP frames in segments of one byte",
        memory_mib: 4,
        counter: ("cloudchamber_messages_received_total", ""),
        counted_percent: 100,
    };
    let mut stream = Stream::connect(&scene.folder, ROGUE, scene.ports.tcp());
    scene.run(&case, |span| {
        let mut frames = 0;
        for number in Pace::new(rate(500), span) {
            for byte in stream.seal(&empty(CON, number as u16)) {
                stream.socket.write_all(&[byte]).expect("sent");
            }
            assert!(stream.hear().is_some(), "a ping is answered");
            frames += 1;
        }
        frames
    });
    scene.end();
}

/// The longest message that a frame holds.
const MESSAGE_MAX: usize = secure::tcp::FRAME_MESSAGE_BYTES_MAX;

#[test]
fn frames_of_the_largest_length_are_refused_and_the_next_too_large_one_ends_the_stream() {
    let scene = Scene::new();
    let case = Case {
        name: "TCP frames of 2,048 and 65,535 bytes",
        memory_mib: 8,
        counter: (CLOSED, "malformed_stream"),
        counted_percent: 100,
    };
    scene.run(&case, |span| {
        let mut opened = 0;
        for _ in Pace::new(rate(100), span) {
            let mut stream = Stream::connect(&scene.folder, ROGUE, scene.ports.tcp());
            let overhead = message(CON, GET, 2, &[], &[(URI_PATH, b"e")], &[0]).len() - 1;
            let largest =
                message(CON, GET, 2, &[], &[(URI_PATH, b"e")], &vec![7; MESSAGE_MAX - overhead]);
            stream.say(&largest);
            let _ = stream.socket.write_all(&[0xFF; 4096]);
            while stream.hear().is_some() {}
            opened += 1;
        }
        opened
    });
    scene.end();
}

#[test]
fn a_tcp_device_that_reads_nothing_of_its_events_is_closed() {
    let scene = Scene::new();
    let case = Case {
        name: "a TCP device that reads no event",
        memory_mib: 8,
        counter: (CLOSED, "slow_reader"),
        counted_percent: 0,
    };
    scene.run(&case, |span| {
        let mut publisher = Publisher::connect(&scene);
        let data = "d".repeat(800);
        let mut deaf = Vec::new();
        let mut published = 0;
        for number in Pace::new(1000, span) {
            // A device that was closed comes back, as one whose application hangs does.
            if number.is_multiple_of(1000) {
                let mut stream = Stream::connect(&scene.folder, ROGUE, scene.ports.tcp());
                stream.say(&subscribe(2, "storm"));
                deaf.push(stream);
            }
            publisher.publish("storm", &data);
            published += 1;
        }
        published
    });
    scene.end();
}
