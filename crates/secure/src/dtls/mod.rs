//! DTLS 1.2 with the one suite of Device OS: ECDHE_ECDSA on P-256, AES_128_CCM_8, raw public keys,
//! connection ids, a stateless cookie (`docs/protocol`: dtls-session, session-resume).
//!
//! Nothing here owns a socket, a clock or a source of randomness: time is a number of microseconds
//! handed in, on any origin that does not jump.
//!
//! A datagram's way: [`classify`] tells whether it is a hello ([`Cookies`], then a [`Handshake`]) or
//! a record ([`Session::open`]). A device that missed the end of its handshake is answered by the
//! [`FinalFlight`].

pub mod codec;
mod cookie;
mod flight;
mod handshake;
mod hello;
mod job;
mod messages;
pub mod prf;
mod reassembly;
pub mod record;
mod replay;
mod retransmission;
mod session;
mod snapshot;

pub use codec::{ConnectionId, ContentType};
pub use cookie::{COOKIE_BYTES, Cookies, HELLO_VERIFY_REQUEST_BYTES, HelloOutcome};
pub use flight::FinalFlight;
pub use handshake::{Established, Handshake, HandshakeConfig, HandshakeFailure, HandshakeOutput};
pub use hello::{ClientHello, HelloError};
pub use job::{IdentityKey, Job, JobDone, ServerIdentity};
pub use record::{CidMode, Class, classify};
pub use session::{
    CONTENT_BYTES_MAX, Dropped, Opened, RecordNumbers, ReservationSpent, Role, Session, SessionKeys,
};
pub use snapshot::{BadSnapshot, SNAPSHOT_BYTES};
