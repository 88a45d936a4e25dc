//! Devices that do nothing wrong, and callers of them: how long they wait for their answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sim::device::profile::Generation;
use sim::device::{Acknowledgement, Device, Observation, Publish};
use sim::live::Live;

use crate::support::folder::{Folder, Ports, identity};
use crate::support::http;
use crate::support::live::{PATIENCE, connect};

/// Between two publishes of a device: a little more than [`crate::scene::REFILL_MS`].
const PUBLISH_EACH: Duration = Duration::from_millis(25);
/// Between two calls of a device.
const CALL_EACH: Duration = Duration::from_millis(25);

/// What is measured.
pub(crate) const SERIES: [&str; 4] = ["publish_udp", "publish_tcp", "call_udp", "call_tcp"];

/// The waits of one phase, by series.
pub(crate) type Waits = [Vec<Duration>; SERIES.len()];

/// A device of each kind that publishes, and a caller of each; until dropped.
pub(crate) struct Healthy {
    shared: Arc<Shared>,
    devices: Vec<JoinHandle<()>>,
    callers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    waits: [Mutex<Vec<Duration>>; SERIES.len()],
    /// Callers end first: a device that is gone answers nobody.
    callers_end: AtomicBool,
    devices_end: AtomicBool,
}

impl Healthy {
    /// Connects devices 1 of a folder and begins.
    pub(crate) fn start(folder: &Folder, ports: &Ports, token: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let kinds = [(Generation::Os6, ports.udp()), (Generation::Tcp, ports.tcp())];
        let (mut devices, mut callers) = (Vec::new(), Vec::new());
        for (place, (generation, address)) in kinds.into_iter().enumerate() {
            let mut setup = folder.setup(generation);
            setup.limits_publishes = false;
            let device = Device::new(identity(generation, 1), Arc::new(setup), 1);
            let url = format!("{}/v1/devices/{}/echo", ports.url(), device.id());
            let mut live = Live::new(device, address);
            connect(&mut live);
            let (publishing, calling) = (Arc::clone(&shared), Arc::clone(&shared));
            devices.push(std::thread::spawn(move || publishing.publish(place, &mut live)));
            let token = token.to_owned();
            callers.push(std::thread::spawn(move || calling.call(place + 2, &url, &token)));
        }
        Self { shared, devices, callers }
    }

    /// What all waited for that began while `act` ran; each series has at least one.
    pub(crate) fn during<T>(&self, act: impl FnOnce() -> T) -> (T, Waits) {
        self.await_one_more();
        self.shared.waits.iter().for_each(|waits| waits.lock().expect("no panic").clear());
        let result = act();
        self.await_one_more();
        let take = |waits: &Mutex<Vec<_>>| std::mem::take(&mut *waits.lock().expect("no panic"));
        (result, self.shared.waits.each_ref().map(take))
    }

    /// Waits until whoever waits now has an answer.
    fn await_one_more(&self) {
        let count = |waits: &Mutex<Vec<_>>| waits.lock().expect("no panic").len();
        let before = self.shared.waits.each_ref().map(count);
        let end = Instant::now() + 2 * PATIENCE;
        while self
            .shared
            .waits
            .each_ref()
            .map(count)
            .iter()
            .zip(before)
            .any(|(now, then)| *now == then)
        {
            assert!(Instant::now() < end, "a healthy device or its caller has no answer");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Healthy {
    fn drop(&mut self) {
        self.shared.callers_end.store(true, Ordering::SeqCst);
        end(&mut self.callers);
        self.shared.devices_end.store(true, Ordering::SeqCst);
        end(&mut self.devices);
    }
}

fn end(threads: &mut Vec<JoinHandle<()>>) {
    for thread in threads.drain(..) {
        let joined = thread.join();
        assert!(joined.is_ok() || std::thread::panicking(), "a healthy peer failed");
    }
}

impl Shared {
    fn publish(&self, place: usize, live: &mut Live) {
        let event = Publish::text("temp", "21");
        let event = Publish { acknowledgement: Acknowledgement::Wanted, ..event };
        while !self.devices_end.load(Ordering::SeqCst) {
            let (began, now) = (Instant::now(), live.now());
            let number = live.device().publish(now, &event).expect("the device is connected");
            let answered = live.run_until(PATIENCE, |seen| is_accepted(seen, number));
            assert!(answered.is_some(), "seen since: {:?}", live.observations());
            self.note(place, began);
            live.forget_observations();
            live.run(PUBLISH_EACH);
        }
    }

    fn call(&self, place: usize, url: &str, token: &str) {
        while !self.callers_end.load(Ordering::SeqCst) {
            let began = Instant::now();
            let (status, body) = http("POST", url, token, "arg=abc");
            assert_eq!(status, 200, "{body}");
            self.note(place, began);
            std::thread::sleep(CALL_EACH);
        }
    }

    fn note(&self, place: usize, began: Instant) {
        self.waits[place].lock().expect("no panic").push(began.elapsed());
    }
}

fn is_accepted(seen: &Observation, number: u64) -> bool {
    matches!(seen, Observation::PublishAnswered { publish, code: 0, .. } if *publish == number)
}

/// The 99th percentile, in milliseconds.
pub(crate) fn p99_ms(waits: &mut [Duration]) -> f64 {
    waits.sort_unstable();
    let place = (waits.len() * 99).div_ceil(100).saturating_sub(1);
    waits.get(place).map_or(0.0, |wait| wait.as_secs_f64() * 1000.0)
}
