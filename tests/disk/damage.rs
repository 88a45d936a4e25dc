//! Firmware files that do not fit on the disk, or are lost.

use serde_json::Value;
use sim::firmware::Binary;

use crate::Rig;
use crate::faults::{ENOSPC, Fault};
use crate::support::flash::send_files;
use crate::support::{http, run};

const PLATFORM: u16 = 12;

#[test]
fn a_firmware_file_that_does_not_fit_is_refused_and_one_that_is_lost_is_told() {
    let mut rig = Rig::new();
    let (url, token) = (rig.ports.url(), rig.token.clone());
    let form = format!("name=Sensors&platform_id={PLATFORM}");
    let (_, made) = http("POST", &format!("{url}/v1/user/products"), &token, &form);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let product = made["product"]["id"].as_u64().expect("a number");
    let product = u16::try_from(product).expect("a small number");
    let image = Binary::application(PLATFORM, 30_000).of_product(product, 3).build();
    let firmware = format!("{url}/v1/products/{product}/firmware");
    let upload =
        || send_files("POST", &firmware, &token, &[("version", "3")], &[("a.bin", &image)]);

    let files = rig.path("firmware");
    rig.faults.set([Fault::of_writes(ENOSPC, &files)]);
    let (status, told) = upload();
    assert_eq!(status, 503, "{told}");
    assert_eq!(http("GET", &firmware, &token, "").1, "[]", "half a file is none");
    rig.is_acknowledged();
    assert_eq!(rig.complaint(), None, "devices are served");
    rig.faults.set([]);
    let (status, told) = upload();
    assert_eq!(status, 201, "{told}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let hash = told["hash"].as_str().expect("text").to_owned();

    let file = files.join(&hash[..2]).join(format!("{hash}.bin"));
    let kept = std::fs::read(&file).expect("there");
    std::fs::remove_file(&file).expect("removed");
    let device = format!("{url}/v1/devices/{}", rig.live.device().id());
    let (status, told) = http("PUT", &device, &token, &format!("product_id={product}&version=3"));
    assert_eq!(status, 500, "{told}");
    assert!(told.contains("damaged"), "{told}");
    let checked = run(&["check", "--data", rig.folder.data()], "");
    let told = String::from_utf8_lossy(&checked.stdout);
    assert!(!checked.status.success() && told.contains(&hash), "{told}");
    rig.is_acknowledged();
    std::fs::write(&file, kept).expect("written");
    rig.holds_what_was_acknowledged();
}
