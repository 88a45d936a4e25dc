//! The data folder, opened.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use model::{AccountId, DeviceId, Event, EventId, Timestamp};
use tokio::sync::Semaphore;

use crate::fold::{FoldThread, Folder};
use crate::journal::disk::{self, Disk, held};
use crate::journal::log::Log;
use crate::journal::{self, Counted, Journal, KeptBounds, WhoseOperations, scan, window};
use crate::private;
use crate::sqlite::Tables;
use crate::{
    Accounts, Agreements, Assignments, Claims, Clients, Deliveries, Devices, Files, FilesConfig,
    Firmware, Invitations, Kept, Ledger, Letters, OpenError, Products, Recovery, Releases, Replay,
    RollUp, SecondFactors, Settings, StoreError, Teams, Tokens, Updates, UsageReports, Webhooks,
};

/// Replays read from the journal at once; further ones wait.
const REPLAYS_MAX: usize = 2;

/// An open data folder: `lock`, `store.sqlite`, `journal/`, `firmware/`. Share it by `Arc`.
pub struct Store {
    tables: Tables,
    files: Files,
    log: Arc<Log>,
    fold: FoldThread,
    /// Who writes the journal holds a clone.
    writer: Mutex<Arc<()>>,
    replays: Arc<Semaphore>,
    /// Held, by its existence, until the folder is free.
    lock: Mutex<Option<File>>,
}

impl Store {
    /// Opens a data folder, creating it if need be, and folds what the journal holds beyond the
    /// tables.
    ///
    /// # Errors
    /// See [`OpenError`]: in use by another process, written by a newer version, damaged, no folder.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::open_with(folder, &FilesConfig::default()).await
    }

    /// The same with firmware files elsewhere.
    ///
    /// # Errors
    /// Like [`Store::open`].
    pub async fn open_with(folder: &Path, files: &FilesConfig) -> Result<Self, OpenError> {
        create_folder(folder)?;
        let lock = lock(folder)?;
        let tables = open_tables(&folder.join("store.sqlite")).await?;
        let journal = folder.join("journal");
        let disk = disk::Folder::new(&journal).map_err(|source| io_error(&journal, source))?;
        let files = Files::open(folder, files)?;
        Self::assemble(tables, files, Arc::new(disk), Some(lock)).await
    }

    /// A store that keeps nothing: tables and journal in memory, for tests.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub async fn in_memory() -> Result<Self, OpenError> {
        let tables = Tables::in_memory().await?;
        let disk = Arc::new(disk::Memory::default());
        Self::assemble(tables, Files::in_memory(), disk, None).await
    }

    async fn assemble(
        tables: Tables,
        files: Files,
        disk: Arc<dyn Disk>,
        lock: Option<File>,
    ) -> Result<Self, OpenError> {
        let folded = tables.folded().await?;
        let log = Arc::new(scan::scan(disk, folded)?);
        let mut folder = Folder::new(Arc::clone(&log), tables.clone(), folded);
        folder.catch_up().await?;
        let fold = FoldThread::start(folder, Arc::clone(&log));
        let fold = fold.map_err(|source| io_error(Path::new("fold thread"), source))?;
        Ok(Self {
            tables,
            files,
            log,
            fold,
            writer: Mutex::default(),
            replays: Arc::new(Semaphore::new(REPLAYS_MAX)),
            lock: Mutex::new(lock),
        })
    }

    /// The accounts.
    pub fn accounts(&self) -> &dyn Accounts {
        &self.tables
    }

    /// The access and refresh tokens.
    pub fn tokens(&self) -> &dyn Tokens {
        &self.tables
    }

    /// The devices.
    pub fn devices(&self) -> &dyn Devices {
        &self.tables
    }

    /// The products.
    pub fn products(&self) -> &dyn Products {
        &self.tables
    }

    /// The firmware of products, and system modules.
    pub fn firmware(&self) -> &dyn Firmware {
        &self.tables
    }

    /// The firmware files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Groups, and what is assigned to single devices.
    pub fn assignments(&self) -> &dyn Assignments {
        &self.tables
    }

    /// The releases of product firmware.
    pub fn releases(&self) -> &dyn Releases {
        &self.tables
    }

    /// The updates of devices.
    pub fn updates(&self) -> &dyn Updates {
        &self.tables
    }

    /// The claim codes.
    pub fn claims(&self) -> &dyn Claims {
        &self.tables
    }

    /// The OAuth clients.
    pub fn clients(&self) -> &dyn Clients {
        &self.tables
    }

    /// The second factors of accounts.
    pub fn second_factors(&self) -> &dyn SecondFactors {
        &self.tables
    }

    /// The webhooks.
    pub fn webhooks(&self) -> &dyn Webhooks {
        &self.tables
    }

    /// What webhooks sent and got.
    pub fn deliveries(&self) -> &dyn Deliveries {
        &self.tables
    }

    /// Teams, customers and serial numbers.
    pub fn teams(&self) -> &dyn Teams {
        &self.tables
    }

    /// Who may create an account.
    pub fn invitations(&self) -> &dyn Invitations {
        &self.tables
    }

    /// Mails to send, and password resets.
    pub fn letters(&self) -> &dyn Letters {
        &self.tables
    }

    /// The server's own settings and secrets.
    pub fn settings(&self) -> &dyn Settings {
        &self.tables
    }

    /// The ledger.
    pub fn ledger(&self) -> &dyn Ledger {
        &self.tables
    }

    /// The usage reports.
    pub fn usage_reports(&self) -> &dyn UsageReports {
        &self.tables
    }

    /// The agreements and notices.
    pub fn agreements(&self) -> &dyn Agreements {
        &self.tables
    }

    /// The writing end of the journal; absent while another one exists.
    pub fn journal(&self) -> Option<Journal> {
        let writer = held(&self.writer);
        let free = Arc::strong_count(&writer) == 1;
        free.then(|| Journal::new(Arc::clone(&self.log), Arc::clone(&writer)))
    }

    /// What the server begins with. Call it before the journal is used.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn recover(&self) -> Result<Recovery, StoreError> {
        self.fold.settle().await?;
        let log = Arc::clone(&self.log);
        let sources = blocking(move || window::recent_sources(&log));
        let (mut recovery, mut sources) = tokio::try_join!(self.tables.recover(), sources)?;
        for session in &mut recovery.sessions {
            let session = &mut session.session;
            session.recent = sources.remove(&session.device).unwrap_or_default();
        }
        Ok(recovery)
    }

    /// Those of the account's events behind `after` that are wanted, as far as the replay window
    /// (5 minutes, 64 MiB) still holds them: the oldest ones, about a MiB of them. The next ones come with
    /// the next call, behind [`Replay::upto`].
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn replay(
        &self,
        account: AccountId,
        after: EventId,
        now: Timestamp,
        wanted: impl Fn(&Event) -> bool + Send + 'static,
    ) -> Result<Replay, StoreError> {
        let permit = Arc::clone(&self.replays).acquire_owned().await;
        let log = Arc::clone(&self.log);
        let bytes = window::PIECE_BYTES;
        // Held until it is read, also for a client that has gone.
        blocking(move || {
            let _permit = permit;
            window::replay(&log, account, after, now, wanted, bytes)
        })
        .await
    }

    /// Keeps segments of the journal, when nothing else needs them any more, for [`Self::counted`].
    ///
    /// # Errors
    /// The folder `counted` cannot be used.
    pub fn keep_counted(&self, bounds: KeptBounds) -> Result<(), StoreError> {
        let kept = self.log.disk().keep(bounds);
        kept.map_err(|error| StoreError::Unavailable(format!("folder counted: {error}")))
    }

    /// What was counted, one by one, as far back as segments are kept: at most the newest `limit`.
    ///
    /// # Errors
    /// The segments cannot be read.
    pub async fn counted(
        &self,
        whose: WhoseOperations,
        limit: usize,
    ) -> Result<Counted, StoreError> {
        let permit = Arc::clone(&self.replays).acquire_owned().await;
        let log = Arc::clone(&self.log);
        blocking(move || {
            let _permit = permit;
            journal::counted(&log, whose, limit)
        })
        .await
    }

    /// The newest locations that were stored of a device, newest first.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub async fn points(
        &self,
        device: DeviceId,
        limit: u32,
    ) -> Result<Vec<(Timestamp, metering::Point)>, StoreError> {
        self.tables.points(device, limit).await
    }

    /// Begins to roll the ledger up: sums that are older than `kept` says become sums of days and months. What readers
    /// are told changes at once; the work is done by the steps of what this gives.
    ///
    /// # Errors
    /// The tables cannot be written.
    pub async fn roll_up(&self, kept: Kept, now: Timestamp) -> Result<RollUp, StoreError> {
        self.tables.roll_up(kept, now).await
    }

    /// Waits until everything appended before this call is in the tables.
    ///
    /// # Errors
    /// The tables cannot be written.
    pub async fn settle(&self) -> Result<(), StoreError> {
        self.fold.settle().await
    }

    /// What is wrong with the tables, for the operator; absent when what the journal holds gets there.
    /// Nothing is lost meanwhile: the journal keeps what is not folded.
    pub fn complaint(&self) -> Option<&'static str> {
        self.fold.complaint()
    }

    /// Folds what is left, closes the tables and gives the folder free. Not calling it costs a little
    /// work at the next open and loses nothing.
    ///
    /// # Errors
    /// The tables cannot be written; the folder is free all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        let settled = self.fold.settle().await;
        self.fold.stop();
        self.tables.close().await;
        held(&self.lock).take();
        settled
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("next", &self.log.next()).finish_non_exhaustive()
    }
}

fn create_folder(folder: &Path) -> Result<(), OpenError> {
    if folder.exists() && !folder.is_dir() {
        return Err(OpenError::NotAFolder { path: folder.to_owned() });
    }
    private::create_folder(folder).map_err(|source| io_error(folder, source))
}

/// What SQLite puts beside its file gets the permissions of that file.
async fn open_tables(file: &Path) -> Result<Tables, OpenError> {
    private::options().open(file).map_err(|source| io_error(file, source))?;
    for ending in ["", "-wal", "-shm"] {
        let mut path = file.as_os_str().to_owned();
        path.push(ending);
        let path = PathBuf::from(path);
        private::own_file(&path).map_err(|source| io_error(&path, source))?;
    }
    Tables::open(file).await
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let file = private::options().truncate(false).open(&path);
    let file = file.map_err(|source| io_error(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io_error(&path, source)),
    }
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let read = tokio::task::spawn_blocking(read).await.map_err(io::Error::other).flatten();
    read.map_err(|error| StoreError::Unavailable(format!("the journal cannot be read: {error}")))
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: PathBuf::from(path), source }
}
