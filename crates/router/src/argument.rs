//! The longest function argument a device takes (`protocol/limits.md` §1).

use model::hello::HelloFlags;
use model::link::Transport;

use crate::device::Device;

/// Devices that tell their message size, whatever it is.
const MODERN_MAX: usize = 1024;
/// What the header, the options and the longest name may take of a message.
const OVERHEAD: usize = 96;
/// Device OS 0.8 to 2.x.
const MIDDLE: usize = 622;
/// The oldest stack, which runs the function with the previous argument when this one is too long.
const CLASSIC: usize = 63;
const CORE: u16 = 0;

/// In bytes.
pub(crate) fn argument_bytes_max(device: &Device) -> usize {
    let facts = &device.facts;
    if facts.message_bytes_max > 0 {
        return usize::from(facts.message_bytes_max).saturating_sub(OVERHEAD).min(MODERN_MAX);
    }
    let is_classic = facts.platform.0 == CORE
        || facts.transport == Transport::Tcp && !facts.flags.has(HelloFlags::DIAGNOSTICS);
    if is_classic { CLASSIC } else { MIDDLE }
}
