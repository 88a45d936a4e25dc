//! Messages of updates (`ota.md`): the legacy protocol and version 3, for both sides.

pub mod legacy;
pub mod v3;

use crate::coap::{Code, Packet};
use crate::message::CoapError;

/// A request of a device about an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtaRequest<'a> {
    /// GET `c`: chunks that did not arrive (legacy).
    ChunkMissed(legacy::ChunkMissed<'a>),
    /// POST `A`: what has arrived (v3).
    UpdateAck(v3::UpdateAck<'a>),
    /// PUT `u`: the device has everything (classic). What it says of the result.
    UpdateDone(&'a [u8]),
}

/// A message of the cloud about an update, as a device reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtaCommand<'a> {
    /// POST `u` or `s`.
    Begin(legacy::UpdateBegin),
    /// POST `c`.
    LegacyChunk(legacy::Chunk<'a>),
    /// PUT `u`.
    Done,
    /// POST `S`; absent: its options are not as they must be.
    Start(Option<v3::UpdateStart>),
    /// POST `C`; absent: it names no chunk.
    Chunk(Option<v3::Chunk<'a>>),
    /// POST `F`; absent: its options are not as they must be.
    Finish(Option<v3::UpdateFinish>),
}

impl<'a> OtaCommand<'a> {
    /// Reads a message of the cloud; absent if it is about no update, or too short for a legacy device
    /// to look at.
    pub fn read(bytes: &'a [u8], packet: &Packet<'a>) -> Option<Self> {
        let letter = bytes.get(5 + packet.token().as_slice().len()).copied()?;
        Some(match (packet.code(), letter) {
            (Code::POST, b'u' | b's') => Self::Begin(legacy::UpdateBegin::read(bytes)?),
            (Code::POST, b'c') => Self::LegacyChunk(legacy::Chunk::read(packet)?),
            (Code::PUT, b'u') => Self::Done,
            (Code::POST, b'S') => Self::Start(v3::UpdateStart::read(packet)),
            (Code::POST, b'C') => Self::Chunk(v3::Chunk::read(packet)),
            (Code::POST, b'F') => Self::Finish(v3::UpdateFinish::read(packet)),
            (_, _) => return None,
        })
    }
}

/// 4.00 for a request that is not as it must be.
const MALFORMED: CoapError = CoapError::bad_request("a message of an update is not as it must be");
