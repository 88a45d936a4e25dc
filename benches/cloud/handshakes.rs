//! Full handshakes for each second of the server's processor, against the bare arithmetic in them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Mono;
use nix::sys::resource::{UsageWho, getrusage};
use openssl::pkey::{Private, Public};
use openssl::rsa::{Padding, Rsa};
use secure::dtls::ContentType;
use secure::keys::PrivateKey;
use secure::p256::{OpensslP256, P256, SigningKey};
use secure::tcp::device::{open_answer, seal_credentials};
use secure::tcp::{NONCE_BYTES, SESSION_KEY_BYTES};
use sim::device::{Device, Output, Setup, Trust};
use sim::identity::Identity;

use crate::Outcome;
use crate::devices::{identity, setup};
use crate::server::Server;
use crate::wire::Wire;

/// Handshakes at once, and so many devices take part.
pub(crate) const OPEN: usize = 192;
/// Threads that connect over TCP, one connection each.
pub(crate) const TCP_CLIENTS: usize = 4;
/// Level warning, close_notify.
const CLOSE_NOTIFY: [u8; 2] = [1, 0];
/// Longer than the first retransmission.
const PATIENCE: Duration = Duration::from_secs(10);

/// One round: handshakes the server did in a second of its processor time, and how often the
/// arithmetic in one of them can be done in a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) per_cpu_s: f64,
    pub(crate) ceiling: f64,
}

/// DTLS handshakes, from ClientHello to Finished, of devices from `first` on.
pub(crate) fn dtls(
    server: &Server,
    trust: &Trust,
    wire: &mut Wire,
    first: usize,
    count: usize,
) -> Outcome<Round> {
    let ceiling = 1.0 / p256_arithmetic(count / 4)?.as_secs_f64();
    let cpu = server.cpu()?;
    let mut storm =
        Storm { wire, setup: setup(trust), first, devices: Vec::new(), begun: 0, count };
    storm.run()?;
    Ok(Round { per_cpu_s: count as f64 / (server.cpu()? - cpu).as_secs_f64(), ceiling })
}

/// Devices that connect and are thrown away when they are connected.
struct Storm<'a> {
    wire: &'a mut Wire,
    setup: Arc<Setup>,
    first: usize,
    /// By place; one that is done begins again.
    devices: Vec<Option<Device>>,
    begun: usize,
    count: usize,
}

impl Storm<'_> {
    fn run(&mut self) -> Outcome {
        for place in 0..OPEN.min(self.count) {
            self.devices.push(None);
            self.begin(place);
        }
        let (mut done, mut progress_at) = (0, Instant::now());
        while done < self.count {
            for datagram in 0..self.wire.receive(PATIENCE)? {
                done += usize::from(self.take(datagram));
                progress_at = Instant::now();
            }
            if progress_at.elapsed() >= PATIENCE {
                return Err("handshakes do not end".into());
            }
        }
        Ok(())
    }

    /// Hands a datagram to its device; whether that is connected now.
    fn take(&mut self, datagram: usize) -> bool {
        let (address, bytes) = self.wire.datagram(datagram);
        let place = address.wrapping_sub(self.first);
        let Some(device) = self.devices.get_mut(place).and_then(Option::as_mut) else {
            return false;
        };
        device.handle_datagram(Mono(0), bytes);
        if !device.has_session() {
            self.send(place);
            return false;
        }
        self.close(place);
        if self.begun < self.count {
            self.begin(place);
        }
        true
    }

    /// Sessions without a Hello are few at a time, so a device that is done says goodbye.
    fn close(&mut self, place: usize) {
        if let Some((mut session, _)) = self.devices[place].take().and_then(Device::into_session) {
            let mut alert = Vec::new();
            let sealed = session.seal(ContentType::Alert, &CLOSE_NOTIFY, &mut alert);
            debug_assert!(sealed.is_ok(), "a device's numbers are not limited");
            self.wire.send(self.first + place, &alert);
        }
    }

    fn begin(&mut self, place: usize) {
        self.begun += 1;
        let identity = identity(self.first + place);
        let mut device = Device::new(identity, Arc::clone(&self.setup), self.begun as u64);
        device.power_on(Mono(0));
        self.devices[place] = Some(device);
        self.send(place);
    }

    fn send(&mut self, place: usize) {
        while let Some(output) = self.devices[place].as_mut().and_then(Device::poll_output) {
            if let Output::Datagram(bytes) = output {
                self.wire.send(self.first + place, &bytes);
            }
        }
    }
}

/// A new key and a signature, an agreement and a check: what a handshake costs the server at least.
fn p256_arithmetic(count: usize) -> Outcome<Duration> {
    let curve = OpensslP256::new()?;
    let (ours, theirs) = (SigningKey::from_scalar(&[1; 32])?, SigningKey::from_scalar(&[2; 32])?);
    let digest = [3; 32];
    let signature = curve.sign(&theirs, &digest)?;
    processor_time(count, |number| {
        let mut secret = [4; 32];
        secret[24..].copy_from_slice(&(number as u64).to_be_bytes());
        curve.public_point(&secret)?;
        curve.sign(&ours, &digest)?;
        curve.agree(&secret, theirs.point())?;
        Ok(curve.verify(theirs.point(), &digest, &signature)?)
    })
}

/// The processor time of one of `count` turns on this thread.
fn processor_time(count: usize, mut turn: impl FnMut(usize) -> Outcome) -> Outcome<Duration> {
    let begun = thread_time()?;
    for number in 0..count {
        turn(number)?;
    }
    Ok((thread_time()? - begun) / count as u32)
}

fn thread_time() -> Outcome<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let (user, system) = (usage.user_time(), usage.system_time());
    let micros = (user.tv_sec() + system.tv_sec()) * 1_000_000 + user.tv_usec() + system.tv_usec();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

/// A device that connects over TCP.
pub(crate) fn tcp_identity(index: usize) -> Identity {
    Identity::of_fleet("2a003f00", 7, index as u32, true)
}

/// TCP handshakes, from the connection to the server's answer, by [`TCP_CLIENTS`] devices.
pub(crate) fn tcp(server: &Server, trust: &Trust, count: usize) -> Outcome<Round> {
    let ceiling = 1.0 / rsa_arithmetic(count / 4)?.as_secs_f64();
    let identities: Vec<Identity> = (0..TCP_CLIENTS).map(tcp_identity).collect();
    let keys = identities.iter().map(|identity| identity.key.private_key());
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let (cpu, address, each) = (server.cpu()?, server.ports.tcp, count / TCP_CLIENTS);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let clients = identities.iter().zip(&keys).map(|(identity, key)| {
            scope.spawn(move || {
                (0..each).try_for_each(|_| shake_hands(address, trust, identity, key))
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().map(|client| client.join().map_err(|_| "a client panicked")?).collect()
    });
    outcomes.into_iter().collect::<Outcome>()?;
    let done = each * TCP_CLIENTS;
    Ok(Round { per_cpu_s: done as f64 / (server.cpu()? - cpu).as_secs_f64(), ceiling })
}

fn shake_hands(
    address: SocketAddr,
    trust: &Trust,
    identity: &Identity,
    key: &PrivateKey,
) -> Outcome {
    let server = trust.rsa.as_ref().ok_or("no RSA key")?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut nonce = [0; NONCE_BYTES];
    stream.read_exact(&mut nonce)?;
    let mut fill = |bytes: &mut [u8]| bytes.fill(0x5a);
    let id = identity.id.as_bytes();
    let sealed = seal_credentials(server, &nonce, id, Some(key.public_key()), &mut fill)?;
    stream.write_all(&sealed)?;
    let mut answer = [0; SESSION_KEY_BYTES];
    stream.read_exact(&mut answer)?;
    open_answer(key, server, &answer)?;
    Ok(())
}

/// Two operations with the server's private key and one with the device's public key.
fn rsa_arithmetic(count: usize) -> Outcome<Duration> {
    let server = Rsa::generate(2048)?;
    let device = Rsa::generate(1024)?;
    let device = Rsa::from_public_components(device.n().to_owned()?, device.e().to_owned()?)?;
    let mut block = [0; 256];
    server.public_encrypt(&[7; 100], &mut block, Padding::PKCS1)?;
    processor_time(count, |_| Ok(rsa_operations(&server, &device, &block)?))
}

fn rsa_operations(
    server: &Rsa<Private>,
    device: &Rsa<Public>,
    block: &[u8],
) -> Result<(), openssl::error::ErrorStack> {
    let mut out = [0; 256];
    server.private_decrypt(block, &mut out, Padding::NONE)?;
    server.private_encrypt(&[7; 20], &mut out, Padding::PKCS1)?;
    device.public_encrypt(&[7; 40], &mut out[..128], Padding::PKCS1)?;
    Ok(())
}
