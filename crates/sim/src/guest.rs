//! Guests of the machine that a server runs on: devices and attackers that would be elsewhere.

use std::io::{Error, Result};
use std::process::Command;

/// Gives this thread, and those that it starts from now on, the processor only when no other thread of the
/// machine wants it (sched(7), `SCHED_IDLE`). Without it a measurement of a server tells what its guests take
/// from it. There is no way back without privileges.
///
/// # Errors
/// There is no `chrt` of util-linux, or it fails.
pub fn yield_to_others() -> Result<()> {
    let this = std::fs::read_link("/proc/thread-self")?;
    let number = this.file_name().unwrap_or_default();
    let set = Command::new("chrt").args(["--idle", "--pid", "0"]).arg(number).status()?;
    if set.success() { Ok(()) } else { Err(Error::other(format!("chrt fails ({set})"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field 41 of proc(5) `stat`, the 39th behind the name.
    fn policy() -> Option<String> {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(38).map(str::to_owned)
    }

    #[test]
    fn a_guest_and_its_threads_are_scheduled_when_the_machine_is_idle() {
        let before = policy();
        let (own, inherited) = std::thread::spawn(|| {
            yield_to_others().expect("chrt runs");
            (policy(), std::thread::spawn(policy).join().expect("no panic"))
        })
        .join()
        .expect("no panic");
        let idle = Some("5".to_owned());
        assert_eq!((own, inherited), (idle.clone(), idle));
        assert_eq!(policy(), before);
    }
}
