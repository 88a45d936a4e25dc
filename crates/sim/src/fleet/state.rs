//! Retained memory of a fleet in a file, so that the next run resumes its sessions.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::Path;

use model::DeviceId;
use serde::{Deserialize, Serialize};

use super::FleetError;
use crate::device::{Device, RetainedMemory};

/// What was read from a state file.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    by_id: BTreeMap<DeviceId, RetainedMemory>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    device: String,
    memory: RetainedMemory,
}

impl Stored {
    /// Gives a device its memory back, once.
    pub(crate) fn restore(&mut self, device: &mut Device) {
        if let Some(memory) = self.by_id.remove(&device.id()) {
            device.restore_memory(&memory);
        }
    }
}

/// Reads a state file; one that does not exist is empty.
pub(crate) fn load(path: &Path) -> Result<Stored, FleetError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Stored::default()),
        Err(error) => return Err(failure(path, error)),
    };
    let mut stored = Stored::default();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|error| failure(path, error))?;
        let Line { device, memory } =
            serde_json::from_str(&line).map_err(|error| failure(path, error.into()))?;
        if let Ok(id) = device.parse() {
            stored.by_id.insert(id, memory);
        }
    }
    Ok(stored)
}

/// Writes the sessions of all devices that have one, in place of the old file.
pub(crate) fn save<'a>(
    path: &Path,
    devices: impl Iterator<Item = &'a Device>,
) -> Result<(), FleetError> {
    let temporary = path.with_extension("new");
    write(&temporary, devices)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|error| failure(path, error))
}

fn write<'a>(path: &Path, devices: impl Iterator<Item = &'a Device>) -> std::io::Result<()> {
    let mut file = BufWriter::new(private_file(path)?);
    for device in devices {
        if let Some(memory) = device.retained_memory() {
            let line = Line { device: device.id().to_string(), memory };
            serde_json::to_writer(&mut file, &line)?;
            file.write_all(b"\n")?;
        }
    }
    file.flush()
}

/// It holds session keys.
fn private_file(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn failure(path: &Path, error: std::io::Error) -> FleetError {
    FleetError::Io { what: path.display().to_string(), error }
}
