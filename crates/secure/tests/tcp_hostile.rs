//! What a stranger, a broken network or a wrong key can do to the TCP channel: be refused.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use secure::keys::{KeyKind, PrivateKey, PublicKey};
use secure::tcp::{
    FRAME_MESSAGE_BYTES_MAX, FrameError, FrameKeys, FrameOpener, FrameSealer, HandshakeOutput,
    Refused, RsaServerKeys, SealError, ServerHandshake, device,
};

const DEVICE_ID: [u8; 12] = *b"device id 12";

struct Peers {
    server: PrivateKey,
    device: PrivateKey,
}

impl Peers {
    fn new() -> Self {
        Self { server: new_key(KeyKind::Rsa2048), device: new_key(KeyKind::Rsa1024) }
    }

    fn keys(&self) -> RsaServerKeys {
        RsaServerKeys::new(&self.server, None).unwrap()
    }

    fn credentials(&self, nonce: &[u8; 40]) -> [u8; 256] {
        let own = Some(self.device.public_key());
        device::seal_credentials(self.server.public_key(), nonce, &DEVICE_ID, own, &mut counting())
            .unwrap()
    }
}

#[test]
fn a_device_that_knows_the_previous_server_key_gets_an_answer_signed_with_it() {
    let peers = Peers::new();
    let newer = new_key(KeyKind::Rsa2048);
    let keys = RsaServerKeys::new(&newer, Some(&peers.server)).unwrap();
    let (mut machine, nonce) = begin();
    machine.handle(&peers.credentials(&nonce));
    let (answer, _) = finish(&mut machine, &keys, Some(peers.device.public_key())).unwrap();
    let answer = answer.try_into().unwrap();
    assert!(device::open_answer(&peers.device, peers.server.public_key(), &answer).is_ok());
    assert!(device::open_answer(&peers.device, newer.public_key(), &answer).is_err());
}

#[test]
fn credentials_for_another_server_or_another_nonce_are_refused_alike() {
    let peers = Peers::new();
    let stranger = new_key(KeyKind::Rsa2048);
    let (mut machine, nonce) = begin();
    machine.handle(&peers.credentials(&nonce));
    let keys = RsaServerKeys::new(&stranger, None).unwrap();
    assert_eq!(finish(&mut machine, &keys, None).unwrap_err(), Refused::Credentials);

    let (mut machine, mut nonce) = begin();
    nonce[39] ^= 1;
    machine.handle(&peers.credentials(&nonce));
    assert_eq!(finish(&mut machine, &peers.keys(), None).unwrap_err(), Refused::Credentials);
}

#[test]
fn every_fault_of_the_encoded_message_is_refused_alike() {
    let peers = Peers::new();
    let rsa = peers.server.public_key().to_rsa().unwrap();
    let (_, nonce) = begin();
    let mut sound = vec![0, 2];
    sound.extend([9; 201]);
    sound.push(0);
    sound.extend(nonce);
    sound.extend(DEVICE_ID);
    let refusal = |block: &[u8]| {
        let mut ciphertext = [0; 256];
        rsa.public_encrypt(block, &mut ciphertext, openssl::rsa::Padding::NONE).unwrap();
        let (mut machine, _) = begin();
        machine.handle(&ciphertext);
        finish(&mut machine, &peers.keys(), Some(peers.device.public_key())).err()
    };
    assert_eq!(refusal(&sound), None);
    for index in [0, 1, 2, 100, 202, 203, 204, 243] {
        let mut block = sound.clone();
        block[index] = if block[index] == 0 { 1 } else { 0 };
        assert_eq!(refusal(&block), Some(Refused::Credentials), "byte {index}");
    }
    assert_eq!(refusal(&[0; 256]), Some(Refused::Credentials));
}

#[test]
fn a_ciphertext_beyond_the_modulus_is_refused() {
    let peers = Peers::new();
    for ciphertext in [[0xff; 256], [0; 256]] {
        let (mut machine, _) = begin();
        machine.handle(&ciphertext);
        assert_eq!(finish(&mut machine, &peers.keys(), None).unwrap_err(), Refused::Credentials);
    }
}

#[test]
fn bytes_before_the_answer_end_the_handshake() {
    let peers = Peers::new();
    let (mut machine, nonce) = begin();
    let mut bytes = peers.credentials(&nonce).to_vec();
    bytes.push(0);
    machine.handle(&bytes);
    assert!(matches!(machine.poll(), Some(HandshakeOutput::Failed(Refused::Early))));

    let (mut machine, nonce) = begin();
    machine.handle(&peers.credentials(&nonce));
    let Some(HandshakeOutput::Job(job)) = machine.poll() else { panic!() };
    machine.handle(&[0]);
    machine.job_done(job.run(&peers.keys()));
    assert!(matches!(machine.poll(), Some(HandshakeOutput::Failed(Refused::Early))));
    assert!(machine.poll().is_none());
    machine.handle(&[0; 4096]);
    assert!(machine.poll().is_none());
}

#[test]
fn an_unknown_device_and_one_with_another_key_are_refused() {
    let peers = Peers::new();
    let another = new_key(KeyKind::Rsa1024);
    let elliptic = new_key(KeyKind::P256);
    for (registered, refused) in [
        (None, Refused::KeyUnknown),
        (Some(&another), Refused::KeyDiffers),
        (Some(&elliptic), Refused::KeyUnsupported),
        (Some(&peers.server), Refused::KeyUnsupported),
    ] {
        let (mut machine, nonce) = begin();
        machine.handle(&peers.credentials(&nonce));
        let registered = registered.map(PrivateKey::public_key);
        assert_eq!(finish(&mut machine, &peers.keys(), registered).unwrap_err(), refused);
    }
}

#[test]
fn a_device_without_the_registered_private_key_cannot_open_the_answer() {
    let peers = Peers::new();
    let thief = new_key(KeyKind::Rsa1024);
    let (mut machine, nonce) = begin();
    machine.handle(&peers.credentials(&nonce));
    let (answer, _) = finish(&mut machine, &peers.keys(), Some(peers.device.public_key())).unwrap();
    let opened =
        device::open_answer(&thief, peers.server.public_key(), &answer.try_into().unwrap());
    assert!(opened.is_err());
}

#[test]
fn an_offered_key_that_is_no_device_key_is_refused() {
    let peers = Peers::new();
    let rsa = peers.server.public_key().to_rsa().unwrap();
    let (mut machine, nonce) = begin();
    let mut message = [&nonce[..], &DEVICE_ID, peers.device.public_key().spki()].concat();
    *message.last_mut().unwrap() = 3;
    let mut ciphertext = [0; 256];
    rsa.public_encrypt(&message, &mut ciphertext, openssl::rsa::Padding::PKCS1).unwrap();
    machine.handle(&ciphertext);
    let refused = finish(&mut machine, &peers.keys(), Some(peers.device.public_key()));
    assert_eq!(refused.unwrap_err(), Refused::KeyUnsupported);
}

#[test]
fn only_server_keys_make_server_keys() {
    let device = new_key(KeyKind::Rsa1024);
    let server = new_key(KeyKind::Rsa2048);
    assert!(RsaServerKeys::new(&device, None).is_err());
    assert!(RsaServerKeys::new(&server, Some(&device)).is_err());
}

#[test]
fn messages_survive_any_cutting_of_the_stream() {
    let messages: Vec<Vec<u8>> = [1, 15, 16, 17, 255, FRAME_MESSAGE_BYTES_MAX]
        .map(|len| (0..len).map(|index| index as u8).collect())
        .to_vec();
    let mut stream = Vec::new();
    let mut sealer = FrameSealer::new(&KEYS);
    messages.iter().for_each(|message| sealer.seal(message, &mut stream).unwrap());
    for size in [1, 2, 3, 17, 1460, stream.len()] {
        let mut opener = FrameOpener::new(&KEYS);
        let mut opened = Vec::new();
        for mut segment in stream.chunks(size) {
            while let Some(message) = opener.open(&mut segment).unwrap() {
                opened.push(message.to_vec());
            }
        }
        assert_eq!(opened, messages, "segments of {size}");
        assert!(!opener.is_within_frame());
    }
}

#[test]
fn a_length_that_no_frame_has_ends_the_stream_at_once_and_for_good() {
    for length in [0_u16, 1, 15, 17, 2040, 2049, 2064, 0xffff] {
        let mut opener = FrameOpener::new(&KEYS);
        let mut header = &length.to_be_bytes()[..];
        assert_eq!(opener.open(&mut header), Err(FrameError::Length(length)));
        let mut sound = Vec::new();
        FrameSealer::new(&KEYS).seal(b"x", &mut sound).unwrap();
        assert_eq!(opener.open(&mut &sound[..]), Err(FrameError::Length(length)));
    }
}

#[test]
fn wrong_padding_ends_the_stream() {
    let mut sealed = Vec::new();
    FrameSealer::new(&KEYS).seal(&[7; 20], &mut sealed).unwrap();
    // The last block's padding is the plaintext xor the ciphertext block before it.
    for change in [0x0c, 0x0c ^ 0x11, 0x0c ^ 0xff, 1] {
        let mut changed = sealed.clone();
        changed[2 + 15] ^= change;
        let mut opener = FrameOpener::new(&KEYS);
        assert_eq!(opener.open(&mut &changed[..]), Err(FrameError::Padding), "{change:02x}");
    }
}

#[test]
fn a_frame_without_a_message_ends_the_stream() {
    use openssl::symm::{Cipher, encrypt};
    let ciphertext = encrypt(Cipher::aes_128_cbc(), &KEYS.key, Some(&KEYS.iv), &[]).unwrap();
    let frame = [&[0, 16][..], &ciphertext].concat();
    let mut opener = FrameOpener::new(&KEYS);
    assert_eq!(opener.open(&mut &frame[..]), Err(FrameError::Empty));
}

#[test]
fn frames_of_another_key_do_not_pass_for_long() {
    let mut stream = Vec::new();
    let mut sealer = FrameSealer::new(&KEYS);
    (0..64).for_each(|_| sealer.seal(b"a message of some length", &mut stream).unwrap());
    let other = FrameKeys { key: [3; 16], iv: [2; 16] };
    let mut opener = FrameOpener::new(&other);
    let mut input = &stream[..];
    let end = loop {
        match opener.open(&mut input) {
            Ok(Some(_)) => {}
            end => break end.map(|_| ()),
        }
    };
    assert_eq!(end, Err(FrameError::Padding));
}

#[test]
fn a_message_that_fits_no_frame_is_refused_and_leaves_the_stream_intact() {
    let (mut sealer, mut stream) = (FrameSealer::new(&KEYS), Vec::new());
    assert_eq!(sealer.seal(&[], &mut stream), Err(SealError::Empty));
    assert_eq!(sealer.seal(&[0; 2048], &mut stream), Err(SealError::TooLong(2048)));
    sealer.seal(b"x", &mut stream).unwrap();
    assert_eq!(FrameOpener::new(&KEYS).open(&mut &stream[..]), Ok(Some(&b"x"[..])));
}

#[test]
fn random_bytes_never_panic_and_never_stay() {
    let mut fill = counting();
    let mut state = 1_u32;
    for _ in 0..2000 {
        let mut bytes = [0; 512];
        fill(&mut bytes);
        for byte in &mut bytes {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte ^= (state >> 24) as u8;
        }
        let mut opener = FrameOpener::new(&KEYS);
        let mut input = &bytes[..];
        while let Ok(Some(_)) = opener.open(&mut input) {}
        let _ = PublicKey::parse(&bytes);
        let _ = PrivateKey::parse(&bytes);
    }
}

fn begin() -> (ServerHandshake, [u8; 40]) {
    let mut machine = ServerHandshake::new(&mut counting());
    let Some(HandshakeOutput::Send(nonce)) = machine.poll() else { panic!() };
    (machine, nonce.try_into().unwrap())
}

fn finish(
    machine: &mut ServerHandshake,
    keys: &RsaServerKeys,
    registered: Option<&PublicKey>,
) -> Result<(Vec<u8>, FrameKeys), Refused> {
    let mut sent = Vec::new();
    while let Some(output) = machine.poll() {
        match output {
            HandshakeOutput::Job(job) => machine.job_done(job.run(keys)),
            HandshakeOutput::NeedKey { device_id, .. } => {
                assert_eq!(device_id, DEVICE_ID);
                machine.key_known(registered.cloned());
            }
            HandshakeOutput::Send(bytes) => sent = bytes,
            HandshakeOutput::Established { keys, .. } => return Ok((sent, keys)),
            HandshakeOutput::Failed(refused) => return Err(refused),
        }
    }
    panic!("the handshake stopped")
}

fn new_key(kind: KeyKind) -> PrivateKey {
    PrivateKey::generate(kind).unwrap()
}

fn counting() -> impl FnMut(&mut [u8]) {
    let mut next = 0_u8;
    move |bytes| {
        bytes.fill_with(|| {
            next = next.wrapping_add(1);
            next
        });
    }
}

const KEYS: FrameKeys = FrameKeys { key: [1; 16], iv: [2; 16] };
