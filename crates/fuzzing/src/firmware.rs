//! Firmware files, as they are and with their checksums put right, so that what is behind those is
//! reached.

use model::ProductId;
use protocol::firmware::{FIRMWARE_BYTES_MIN, Firmware};
use sha2::{Digest, Sha256};

pub(crate) fn run(input: &[u8]) {
    read(input);
    if input.len() >= FIRMWARE_BYTES_MIN {
        read(&put_right(input));
    }
}

fn read(file: &[u8]) {
    match Firmware::read(file) {
        Ok(firmware) => {
            assert_eq!(firmware.bytes, file.len());
            assert!(firmware.dependencies.len() <= 2);
            let _ = firmware.suits(firmware.platform);
            let _ = firmware.is_version(1, ProductId(10_000));
        }
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}

/// With the addresses of its length, the hash and the CRC of what it holds.
fn put_right(input: &[u8]) -> Vec<u8> {
    let mut file = input.to_vec();
    if file[9] & 0x80 == 0 {
        let start = u32::from_le_bytes([file[0], file[1], file[2], file[3]]);
        let told = u32::try_from(file.len() - 4).unwrap_or(u32::MAX);
        file[4..8].copy_from_slice(&start.wrapping_add(told).to_le_bytes());
    }
    let body = file.len() - 4;
    let hash = Sha256::digest(&file[..body - 34]);
    file[body - 34..body - 2].copy_from_slice(&hash);
    let crc = crc32fast::hash(&file[..body]);
    file[body..].copy_from_slice(&crc.to_be_bytes());
    file
}
