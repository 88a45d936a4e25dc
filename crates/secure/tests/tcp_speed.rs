//! How much of a handshake is RSA. Run on an idle machine with
//! `cargo test --release -p cloudchamber-secure --test tcp_speed -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::{Duration, Instant};

use openssl::rsa::Padding;
use secure::keys::{KeyKind, PrivateKey};
use secure::tcp::{HandshakeOutput, RsaServerKeys, ServerHandshake, device};

#[test]
#[ignore = "a measurement, which other work on the machine would spoil"]
fn a_handshake_takes_little_more_than_its_three_rsa_operations() {
    let server = PrivateKey::generate(KeyKind::Rsa2048).unwrap();
    let own = PrivateKey::generate(KeyKind::Rsa1024).unwrap();
    let keys = RsaServerKeys::new(&server, None).unwrap();
    // Alternating rounds, so that a change of the machine's speed meets both.
    let (mut whole, mut bare) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        whole += (0..BATCH).map(|_| handshake(&server, &own, &keys)).sum::<Duration>();
        bare += (0..BATCH).map(|_| three_operations(&server, &own)).sum::<Duration>();
    }
    let share = bare.as_secs_f64() / whole.as_secs_f64();
    let rate = f64::from(ROUNDS * BATCH) / whole.as_secs_f64();
    println!("{rate:.0} handshakes a second, {:.1} % of the bare operations", share * 100.0);
    assert!(share > 0.75);
}

fn handshake(server: &PrivateKey, own: &PrivateKey, keys: &RsaServerKeys) -> Duration {
    let nonce = [7; 40];
    let public = Some(own.public_key());
    let mut fill = |bytes: &mut [u8]| bytes.fill(7);
    let message =
        device::seal_credentials(server.public_key(), &nonce, &[1; 12], public, &mut fill).unwrap();
    let start = Instant::now();
    let mut machine = ServerHandshake::new(&mut fill);
    machine.handle(&message);
    while let Some(output) = machine.poll() {
        match output {
            HandshakeOutput::Job(job) => machine.job_done(job.run(keys)),
            HandshakeOutput::NeedKey { offered, .. } => machine.key_known(offered),
            HandshakeOutput::Established { .. } => return start.elapsed(),
            HandshakeOutput::Send(_) => {}
            HandshakeOutput::Failed(refused) => panic!("{refused}"),
        }
    }
    panic!("the handshake stopped")
}

fn three_operations(server: &PrivateKey, own: &PrivateKey) -> Duration {
    let (server, device) = (server.rsa().unwrap(), own.rsa().unwrap());
    let mut block = [0; 256];
    let start = Instant::now();
    server.private_decrypt(&[1; 256], &mut block, Padding::NONE).unwrap();
    device.public_encrypt(&[2; 40], &mut block, Padding::PKCS1).unwrap();
    server.private_encrypt(&[3; 20], &mut block, Padding::PKCS1).unwrap();
    start.elapsed()
}

const ROUNDS: u32 = 50;
const BATCH: u32 = 20;
