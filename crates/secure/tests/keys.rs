//! Keys in every form users bring, keys that devices can use, and images byte for byte.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::PathBuf;

use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use secure::keys::{Host, KeyError, KeyKind, PrivateKey, PublicKey, ServerAddress, key_image};
use serde_json::Value;

#[test]
fn the_images_of_all_seven_cases_are_those_of_the_official_tool() {
    let vector = vector();
    let blobs = vector["blobs"].as_array().unwrap();
    assert_eq!(blobs.len(), 7);
    for blob in blobs {
        let transport = blob["transport"].as_str().unwrap();
        let key =
            PublicKey::parse(&hex(&vector[format!("{transport}_server_public_der")])).unwrap();
        let address = blob["host"].as_str().map(|host| ServerAddress {
            host: host.parse().unwrap(),
            port: blob["port"].as_u64().map(|port| port.try_into().unwrap()),
        });
        let image = key_image(&key, address.as_ref()).unwrap();
        assert_eq!(image, hex(&blob["blob"]), "{blob}");
        assert_eq!(PublicKey::parse(&image).unwrap(), key);
    }
}

#[test]
fn the_vectors_private_keys_give_their_public_keys_and_are_written_back_unchanged() {
    let vector = vector();
    for (private, public) in [
        ("udp_server_private_sec1_der", "udp_server_public_der"),
        ("udp_device_private_sec1_der", "udp_device_public_der"),
    ] {
        let private = hex(&vector[private]);
        let key = PrivateKey::parse(&private).unwrap();
        assert_eq!(key.public_key().spki(), hex(&vector[public]));
        assert_eq!(PublicKey::parse(&private).unwrap().spki(), hex(&vector[public]));
        assert_eq!(*key.to_der().unwrap(), private);
    }
}

#[test]
fn a_key_is_the_same_key_in_every_encoding() {
    for kind in [KeyKind::P256, KeyKind::Rsa1024, KeyKind::Rsa2048] {
        let key = PrivateKey::generate(kind).unwrap();
        assert_eq!(key.kind(), kind);
        assert_eq!(key.public_key().spki().len(), kind.spki_len());
        for (name, encoding) in private_encodings(&key) {
            let parsed = PrivateKey::parse(&encoding).expect(name);
            assert_eq!(parsed.public_key(), key.public_key(), "{kind:?} {name}");
            assert_eq!(parsed.to_der(), key.to_der(), "{kind:?} {name}");
            assert_eq!(
                PublicKey::parse(&encoding).as_ref(),
                Ok(key.public_key()),
                "{kind:?} {name}"
            );
        }
        for (name, encoding) in public_encodings(&key) {
            assert_eq!(
                PublicKey::parse(&encoding).as_ref(),
                Ok(key.public_key()),
                "{kind:?} {name}"
            );
            assert_eq!(PrivateKey::parse(&encoding).unwrap_err(), KeyError::NotPrivate, "{name}");
        }
    }
}

#[test]
fn a_saved_area_of_device_memory_is_read_with_its_fill() {
    for (kind, area) in [(KeyKind::P256, 192), (KeyKind::Rsa1024, 612)] {
        let key = PrivateKey::generate(kind).unwrap();
        for fill in [0xff, 0x00] {
            let mut image = key.to_der().unwrap();
            image.resize(area, fill);
            assert_eq!(PublicKey::parse(&image).as_ref(), Ok(key.public_key()));
        }
    }
}

#[test]
fn a_pem_file_with_curve_parameters_and_notes_before_the_key_is_read() {
    let key = PrivateKey::generate(KeyKind::P256).unwrap();
    let file = format!(
        "notes\n-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}",
        key.to_pem().unwrap().replace('\n', "\r\n")
    );
    assert_eq!(PublicKey::parse(file.as_bytes()).as_ref(), Ok(key.public_key()));
}

#[test]
fn a_key_with_a_compressed_point_becomes_canonical() {
    let key = PrivateKey::generate(KeyKind::P256).unwrap();
    let point = key.public_key().point().unwrap();
    let parity = 2 + (point[64] & 1);
    let mut spki = hex::decode("3039301306072a8648ce3d020106082a8648ce3d030107032200").unwrap();
    spki.push(parity);
    spki.extend(&point[1..33]);
    assert_eq!(PublicKey::parse(&spki).as_ref(), Ok(key.public_key()));
    assert_eq!(PublicKey::from_spki(&spki), Err(KeyError::Unsupported));
}

#[test]
fn device_keys_have_the_lengths_that_devices_need() {
    let key = PrivateKey::generate(KeyKind::P256).unwrap();
    assert_eq!(key.to_der().unwrap().len(), 121);
    for _ in 0..40 {
        let der = PrivateKey::generate(KeyKind::Rsa1024).unwrap().to_der().unwrap();
        assert!((606..=612).contains(&der.len()), "{}", der.len());
        assert_eq!(der[4..11], [2, 1, 0, 2, 0x81, 0x81, 0]);
        assert_eq!(der[139..144], [2, 3, 1, 0, 1]);
        assert_eq!(der[144..146], [2, 0x81]);
        assert!(der[146] >= 128);
    }
}

#[test]
fn the_vectors_device_key_fits_a_device_and_one_with_a_short_number_does_not() {
    let fits = PrivateKey::parse(&handshake_key("device_private_der")).unwrap();
    assert!(fits.fits_device());
    let short = std::iter::repeat_with(|| Rsa::generate(1024).unwrap())
        .find(|key| key.dmp1().unwrap().num_bytes() < 64 || key.dmq1().unwrap().num_bytes() < 64)
        .unwrap();
    assert!(!PrivateKey::parse(&short.private_key_to_der().unwrap()).unwrap().fits_device());
    let server = PrivateKey::parse(&handshake_key("server_private_der")).unwrap();
    assert!(!server.fits_device());
}

#[test]
fn other_kinds_of_keys_are_unsupported() {
    let curve = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
    let wide = EcKey::generate(&curve).unwrap();
    let three = openssl::bn::BigNum::from_u32(3).unwrap();
    let inputs = [
        Rsa::generate(1536).unwrap().private_key_to_der().unwrap(),
        Rsa::generate_with_e(1024, &three).unwrap().private_key_to_der().unwrap(),
        Rsa::generate_with_e(1024, &three).unwrap().public_key_to_der().unwrap(),
        wide.private_key_to_der().unwrap(),
        wide.public_key_to_der().unwrap(),
        PKey::generate_ed25519().unwrap().private_key_to_pkcs8().unwrap(),
        PKey::generate_ed25519().unwrap().public_key_to_der().unwrap(),
    ];
    for input in inputs {
        assert_eq!(PublicKey::parse(&input), Err(KeyError::Unsupported), "{}", hex::encode(&input));
    }
}

#[test]
fn an_encrypted_key_is_refused_without_asking_for_a_passphrase() {
    let rsa = Rsa::generate(1024).unwrap();
    let cipher = Cipher::aes_128_cbc();
    let traditional = rsa.private_key_to_pem_passphrase(cipher, b"secret").unwrap();
    let key = PKey::from_rsa(rsa).unwrap();
    let pkcs8 = key.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").unwrap();
    for input in [traditional, pkcs8] {
        assert_eq!(PublicKey::parse(&input), Err(KeyError::Encrypted));
        assert_eq!(PrivateKey::parse(&input).unwrap_err(), KeyError::Encrypted);
    }
}

#[test]
fn a_damaged_key_is_told_from_another_one() {
    let mut der = handshake_key("server_private_der");
    let last = der.len() - 1;
    der[last] ^= 1;
    assert_eq!(PrivateKey::parse(&der).unwrap_err(), KeyError::Inconsistent);

    let mut sec1 = hex(&vector()["udp_device_private_sec1_der"]);
    sec1[20] ^= 1;
    assert!(PrivateKey::parse(&sec1).is_err());

    let mut spki = hex(&vector()["udp_device_public_der"]);
    spki[90] ^= 1;
    assert_eq!(PublicKey::from_spki(&spki), Err(KeyError::Inconsistent));
    assert!(PublicKey::parse(&spki).is_err());
}

#[test]
fn what_is_no_key_is_unreadable() {
    for input in [&b""[..], b"hello", b"{\"key\": 1}", &[0xff; 612], &[0x30; 5000], &[b'a'; 20_000]]
    {
        assert!(PublicKey::parse(input).is_err());
    }
}

#[test]
fn a_key_is_registered_under_the_hash_of_its_canonical_form() {
    let spki = hex(&vector()["udp_device_public_der"]);
    let key = PublicKey::from_spki(&spki).unwrap();
    assert_eq!(key.hash(), openssl::sha::sha256(&spki));
    assert!(format!("{key:?}").contains(&hex::encode(key.hash())));
}

#[test]
fn a_device_key_makes_no_server_image() {
    let key = PrivateKey::generate(KeyKind::Rsa1024).unwrap();
    let address = ServerAddress { host: "10.0.0.1".parse::<Host>().unwrap(), port: None };
    assert!(key_image(key.public_key(), Some(&address)).is_err());
}

fn private_encodings(key: &PrivateKey) -> Vec<(&'static str, Vec<u8>)> {
    let pkey = match (key.ec(), key.rsa()) {
        (Some(ec), _) => PKey::from_ec_key(ec.clone()).unwrap(),
        (_, Some(rsa)) => PKey::from_rsa(rsa.clone()).unwrap(),
        _ => unreachable!(),
    };
    vec![
        ("plain DER", key.to_der().unwrap().to_vec()),
        ("plain PEM", key.to_pem().unwrap().as_bytes().to_vec()),
        ("PKCS#8 DER", pkey.private_key_to_pkcs8().unwrap()),
        ("PKCS#8 PEM", pkey.private_key_to_pem_pkcs8().unwrap()),
    ]
}

fn public_encodings(key: &PrivateKey) -> Vec<(&'static str, Vec<u8>)> {
    let public = key.public_key();
    let mut encodings =
        vec![("SPKI DER", public.spki().to_vec()), ("SPKI PEM", public.to_pem().into_bytes())];
    if let Some(rsa) = key.rsa() {
        encodings.push(("PKCS#1 DER", rsa.public_key_to_der_pkcs1().unwrap()));
        encodings.push(("PKCS#1 PEM", rsa.public_key_to_pem_pkcs1().unwrap()));
        encodings.push(("the library's PEM", rsa.public_key_to_pem().unwrap()));
    }
    if let Some(ec) = key.ec() {
        encodings.push(("the library's DER", ec.public_key_to_der().unwrap()));
        let mut context = openssl::bn::BigNumContext::new().unwrap();
        let form = PointConversionForm::UNCOMPRESSED;
        let point = ec.public_key().to_bytes(ec.group(), form, &mut context).unwrap();
        assert_eq!(public.point(), Some(&point[..]));
    }
    encodings
}

fn handshake_key(name: &str) -> Vec<u8> {
    hex(&read("tcp-handshake.json")["keys"][name])
}

fn vector() -> Value {
    read("server-key-blobs.json")
}

fn read(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}
