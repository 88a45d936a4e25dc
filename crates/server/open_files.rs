//! How many files and connections the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Connections of 10,000 HTTP clients, of 20,000 TCP devices (the default of `tcp.connections_max`), and what webhooks
/// and the store need.
pub const NEEDED: u64 = 32_768;
/// HTTP connections, in total, where files are plenty.
const HTTP_MAX: u64 = 10_000;

/// Takes as many as the system gives without asking anybody: what stands is made for shells. Where that is
/// too little for the bounds of the listeners, the log says so.
pub fn raise() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    let now = if raised.is_ok() { hard } else { soft };
    if now < NEEDED {
        tracing::warn!(
            limit = now,
            "few files may be open, and each connection is one: raise it with LimitNOFILE= of the service or `ulimit -Hn {NEEDED}`"
        );
    }
}

/// How many HTTP connections there may be, so that the journal always finds a file: a quarter of them all
/// at most.
pub fn for_http() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(HTTP_MAX, |(soft, _)| soft);
    usize::try_from((soft / 4).min(HTTP_MAX)).unwrap_or(usize::MAX)
}
