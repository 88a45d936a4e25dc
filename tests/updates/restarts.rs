//! Images on their way while server and device lose their power, over the real binary.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use sim::device::profile::Generation;
use sim::device::{Device, Observation, UpdateFault, UpdateStep};
use sim::firmware::Binary;
use sim::live::Live;

use crate::support::folder::{Folder, Ports, identity};
use crate::support::live::connect;
use crate::{device, flash};

const MIB: usize = 1 << 20;
/// 1 MiB takes eight seconds.
const BANDWIDTH: &str = "131072";

struct Bench {
    live: Live,
    ports: Ports,
    token: String,
    id: String,
}

impl Bench {
    /// A device that takes large images, in large pieces.
    fn connected(folder: &Folder, generation: Generation, ports: Ports) -> Self {
        let mut setup = folder.setup(generation);
        setup.profile.binary_bytes_max = 2 << 20;
        setup.profile.chunk_bytes = 900;
        let made = Device::new(identity(generation, 0), setup.into(), 1);
        let mut live = Live::new(made, ports.udp());
        connect(&mut live);
        let id = live.device().id().to_string();
        Self { live, ports, token: folder.token(), id }
    }

    fn update(&self) -> Value {
        device(&self.ports.url(), &self.token, &self.id)["firmware_update"].clone()
    }

    /// Lets the device live until the update is over.
    fn finish(&mut self) {
        let end = Instant::now() + Duration::from_secs(180);
        loop {
            self.live.run(Duration::from_millis(300));
            let shown = self.update();
            if shown["status"] == "success" {
                return;
            }
            assert!(Instant::now() < end && shown["status"] != "failed", "{shown}");
        }
    }

    fn offsets(&self) -> Vec<usize> {
        let offset = |seen: &Observation| match seen {
            Observation::Update(UpdateStep::Begun { offset }) => Some(*offset),
            _ => None,
        };
        self.live.observations().iter().filter_map(offset).collect()
    }

    fn applied(&self) -> usize {
        let applied = Observation::Update(UpdateStep::Applied);
        self.live.observations().iter().filter(|seen| **seen == applied).count()
    }
}

/// The server is killed twice and the device loses its power once, at moments that differ in each run.
fn interrupted(generation: Generation, kills: usize) -> Vec<usize> {
    let seed: u64 = rand::random();
    let mut random = SmallRng::seed_from_u64(seed);
    let folder = Folder::new();
    folder.register(&[identity(generation, 0)]);
    let slow = [("CLOUDCHAMBER_OTA__BANDWIDTH_BYTES", BANDWIDTH)];
    let mut server = folder.serve_with(&slow);
    let mut bench = Bench::connected(&folder, generation, Ports::of(&server));
    let platform = bench.live.device().setup().profile.platform.0;
    let file = Binary::application(platform, MIB).build();
    let chunk = random.random_range(100..900);
    bench.live.device().set_update_fault(UpdateFault::PowerCut { chunk });
    flash(&bench.ports.url(), &bench.token, &bench.id, &file);
    for _ in 0..kills {
        bench.live.run(Duration::from_millis(random.random_range(200..3_500)));
        server.kill();
        server = folder.serve_again(&bench.ports, &slow);
    }
    bench.finish();
    let offsets = bench.offsets();
    assert_eq!(bench.applied(), 1, "seed {seed}: applied once, as a whole; {offsets:?}");
    let installed = bench.live.device().installed().expect("an update");
    assert!(installed.image == file, "seed {seed}: the image is not what was sent; {offsets:?}");
    offsets
}

#[test]
fn a_mebibyte_survives_two_kills_of_the_server_and_a_loss_of_power_of_the_device() {
    let offsets = interrupted(Generation::Os6, 2);
    assert!(
        offsets.is_sorted() && offsets.last() > Some(&0),
        "what was there is kept: {offsets:?}"
    );
}

#[test]
fn a_legacy_mebibyte_starts_again_after_a_kill_of_the_server_and_a_loss_of_power() {
    let offsets = interrupted(Generation::Os3, 1);
    assert!(offsets.iter().all(|offset| *offset == 0), "{offsets:?}");
}
