//! What others may see of the process's memory: all keys are in it.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

/// From here on a crash leaves no image, and no other program of the same user can look inside
/// (`PR_SET_DUMPABLE` of prctl(2)). To be called before the first key is read.
///
/// # Errors
/// The system does not know how; the text says what to do.
pub fn hide() -> Result<(), String> {
    // The limit alone does not keep a crash from a handler that the system pipes images to.
    let hidden = prctl::set_dumpable(false).and_then(|()| setrlimit(Resource::RLIMIT_CORE, 0, 0));
    hidden.map_err(|why| {
        format!(
            "core dumps cannot be switched off: {why}. Set node.core_dumps = true to start without"
        )
    })
}
