//! Firmware binaries: what is read out of them, and what is refused.

use model::{Platform, ProductId};
use proptest::prelude::*;
use protocol::firmware::{Firmware, FirmwareError, Function};
use sim::firmware::{Binary, seal};

const ARGON: u16 = 12;
const PRODUCT: u16 = 12_345;

fn application() -> Binary {
    let dependencies = vec![(4, 1, 6200)];
    Binary { dependencies, ..Binary::application(ARGON, 10_000) }.of_product(PRODUCT, 7)
}

/// Replaces bytes and makes hash and CRC fit again.
fn resealed(file: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut file = file[..file.len() - 38].to_vec();
    change(&mut file);
    seal(&mut file);
    file
}

#[test]
fn an_application_tells_everything_about_itself() {
    let file = application().build();
    let read = Firmware::read(&file).expect("whole");
    assert_eq!(read.platform, Platform(ARGON));
    assert_eq!((read.function, read.index), (Function::UserPart, 1));
    assert_eq!(read.product, Some(ProductId(PRODUCT.into())));
    assert_eq!(read.product_version, Some(7));
    assert_eq!(read.dependencies.len(), 1);
    assert_eq!(read.dependencies[0].version, 6200);
    assert_eq!(read.module_hash[..], file[file.len() - 38..file.len() - 6]);
    assert_eq!(read.bytes, 10_000);
}

#[test]
fn an_application_whose_product_is_its_platform_is_of_no_product() {
    for product in [(ARGON, 0xffff), (0xffff, 0xffff), (0, 1)] {
        let file = Binary { product: Some(product), ..application() }.build();
        let read = Firmware::read(&file).expect("whole");
        assert_eq!((read.product, read.product_version), (None, None));
    }
}

#[test]
fn each_changed_byte_is_noticed() {
    let file = Binary { bytes: 300, ..application() }.build();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(Firmware::read(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn a_truncated_or_lengthened_file_is_told_from_a_damaged_one() {
    let file = application().build();
    for length in [file.len() - 1, 5_000, 200] {
        let why = Firmware::read(&file[..length]).expect_err("truncated");
        assert_eq!(why, FirmwareError::WrongSize { bytes: length, header: 10_000 });
        assert!(why.to_string().contains("truncated"), "{why}");
    }
    let longer = [&file[..], b"x"].concat();
    assert!(matches!(Firmware::read(&longer), Err(FirmwareError::WrongSize { .. })));
    assert!(matches!(Firmware::read(&file[..40]), Err(FirmwareError::TooShort { bytes: 40 })));
    assert!(matches!(Firmware::read(&[0; 500]), Err(FirmwareError::NoHeader)));
}

#[test]
fn a_wrong_crc_and_a_wrong_hash_are_told_apart() {
    let mut file = application().build();
    let last = file.len() - 1;
    file[last] ^= 1;
    assert!(matches!(Firmware::read(&file), Err(FirmwareError::Crc { .. })));
    let mut file = application().build();
    let at = file.len() - 30;
    file[at] ^= 1;
    let crc = crc32fast::hash(&file[..last - 3]).to_be_bytes();
    file[last - 3..].copy_from_slice(&crc);
    assert_eq!(Firmware::read(&file), Err(FirmwareError::Hash));
}

#[test]
fn a_suffix_of_an_impossible_size_is_refused() {
    for size in [0_u16, 35, 0xffff] {
        let mut file = application().build();
        let end = file.len();
        file[end - 6..end - 4].copy_from_slice(&size.to_le_bytes());
        let crc = crc32fast::hash(&file[..end - 4]).to_be_bytes();
        file[end - 4..].copy_from_slice(&crc);
        assert_eq!(Firmware::read(&file), Err(FirmwareError::Suffix), "{size}");
    }
}

#[test]
fn files_for_others_are_refused_in_words() {
    let read = Firmware::read(&application().build()).expect("whole");
    let why = read.suits(Platform(13)).expect_err("another platform").to_string();
    assert!(why.contains("argon") && why.contains("boron"), "{why}");
    let why = read.is_version(7, ProductId(10_001)).expect_err("another product").to_string();
    assert!(why.contains("12345") && why.contains("10001"), "{why}");
    let why = read.is_version(8, ProductId(12_345)).expect_err("another version").to_string();
    assert!(why.contains('7') && why.contains('8'), "{why}");
    let none = Binary { product: None, ..application() }.build();
    let none = Firmware::read(&none).expect("whole").is_version(7, ProductId(12_345));
    assert_eq!(none, Err(FirmwareError::NoProduct));
    let system = Binary { function: 4, ..application() }.build();
    let system = Firmware::read(&system).expect("whole").is_version(7, ProductId(12_345));
    assert!(matches!(system, Err(FirmwareError::NoApplication { .. })));
    read.suits(Platform(ARGON)).expect("its own platform");
    read.is_version(7, ProductId(12_345)).expect("its own product");
}

#[test]
fn a_module_that_is_no_devices_business_is_refused() {
    let settings = Binary { function: 6, ..application() }.build();
    assert_eq!(Firmware::read(&settings), Err(FirmwareError::NotFlashable { function: 6 }));
}

#[test]
fn the_header_is_found_behind_a_vector_table() {
    for offset in [0x200_usize, 0x184, 0x10c, 0xc0] {
        let bare = application().build();
        let mut file = vec![0x20; offset];
        file.extend(&bare[..bare.len() - 38]);
        let end = (0x0008_0000 + file.len() as u32 + 34).to_le_bytes();
        file[offset + 4..offset + 8].copy_from_slice(&end);
        seal(&mut file);
        let read = Firmware::read(&file).expect("whole");
        assert_eq!((read.platform, read.bytes), (Platform(ARGON), file.len()), "{offset:#x}");
    }
}

#[test]
fn the_product_of_gen_4_stands_in_an_extension() {
    let mut extensions = vec![0x02, 0, 8, 0, 1, 2, 3, 4];
    extensions.extend([0x01, 0, 10, 0]);
    extensions.extend([0xff, 0xff]);
    extensions.extend(20_000_u16.to_le_bytes());
    extensions.extend(9_u16.to_le_bytes());
    extensions.extend([0, 0, 4, 0]);
    let bare = Binary { platform: 32, ..application() }.build();
    let mut file = bare[..bare.len() - 44].to_vec();
    file.extend(&extensions);
    file.extend([0; 2]);
    let end = (0x0008_0000 + file.len() as u32 + 34).to_le_bytes();
    file[4..8].copy_from_slice(&end);
    seal(&mut file);
    // The suffix is larger than the builder's.
    let size = u16::try_from(36 + extensions.len()).expect("small");
    let crc_at = file.len() - 4;
    file[crc_at - 2..crc_at].copy_from_slice(&size.to_le_bytes());
    let crc = crc32fast::hash(&file[..crc_at]).to_be_bytes();
    file[crc_at..].copy_from_slice(&crc);
    let read = Firmware::read(&file).expect("whole");
    assert_eq!((read.product, read.product_version), (Some(ProductId(20_000)), Some(9)));
}

#[test]
fn a_compressed_module_is_whole_when_its_own_bytes_are() {
    let compressed = |fields: [u8; 8]| {
        resealed(&application().build(), |file| {
            file[9] |= 0x02;
            file[4..8].copy_from_slice(&(0x0008_0000_u32 + 900_000).to_le_bytes());
            file[24..32].copy_from_slice(&fields);
        })
    };
    let read = Firmware::read(&compressed([8, 0, 0, 15, 0, 0, 8, 0])).expect("whole");
    assert!(read.compressed);
    assert_eq!(read.bytes, 10_000);
    for fields in [[8, 0, 1, 15, 0, 0, 8, 0], [7, 0, 0, 15, 0, 0, 8, 0], [8, 0, 0, 15, 0, 0, 0, 0]]
    {
        assert_eq!(Firmware::read(&compressed(fields)), Err(FirmwareError::Compressed));
    }
}

#[test]
fn a_combined_file_is_whole_when_each_of_its_modules_is() {
    let first = resealed(&Binary { bytes: 4_000, ..application() }.build(), |file| file[9] |= 0x04);
    let second = Binary { bytes: 3_000, seed: 2, ..application() }.build();
    let both = [&first[..], &second].concat();
    let read = Firmware::read(&both).expect("whole");
    assert!(read.combined);
    assert_eq!(read.bytes, 7_000);
    let mut damaged = both.clone();
    damaged[5_000] ^= 1;
    assert!(Firmware::read(&damaged).is_err());
    assert_eq!(Firmware::read(&both[..6_000]), Err(FirmwareError::Combined));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_fail_other_than_by_refusing(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = Firmware::read(&bytes);
    }

    #[test]
    fn no_change_of_a_good_file_that_keeps_its_crc_makes_it_fail_otherwise(
        changes in prop::collection::vec((0_usize..1_162, any::<u8>()), 1..12),
        suffix in prop::option::of(any::<u16>()),
        length in 62_usize..1_200,
    ) {
        let mut file = Binary { bytes: 1_200, ..application() }.build();
        for (at, value) in changes {
            file[at] = value;
        }
        file.truncate(length);
        let end = file.len();
        if let Some(size) = suffix {
            file[end - 6..end - 4].copy_from_slice(&size.to_le_bytes());
        }
        let crc = crc32fast::hash(&file[..end - 4]).to_be_bytes();
        file[end - 4..].copy_from_slice(&crc);
        let _ = Firmware::read(&file);
    }

    #[test]
    fn what_was_built_is_read_back(platform in prop::sample::select(vec![0_u16, 6, 10, 13, 32, 35]), version in 0_u16..0xffff, size in 100_usize..5_000) {
        let file = Binary::application(platform, size).of_product(20_000, version).build();
        let read = Firmware::read(&file).expect("whole");
        prop_assert_eq!(read.platform.0, platform);
        prop_assert_eq!(read.product_version, Some(version));
        prop_assert_eq!(read.bytes, file.len());
    }
}
