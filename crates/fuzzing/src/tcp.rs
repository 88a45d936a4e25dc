//! TCP: the RSA exchange, and the frames behind it.

use std::sync::OnceLock;

use secure::keys::{KeyKind, PrivateKey, PublicKey};
use secure::tcp::device::seal_credentials;
use secure::tcp::{
    FRAME_MESSAGE_BYTES_MAX, FrameKeys, FrameOpener, FrameSealer, HandshakeOutput, RsaServerKeys,
    ServerHandshake,
};

use crate::script::Script;

/// Bytes of a device before our answer, some of them well sealed.
pub(crate) fn handshake(input: &[u8]) {
    let mut script = Script(input);
    let keys = Keys::shared();
    let mut handshake = ServerHandshake::new(&mut |bytes| bytes.fill(7));
    let mut nonce = [0; 40];
    let (mut outputs, mut is_over) = (0, false);
    loop {
        while let Some(output) = handshake.poll() {
            outputs += 1;
            assert!(!is_over, "something after the end");
            match output {
                HandshakeOutput::Send(bytes) => nonce = *bytes.first_chunk().unwrap_or(&nonce),
                HandshakeOutput::NeedKey { offered, .. } => {
                    let registered = script.flag().then(|| keys.device.public_key().clone());
                    handshake.key_known(if script.flag() { offered } else { registered });
                }
                HandshakeOutput::Job(job) => handshake.job_done(job.run(&keys.server)),
                HandshakeOutput::Established { .. } | HandshakeOutput::Failed(_) => is_over = true,
            }
        }
        assert!(outputs <= 6, "{outputs} outputs");
        if script.is_done() {
            return;
        }
        match script.byte() % 4 {
            0 => handshake.handle(&sealed(keys, &nonce, script.bytes())),
            _ => handshake.handle(script.bytes()),
        }
    }
}

struct Keys {
    server: RsaServerKeys,
    public: PublicKey,
    device: PrivateKey,
}

impl Keys {
    fn shared() -> &'static Self {
        static KEYS: OnceLock<Keys> = OnceLock::new();
        KEYS.get_or_init(|| {
            let server = PrivateKey::generate(KeyKind::Rsa2048).expect("OpenSSL makes RSA keys");
            Self {
                public: server.public_key().clone(),
                server: RsaServerKeys::new(&server, None).expect("RSA-2048 is what it takes"),
                device: PrivateKey::generate(KeyKind::Rsa1024).expect("OpenSSL makes RSA keys"),
            }
        })
    }
}

/// What a device would say, with an id, a nonce and a padding of the input's choice.
fn sealed(keys: &Keys, nonce: &[u8; 40], bytes: &[u8]) -> Vec<u8> {
    let mut script = Script(bytes);
    let is_short = script.flag();
    let mut nonce = *nonce;
    nonce[0] ^= script.byte();
    let mut id = [0; 12];
    id.fill_with(|| script.byte());
    let own = (!is_short).then(|| keys.device.public_key());
    let padding = script.byte() | 1;
    let sealed = seal_credentials(&keys.public, &nonce, &id, own, &mut |out| out.fill(padding));
    sealed.expect("keys of the right kinds").to_vec()
}

/// Frames, cut anyhow; what was sealed comes out as it went in.
pub(crate) fn frames(input: &[u8]) {
    let keys = FrameKeys { key: [3; 16], iv: [4; 16] };
    let mut raw = FrameOpener::new(&keys);
    let mut rest = input;
    while let Ok(Some(message)) = raw.open(&mut rest) {
        assert!((1..=FRAME_MESSAGE_BYTES_MAX).contains(&message.len()));
    }
    let (mut sealer, mut opener) = (FrameSealer::new(&keys), FrameOpener::new(&keys));
    let mut script = Script(input);
    while !script.is_done() {
        let cut = usize::from(script.byte()) + 1;
        let message = script.bytes();
        let mut frame = Vec::new();
        if sealer.seal(message, &mut frame).is_ok() {
            assert_eq!(opened(&mut opener, &frame, cut), message);
        } else {
            assert!(message.is_empty() || message.len() > FRAME_MESSAGE_BYTES_MAX);
        }
    }
}

fn opened(opener: &mut FrameOpener, frame: &[u8], cut: usize) -> Vec<u8> {
    let mut message = Vec::new();
    for mut piece in frame.chunks(cut) {
        while let Some(part) = opener.open(&mut piece).expect("sealed by the other end") {
            message.extend_from_slice(part);
        }
    }
    message
}
