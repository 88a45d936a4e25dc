//! One TCP device: the RSA handshake, its arithmetic on the pool, then bytes to and from its shard.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::limits::TRAFFIC_TOLD;
use model::{DeviceId, KeyHash, LinkId, Traffic};
use rand::Rng;
use secure::keys::PublicKey;
use secure::tcp::{FrameKeys, HandshakeOutput, Job, Refused, ServerHandshake};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::mail::{Attach, Mail, Mailbox, Notice, WRITES_MAX};
use crate::metrics;
use crate::pool::Tell;
use crate::shared::Shared;
use crate::tcp_traffic::TcpTraffic;

/// A frame that the device's window does not take for so long ends the connection.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes read at once; a device's message is at most 1,300.
const READ_BYTES: usize = 4096;

/// Why a connection ended. All of them are for the log alone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The pool has ended.
    #[error("no arithmetic is done any more")]
    NoPool,
    /// The device or the server closed it, or the network did.
    #[error(transparent)]
    Gone(#[from] io::Error),
    /// The handshake was refused.
    #[error(transparent)]
    Refused(Refused),
    /// The shard has no room for it, or has ended.
    #[error("the shard does not take it")]
    ShardRefused,
    /// The handshake took too long.
    #[error("the handshake took too long")]
    TooSlow,
}

/// What a handshake yields.
struct Established {
    device: DeviceId,
    device_key: PublicKey,
    keys: FrameKeys,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    shared: &Arc<Shared>,
) -> Result<(), Ended> {
    stream.set_nodelay(true)?;
    let handshake = shake_hands(&mut stream, shared);
    let established = timeout(shared.config.tcp_handshake_deadline, handshake)
        .await
        .unwrap_or(Err(Ended::TooSlow))
        .inspect_err(|ended| metrics::tcp_failed(ended.label()))?;
    let number = shared.registry.shard_of(established.device);
    let shard = shared.shard(number).ok_or(Ended::ShardRefused)?;
    let (writes, frames) = mpsc::channel(WRITES_MAX);
    let link = attach(shard, established, peer, writes).await?;
    let (reading, writing) = stream.into_split();
    let meter = Meter { shard, link, stream: reading.as_ref(), told: Mutex::default() };
    let mut read = pin!(read(&reading, shard, link));
    tokio::select! {
        ended = &mut read => ended,
        ended = write(writing, frames) => {
            // What the device said before it went is in the kernel or waits for room.
            if let Err(Ended::Gone(_)) = ended {
                let _ = timeout(WRITE_DEADLINE, read).await;
            }
            ended
        }
        never = meter.tell_each_minute() => match never {},
    }
}

async fn attach(
    shard: &Mailbox,
    Established { device, device_key, keys }: Established,
    peer: SocketAddr,
    writes: mpsc::Sender<Vec<u8>>,
) -> Result<LinkId, Ended> {
    let (attached, link) = oneshot::channel();
    let attach = Attach { device, device_key, keys, peer, writes, attached };
    shard.send(Mail::Attach(Box::new(attach))).await.map_err(|_| Ended::ShardRefused)?;
    link.await.map_err(|_| Ended::ShardRefused)
}

/// Tells the shard what the connection carries, and when it goes, however it goes.
struct Meter<'a> {
    shard: &'a Mailbox,
    link: LinkId,
    stream: &'a TcpStream,
    told: Mutex<TcpTraffic>,
}

impl Meter<'_> {
    async fn tell_each_minute(&self) -> Infallible {
        loop {
            sleep(TRAFFIC_TOLD).await;
            let (link, traffic) = (self.link, self.new_traffic());
            if !traffic.is_empty() {
                self.shard.notify(Notice::Traffic { link, traffic });
            }
        }
    }

    /// What was carried since the last question, the handshake included.
    fn new_traffic(&self) -> Traffic {
        let all = TcpTraffic::of(self.stream);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let new = all.since(&told);
        *told = all;
        new
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        let (link, traffic) = (self.link, self.new_traffic());
        self.shard.notify(Notice::Closed { link, traffic });
    }
}

async fn read(stream: &OwnedReadHalf, shard: &Mailbox, link: LinkId) -> Result<(), Ended> {
    while let Some(bytes) = read_some(stream.as_ref()).await? {
        shard.send(Mail::Bytes { link, bytes }).await.map_err(|_| Ended::ShardRefused)?;
    }
    Ok(())
}

/// Waits without a buffer, so that an idle connection is small.
async fn read_some(stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    loop {
        stream.readable().await?;
        match try_read(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

fn try_read(stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; READ_BYTES];
    let count = stream.try_read(&mut buffer)?;
    Ok((count > 0).then(|| buffer[..count].to_vec()))
}

/// Each frame in one write; ends when the shard gives no more.
async fn write(
    mut stream: OwnedWriteHalf,
    mut frames: mpsc::Receiver<Vec<u8>>,
) -> Result<(), Ended> {
    while let Some(frame) = frames.recv().await {
        timeout(WRITE_DEADLINE, stream.write_all(&frame)).await.map_err(|_| Ended::TooSlow)??;
    }
    stream.shutdown().await?;
    Ok(())
}

async fn shake_hands(stream: &mut TcpStream, shared: &Arc<Shared>) -> Result<Established, Ended> {
    let mut handshake = ServerHandshake::new(&mut |bytes| rand::rng().fill_bytes(bytes));
    let mut output = handshake.poll();
    loop {
        match output.take() {
            Some(HandshakeOutput::Established { device_id, device_key, keys, .. }) => {
                return Ok(Established { device: DeviceId(device_id), device_key, keys });
            }
            Some(HandshakeOutput::Failed(refused)) => return Err(Ended::Refused(refused)),
            Some(HandshakeOutput::Job(job)) => {
                (handshake, output) = compute(handshake, job, shared).await?;
                continue;
            }
            Some(HandshakeOutput::NeedKey { device_id, offered }) => {
                let device = DeviceId(device_id);
                handshake.key_known(shared.key_for(device, offered.as_ref()).await);
            }
            Some(HandshakeOutput::Send(bytes)) => stream.write_all(&bytes).await?,
            None => {
                let gone = || Ended::Gone(io::ErrorKind::UnexpectedEof.into());
                handshake.handle(&read_some(stream).await?.ok_or_else(gone)?);
            }
        }
        output = handshake.poll();
    }
}

/// Takes the handshake to the pool and back, with what it wants next. Waits for its turn as long as
/// the connection may.
async fn compute(
    handshake: ServerHandshake,
    job: Job,
    shared: &Arc<Shared>,
) -> Result<(ServerHandshake, Option<HandshakeOutput>), Ended> {
    let _permit = shared.tcp_jobs.acquire().await.map_err(|_| Ended::NoPool)?;
    let (done, result) = oneshot::channel();
    let shared_there = Arc::clone(shared);
    let task = move || {
        // Nobody waits when the device has gone meanwhile.
        if done.is_closed() {
            return None;
        }
        let worked = work(handshake, job, &shared_there);
        Some(Box::new(move || drop(done.send(worked))) as Tell)
    };
    shared.pool.submit(Box::new(task));
    result.await.map_err(|_| Ended::NoPool)
}

/// Does the job, and the one behind it if the key that stands between them is in memory: a way
/// between threads costs a tenth of a job.
fn work(
    mut handshake: ServerHandshake,
    job: Job,
    shared: &Shared,
) -> (ServerHandshake, Option<HandshakeOutput>) {
    handshake.job_done(job.run(&shared.keys.rsa));
    loop {
        match handshake.poll() {
            Some(HandshakeOutput::NeedKey { device_id, offered: Some(offered) })
                if shared.is_registered(DeviceId(device_id), &offered) =>
            {
                handshake.key_known(Some(offered));
            }
            Some(HandshakeOutput::Job(job)) => handshake.job_done(job.run(&shared.keys.rsa)),
            output => return (handshake, output),
        }
    }
}

impl Shared {
    /// The key registered for a device. The one offered stands for it when their hashes agree; only
    /// devices that offer none, or another one, cost a look into the store.
    async fn key_for(&self, device: DeviceId, offered: Option<&PublicKey>) -> Option<PublicKey> {
        if let Some(offered) = offered.filter(|key| self.is_registered(device, key)) {
            return Some(offered.clone());
        }
        if self.registry.key(device).is_none() {
            return self.first_key_of(device, offered);
        }
        match self.store.devices().key(device).await {
            Ok(key) => PublicKey::from_spki(&key?.spki).ok(),
            Err(error) => {
                warn!(%device, %error, "key not read");
                None
            }
        }
    }

    fn is_registered(&self, device: DeviceId, key: &PublicKey) -> bool {
        self.registry.key(device) == Some(KeyHash(key.hash()))
    }

    /// A key that nobody registered. It may become the device's, but only with a Hello that proves that
    /// the device has it.
    fn first_key_of(&self, device: DeviceId, offered: Option<&PublicKey>) -> Option<PublicKey> {
        if self.config.trust_on_first_use
            && let Some(key) = offered
        {
            return Some(key.clone());
        }
        if let Some(left_out) = self.unknown_keys.take() {
            let key = offered.map(|key| KeyHash(key.hash()).to_string());
            info!(%device, key, left_out, "a TCP device without a registered key");
        }
        None
    }
}

impl Ended {
    fn label(&self) -> &'static str {
        match self {
            Self::NoPool | Self::ShardRefused => "busy",
            Self::Gone(_) => "gone",
            Self::Refused(Refused::KeyUnknown) => "unknown_key",
            Self::Refused(_) => "refused",
            Self::TooSlow => "too_slow",
        }
    }
}
