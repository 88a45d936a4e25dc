//! What commands write for people and for programs. Results go to standard output, everything else to
//! standard error.

use std::io::Write;

use serde::Serialize;

/// Writes one line of result. A reader that went away is no error.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes one line beside the result: progress, warnings, errors.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes a result as one line of JSON.
pub fn say_json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => say(&text),
        Err(why) => note(&format!("the result cannot be written as JSON: {why}")),
    }
}
