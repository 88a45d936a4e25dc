//! DTLS 1.2 with the one suite of Device OS: ECDHE_ECDSA on P-256, AES_128_CCM_8, raw public keys,
//! connection ids, a stateless cookie (`docs/protocol`: dtls-session, session-resume).
//!
//! Nothing here owns a socket, a clock or a source of randomness: time is a number of microseconds
//! handed in, on any origin that does not jump.

pub mod codec;
pub mod prf;
pub mod record;
mod replay;
mod session;
mod snapshot;

pub use codec::{ConnectionId, ContentType};
pub use record::{CidMode, Class, classify};
pub use session::{
    CONTENT_BYTES_MAX, Dropped, Opened, RecordNumbers, ReservationSpent, Role, Session, SessionKeys,
};
pub use snapshot::{BadSnapshot, SNAPSHOT_BYTES};
