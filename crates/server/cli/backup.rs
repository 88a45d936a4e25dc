//! `cloudchamber backup` and `cloudchamber restore`.

use std::path::{Path, PathBuf};

use super::{check, sessions};
use crate::cli::{DataArgs, runtime};
use crate::output::{say, say_json};

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// Folder for the copy; it must not be there, or be empty.
    to: PathBuf,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The copy that `cloudchamber backup` made, or another one of a whole data folder.
    from: PathBuf,
    #[command(flatten)]
    data: DataArgs,
}

pub(crate) fn backup(args: &BackupArgs) -> Result<(), String> {
    let copy = store::backup(&args.data.data, &args.to);
    let found = runtime()?.block_on(copy).map_err(|why| why.to_string())?;
    check::tell(&found, args.data.json);
    if found.problems.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the copy is not whole: remove {} and take it again; if that helps nothing, see `cloudchamber check`",
        args.to.display()
    ))
}

pub(crate) fn restore(args: &RestoreArgs) -> Result<(), String> {
    let (from, to) = (&args.from, &args.data.data);
    let found = runtime()?.block_on(copied(from, to))?;
    if !found {
        return Err(format!("{} is not whole: `cloudchamber check` says why", from.display()));
    }
    let forgotten = runtime()?.block_on(sessions::forget(to))?;
    if args.data.json {
        say_json(&serde_json::json!({"sessions": forgotten}));
    } else {
        say(&format!("restored; {forgotten} sessions forgotten, devices make new ones"));
    }
    Ok(())
}

/// Whether what there is to copy is whole; nothing is copied if not.
async fn copied(from: &Path, to: &Path) -> Result<bool, String> {
    let before = store::inspect(from).await.map_err(|why| why.to_string())?;
    if !before.problems.is_empty() {
        return Ok(false);
    }
    let after = store::backup(from, to).await.map_err(|why| why.to_string())?;
    Ok(after.problems.is_empty())
}
