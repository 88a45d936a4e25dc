//! TCP devices: the RSA exchange of each stream, then its frames.

use std::net::SocketAddr;

use model::{DeviceId, LinkId, Mono};
use rand::Rng;
use secure::tcp::{HandshakeOutput, JobDone, ServerHandshake};

use super::{Cloud, Late, Out};
use crate::harness::StreamId;

/// One connection as far as it came.
pub(super) enum Stream {
    Shaking { handshake: Box<ServerHandshake>, peer: SocketAddr },
    Attached { shard: usize, link: LinkId },
}

impl Cloud {
    /// A device connected.
    pub(crate) fn open_stream(&mut self, now: Mono, stream: StreamId, peer: SocketAddr) {
        let random = &mut self.random;
        let handshake = Box::new(ServerHandshake::new(&mut |bytes| random.fill_bytes(bytes)));
        self.streams.insert(stream, Stream::Shaking { handshake, peer });
        self.advance(now, stream);
    }

    /// Bytes of a stream, cut anyhow.
    pub(crate) fn handle_stream(&mut self, now: Mono, stream: StreamId, bytes: &[u8]) {
        match self.streams.get_mut(&stream) {
            Some(Stream::Shaking { handshake, .. }) => {
                handshake.handle(bytes);
                self.advance(now, stream);
            }
            Some(Stream::Attached { shard, link }) => {
                let (shard, link) = (*shard, *link);
                self.turn(now, shard, |cloud, now, shard| {
                    cloud.halves[shard].endpoint.handle_stream(now, link, bytes);
                });
            }
            None => {}
        }
    }

    /// The device closed the stream, or it was cut.
    pub(crate) fn close_stream(&mut self, now: Mono, stream: StreamId) {
        if let Some(Stream::Attached { shard, link }) = self.streams.remove(&stream) {
            self.halves[shard].streams.remove(&link);
            self.turn(now, shard, |cloud, now, shard| {
                cloud.halves[shard].endpoint.stream_closed(now, link);
            });
        }
    }

    pub(super) fn stream_job_done(&mut self, now: Mono, stream: StreamId, done: JobDone) {
        if let Some(Stream::Shaking { handshake, .. }) = self.streams.get_mut(&stream) {
            handshake.job_done(done);
            self.advance(now, stream);
        }
    }

    fn advance(&mut self, now: Mono, stream: StreamId) {
        while let Some(Stream::Shaking { handshake, peer }) = self.streams.get_mut(&stream)
            && let Some(output) = handshake.poll()
        {
            let peer = *peer;
            match output {
                HandshakeOutput::Send(bytes) => self.out.push(Out::Stream { stream, bytes }),
                HandshakeOutput::NeedKey { device_id, .. } => {
                    handshake.key_known(self.registry.key(DeviceId(device_id)));
                }
                HandshakeOutput::Job(job) => {
                    let done = job.run(&self.secrets.rsa);
                    self.later(now, Late::Tcp { stream, done });
                }
                HandshakeOutput::Established { device_id, device_key, keys, .. } => {
                    let device = DeviceId(device_id);
                    let shard = self.registry.shard_of(device);
                    let at = self.now(now);
                    let endpoint = &mut self.halves[shard].endpoint;
                    match endpoint.accept_stream(at, device, &device_key, &keys, peer) {
                        Some(link) => self.attach(stream, shard, link),
                        None => self.refuse(stream),
                    }
                }
                HandshakeOutput::Failed(_) => self.refuse(stream),
            }
        }
    }

    fn attach(&mut self, stream: StreamId, shard: usize, link: LinkId) {
        self.halves[shard].streams.insert(link, stream);
        self.streams.insert(stream, Stream::Attached { shard, link });
    }

    fn refuse(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
        self.out.push(Out::CloseStream { stream });
    }
}
