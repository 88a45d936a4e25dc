//! Why the cloud said no to a caller. Knows no HTTP; one table in `web` does.

/// Why a request of the API was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The function argument is over the device's limit, in bytes.
    #[error("the argument is longer than the {0} bytes this device takes")]
    ArgumentTooLong(usize),
    /// The device answered with an error code (class × 100 + detail).
    #[error("the device answered with code {0}")]
    DeviceFailed(u16),
    /// The device is known to be offline: nothing was sent.
    #[error("the device is offline")]
    Offline,
    /// The account is paused; the text names the limit and until when.
    #[error("{0}")]
    Paused(String),
    /// The device's queue of calls is full.
    #[error("too many calls are waiting for this device")]
    QueueFull,
    /// The server cannot write to its store, or a shard's inbox is full.
    #[error("the server cannot take this now")]
    Unavailable,
    /// Sent, but no answer came in time.
    #[error("the device did not answer in time")]
    TimedOut,
    /// No such device, or not the caller's.
    #[error("no such device")]
    UnknownDevice,
    /// An update of the device is under way: one at a time.
    #[error("an update of this device is under way")]
    UpdateRunning,
    /// The device's description names no such function.
    #[error("function {0} not found")]
    UnknownFunction(String),
    /// The device's description names no such variable.
    #[error("variable not found")]
    UnknownVariable,
}
