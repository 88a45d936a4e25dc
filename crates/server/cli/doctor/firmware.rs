//! Whether every firmware file is where it belongs.

use std::path::Path;

use super::{Finding, failure, ok};
use crate::admin::{FirmwareFiles, Reply, Request};
use crate::cli::runtime;

const CHECK: &str = "firmware files";

/// Asks the running server.
pub(super) fn check(data: &Path) -> Finding {
    let asked =
        runtime().and_then(|it| it.block_on(crate::admin::run(data, Request::CheckFirmware)));
    match asked {
        Ok(Reply::Firmware(files)) => found(&files),
        Ok(Reply::Refused(why)) => failure(
            CHECK,
            format!("{why}: look at the folder `firmware`, or at the settings in [updates.s3]"),
        ),
        Ok(_) => failure(CHECK, "the server is of another version: restart it".into()),
        Err(why) => failure(CHECK, why),
    }
}

fn found(files: &FirmwareFiles) -> Finding {
    let FirmwareFiles { needed, lost, unused, unused_bytes } = files;
    match lost.first() {
        Some(first) => failure(
            CHECK,
            format!(
                "{} of {needed} are missing or damaged, such as {first}: take them from a backup, or remove the version and upload it again",
                lost.len()
            ),
        ),
        None if *unused > 0 => ok(
            CHECK,
            &format!(
                "{} whole; {unused} more ({unused_bytes} bytes) belong to nothing that this server knows",
                count(*needed)
            ),
        ),
        None => ok(CHECK, &format!("{} whole", count(*needed))),
    }
}

fn count(files: u64) -> String {
    if files == 1 { "1 file is".into() } else { format!("{files} files are") }
}
