//! `cloudchamber check`: whether a data folder is whole.

use std::path::Path;

use store::Inspection;

use crate::cli::{StoreArgs, runtime};
use crate::output::{say, say_json};
use crate::server_keys;

pub(crate) fn run(store: &StoreArgs) -> Result<(), String> {
    let (data, files) = (&store.data, store.files()?);
    let found = runtime()?.block_on(store::inspect(&data.data, &files));
    let mut found = found.map_err(|why| why.to_string())?;
    found.problems.extend(open_keys(&data.data));
    tell(&found, data.json);
    match found.problems.len() {
        0 => Ok(()),
        1 => Err("the data folder has a problem: see docs/operate/backup.md".into()),
        count => Err(format!("the data folder has {count} problems: see docs/operate/backup.md")),
    }
}

/// Says what was found.
pub(crate) fn tell(found: &Inspection, json: bool) {
    let Inspection { entries, firmware_files, firmware_elsewhere, problems } = found;
    if json {
        return say_json(&serde_json::json!({
            "ok": problems.is_empty(),
            "journal_entries": entries,
            "firmware_files": firmware_files,
            "firmware_files_in_bucket": firmware_elsewhere,
            "problems": problems,
        }));
    }
    problems.iter().for_each(|problem| say(problem));
    let verdict = if problems.is_empty() { "whole" } else { "not whole" };
    say(&format!("{verdict}: {entries} journal entries, {firmware_files} firmware files"));
    if *firmware_elsewhere > 0 {
        say(&format!(
            "{firmware_elsewhere} more firmware files are in a bucket, which was not looked at"
        ));
    }
}

fn open_keys(data: &Path) -> Vec<String> {
    let open = server_keys::open_files(data);
    let told = |path: &std::path::PathBuf| format!("{}: others can read it", path.display());
    open.iter().map(told).collect()
}
