//! Settings: a file is taken or refused with a reason.

use cloudchamber::config::Config;

pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Config::parse(text) {
        Ok(config) => drop(config),
        Err(why) => assert!(!why.to_string().is_empty(), "no reason is given"),
    }
}
