//! The first message of a handshake, as Device OS spells it.

use secure::dtls::ContentType;
use secure::dtls::codec::{
    self, CIPHER_SUITE, RAW_PUBLIC_KEY, RENEGOTIATION_SCSV, VERSION_1_2, extension, handshake_type,
};

/// The datagram that opens a handshake.
pub(crate) fn first_client_hello(offers_cid: bool, client_random: &[u8; 32]) -> Vec<u8> {
    let body = client_hello(offers_cid, client_random, &[]);
    let (mut message, mut datagram) = (Vec::new(), Vec::new());
    codec::write_handshake(handshake_type::CLIENT_HELLO, 0, &body, &mut message);
    codec::write_plain_record(ContentType::Handshake, 0, &message, &mut datagram);
    datagram
}

/// The ClientHello of Device OS, byte for byte (`dtls-session.md` §3).
pub(super) fn client_hello(offers_cid: bool, client_random: &[u8; 32], cookie: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    body.extend(VERSION_1_2);
    body.extend(client_random);
    body.push(0);
    body.push(cookie.len() as u8);
    body.extend(cookie);
    body.extend([0, 4]);
    body.extend(CIPHER_SUITE.to_be_bytes());
    body.extend(RENEGOTIATION_SCSV.to_be_bytes());
    body.extend([1, 0]);
    let extensions = client_extensions(offers_cid);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    body
}

fn client_extensions(offers_cid: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(45);
    let mut add = |number: u16, body: &[u8]| {
        bytes.extend(number.to_be_bytes());
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
    };
    add(extension::SIGNATURE_ALGORITHMS, &[0, 8, 4, 3, 4, 1, 3, 3, 3, 1]);
    add(extension::SUPPORTED_GROUPS, &[0, 2, 0, 23]);
    add(extension::EC_POINT_FORMATS, &[1, 0]);
    if offers_cid {
        add(extension::CONNECTION_ID_DRAFT_05, &[0]);
    }
    add(extension::CLIENT_CERTIFICATE_TYPE, &[1, RAW_PUBLIC_KEY]);
    add(extension::SERVER_CERTIFICATE_TYPE, &[1, RAW_PUBLIC_KEY]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(offers_cid: bool, client_random: &str) -> String {
        let mut random = [0; 32];
        hex::decode_to_slice(client_random, &mut random).expect("hex");
        hex::encode(first_client_hello(offers_cid, &random))
    }

    #[test]
    fn the_client_hello_of_6_2_0_is_the_recorded_one() {
        let random = "3ac3aa9fbc9539e279fda64479b90320d48406ec99f6e3b144557443dc61ab22";
        let recorded = concat!(
            "16fefd000000000000000000670100005b000000000000005bfefd",
            "3ac3aa9fbc9539e279fda64479b90320d48406ec99f6e3b144557443dc61ab22",
            "00000004c0ae00ff0100002d000d000a00080403040103030301000a000400020017000b0002010000fe0001",
            "00001300020102001400020102"
        );
        assert_eq!(hello(true, random), recorded);
    }

    #[test]
    fn the_client_hello_of_3_0_0_is_the_recorded_one() {
        let random = "dea7187b9a2fce7b1a7529e41f6e70ca0d8a1a31da215c5264a6504abba9a628";
        let recorded = concat!(
            "16fefd00000000000000000062010000560000000000000056fefd",
            "dea7187b9a2fce7b1a7529e41f6e70ca0d8a1a31da215c5264a6504abba9a628",
            "00000004c0ae00ff01000028000d000a00080403040103030301000a000400020017000b0002010000130002",
            "0102001400020102"
        );
        assert_eq!(hello(false, random), recorded);
    }
}
