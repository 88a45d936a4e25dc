//! Callers of devices that never answer, or refuse everything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sim::device::profile::Generation;

use crate::messages::{ACK, RST, empty};
use crate::rogue::Rogue;
use crate::scene::{Case, Scene};
use crate::support::folder::identity;
use crate::support::http;

/// One call runs, 16 wait.
const CALLERS: usize = 40;
const TAKEN_MAX: usize = 17;
/// The last answer, and what a loaded machine takes.
const DEADLINE: Duration = Duration::from_secs(28 + 8);

/// Calls device 2; gives the status and how long it took.
fn call(scene: &Scene) -> JoinHandle<(u16, Duration)> {
    let id = identity(Generation::Os6, 2).id;
    let (url, token) = (format!("{}/v1/devices/{id}/echo", scene.ports.url()), scene.token.clone());
    std::thread::spawn(move || {
        let began = Instant::now();
        (http("POST", &url, &token, "arg=abc").0, began.elapsed())
    })
}

/// Lets the device react to whatever the server says until `over`.
fn react(rogue: &mut Rogue, kind: u8, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        if let Some(message) = rogue.hear()
            && message.len() > 4
            && message[0] >> 4 & 3 == 0
        {
            rogue.say(&empty(kind, u16::from_be_bytes([message[2], message[3]])));
        }
    }
}

#[test]
fn calls_that_are_never_answered_end_in_time_and_those_too_many_at_once() {
    let scene = Scene::new();
    let case = Case {
        name: "calls that are taken and never answered",
        memory_mib: 8,
        counter: ("cloudchamber_calls_total", "timed_out"),
        counted_percent: 100 * TAKEN_MAX as u64 / CALLERS as u64 - 5,
    };
    let mut rogue = Rogue::connect(&scene.folder, 2, scene.ports.udp());
    scene.run(&case, |_| {
        let over = AtomicBool::new(false);
        let answers: Vec<_> = std::thread::scope(|scope| {
            scope.spawn(|| react(&mut rogue, ACK, &over));
            let calls: Vec<_> = (0..CALLERS).map(|_| call(&scene)).collect();
            let answers = calls.into_iter().map(|call| call.join().expect("an answer")).collect();
            over.store(true, Ordering::SeqCst);
            answers
        });
        assert!(answers.iter().all(|(status, _)| *status >= 400), "{answers:?}");
        assert!(answers.iter().all(|(_, after)| *after < DEADLINE), "{answers:?}");
        let at_once = answers.iter().filter(|(_, after)| *after < DEADLINE / 3).count();
        assert!(at_once >= CALLERS - TAKEN_MAX, "{answers:?}");
        CALLERS as u64
    });
    scene.end();
}

#[test]
fn a_device_that_resets_everything_fails_its_calls_at_once() {
    let scene = Scene::new();
    let case = Case {
        name: "calls that are reset",
        memory_mib: 8,
        counter: ("cloudchamber_calls_total", "sent"),
        counted_percent: 100,
    };
    let mut rogue = Rogue::connect(&scene.folder, 2, scene.ports.udp());
    scene.run(&case, |span| {
        let (over, began, mut called) = (AtomicBool::new(false), Instant::now(), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| react(&mut rogue, RST, &over));
            while began.elapsed() < span {
                let (status, after) = call(&scene).join().expect("an answer");
                assert!(status >= 400 && after < DEADLINE / 3, "{status} after {after:?}");
                called += 1;
            }
            over.store(true, Ordering::SeqCst);
        });
        called
    });
    scene.end();
}
