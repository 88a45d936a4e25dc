//! The plan catalogues of this server: those that ship and the operator's file.

use std::path::Path;

use metering::Catalogues;

/// Reads the operator's file, if there is one. The text of an error names the file and what is wrong
/// in it.
pub fn read(file: Option<&Path>) -> Result<Catalogues, String> {
    let Some(path) = file else { return Catalogues::shipped().map_err(|why| why.to_string()) };
    let told = |why: String| format!("plan catalogues {}: {}", path.display(), why.trim_end());
    let text = std::fs::read_to_string(path).map_err(|why| told(why.to_string()))?;
    Catalogues::with(&text).map_err(|why| told(why.to_string()))
}
