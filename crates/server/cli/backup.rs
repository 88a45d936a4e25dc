//! `cloudchamber backup` and `cloudchamber restore`.

use std::path::{Path, PathBuf};

use store::FilesConfig;

use super::{check, sessions};
use crate::cli::{StoreArgs, runtime};
use crate::output::{say, say_json};

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// Folder for the copy; it must not be there, or be empty.
    to: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The copy that `cloudchamber backup` made, or another one of a whole data folder.
    from: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) fn backup(args: &BackupArgs) -> Result<(), String> {
    let (data, files) = (&args.store.data, args.store.files()?);
    let copy = store::backup(&data.data, &args.to, &files);
    let found = runtime()?.block_on(copy).map_err(|why| why.to_string())?;
    check::tell(&found, data.json);
    if found.problems.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the copy is not whole: remove {} and take it again; if that helps nothing, see `cloudchamber check`",
        args.to.display()
    ))
}

/// The folder has its name only when its sessions are forgotten: what is left of a restore that was cut short
/// is nothing that a server starts on.
pub(crate) fn restore(args: &RestoreArgs) -> Result<(), String> {
    let (to, files) = (&args.store.data.data, args.store.files()?);
    let part = part_of(to)?;
    if std::fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("{}: the folder is not empty", to.display()));
    }
    runtime()?.block_on(copied(&args.from, &part, &files))?;
    let forgotten = runtime()?.block_on(sessions::forget(&part))?;
    take_name(&part, to).map_err(|why| format!("{}: {why}", to.display()))?;
    if args.store.data.json {
        say_json(&serde_json::json!({"sessions": forgotten}));
    } else {
        say(&format!("restored; {forgotten} sessions forgotten, devices make new ones"));
    }
    Ok(())
}

/// Where a folder is put together: beside it.
fn part_of(to: &Path) -> Result<PathBuf, String> {
    let name = to.file_name().ok_or_else(|| format!("{} is no name of a folder", to.display()))?;
    let mut part = name.to_owned();
    part.push(".part");
    let part = to.with_file_name(part);
    if part.exists() {
        return Err(format!(
            "{} is left of a restore that was cut short: remove it",
            part.display()
        ));
    }
    Ok(part)
}

/// Nothing is copied if what there is to copy is not whole.
async fn copied(from: &Path, to: &Path, files: &FilesConfig) -> Result<(), String> {
    let before = store::inspect(from, files).await.map_err(|why| why.to_string())?;
    if !before.problems.is_empty() {
        return Err(format!("{} is not whole: `cloudchamber check` says why", from.display()));
    }
    let after = store::backup(from, to, files).await.map_err(|why| why.to_string())?;
    match after.problems.first() {
        None => Ok(()),
        Some(problem) => {
            Err(format!("the copy {} is not whole: {problem}; remove it", to.display()))
        }
    }
}

/// An empty folder of the name is replaced.
fn take_name(part: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::rename(part, to)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}
