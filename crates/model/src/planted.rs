//! Bugs put in on purpose, to see whether the worlds find them (`cargo xtask world --planted`).
//!
//! Only a build with `--cfg planted` has them, and there none is in force until it is chosen; in
//! every other build `planted!` is `false`.

/// Each with what it does.
pub const PLANTED: [(&str, &str); 16] = [
    ("attempt-not-counted", "one attempt in four of what is sent to devices is not recorded"),
    ("call-answered-early", "a caller has its answer before the attempts are durable"),
    ("call-wakeup-lost", "in one call of sixteen the next one is not started"),
    ("duplicate-routed", "one message id in eight is not looked up among those that came before"),
    ("event-wakeup-lost", "after one delivery of sixteen the next event is not sent"),
    ("hello-acked-early", "a Hello is acknowledged before its session is durable"),
    ("offline-not-told", "a device that falls silent is not told to be offline"),
    ("publish-acked-early", "a publish is acknowledged before it is durable"),
    ("recent-forgotten", "the messages of the last 90 s are forgotten at a start"),
    ("reservation-skipped", "a restored session seals with numbers of the last reservation"),
    ("status-told-twice", "one device in four is told to be online twice"),
    ("subscriptions-lost", "subscriptions are not restored at a start"),
    ("update-not-verified", "a device that comes back without its update is told to have it"),
    (
        "update-told-early",
        "an update is told to have succeeded when the device has all of the file",
    ),
    ("window-not-restored", "the replay window is not restored at a start"),
    ("wrong-account", "an event is matched with the subscriptions of every account"),
];

/// Whether this bug is in force.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {{
        #[cfg(planted)]
        let is_in_force = $crate::planted::is_chosen($name);
        #[cfg(not(planted))]
        let is_in_force = false;
        is_in_force
    }};
}

#[cfg(planted)]
static CHOSEN: std::sync::OnceLock<&'static str> = std::sync::OnceLock::new();

/// Puts one of [`PLANTED`] in force for the rest of the process; `false` if there is none of this name,
/// or one was chosen before.
#[cfg(planted)]
pub fn choose(name: &str) -> bool {
    let found = PLANTED.iter().find(|(known, _)| *known == name);
    found.is_some_and(|(known, _)| CHOSEN.set(known).is_ok())
}

/// Whether this one was chosen.
#[cfg(planted)]
pub fn is_chosen(name: &str) -> bool {
    debug_assert!(PLANTED.iter().any(|(known, _)| *known == name), "{name} is in the list");
    CHOSEN.get() == Some(&name)
}
