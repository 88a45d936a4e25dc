//! Firmware files, each under the SHA-256 of its bytes: in the data folder, or in an S3-compatible store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as Place;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use sha2::{Digest, Sha256};

use crate::{OpenError, StoreError, private};

/// Name of the folder in the data folder.
const FOLDER: &str = "firmware";
const ENDING: &str = "bin";

/// The SHA-256 of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileHash(pub [u8; 32]);

impl FileHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where firmware files lie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FilesConfig {
    /// In the data folder.
    #[default]
    Folder,
    /// In a bucket.
    S3(S3Config),
}

/// A bucket of an S3-compatible store.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct S3Config {
    /// URL of the service; plain `http` is taken for what it is. Empty: that of AWS.
    pub endpoint: String,
    /// Name of the bucket; it must exist.
    pub bucket: String,
    /// Region, such as `eu-central-1`; most services of others take any.
    pub region: String,
    /// Who asks.
    pub access_key_id: String,
    /// Proves it.
    pub secret_access_key: String,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, bucket, .. } = self;
        f.debug_struct("S3Config")
            .field("endpoint", endpoint)
            .field("bucket", bucket)
            .finish_non_exhaustive()
    }
}

/// The files. A file is there as a whole or not at all, also after a loss of power.
#[derive(Debug, Clone)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    /// Absent when they lie elsewhere.
    folder: Option<PathBuf>,
}

impl Files {
    pub(crate) fn open(data: &Path, config: &FilesConfig) -> Result<Self, OpenError> {
        let path = data.join(FOLDER);
        Ok(match config {
            FilesConfig::Folder => Self { store: Arc::new(folder(&path)?), folder: Some(path) },
            FilesConfig::S3(s3) => Self { store: Arc::new(bucket(s3)?), folder: None },
        })
    }

    pub(crate) fn in_memory() -> Self {
        Self { store: Arc::new(InMemory::new()), folder: None }
    }

    /// Whether the files lie in the data folder, where nobody else has any. Several servers may use one
    /// bucket.
    pub fn is_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// All files that are kept, with their sizes in bytes.
    ///
    /// # Errors
    /// `Unavailable`
    pub async fn list(&self) -> Result<Vec<(FileHash, u64)>, StoreError> {
        let mut files = Vec::new();
        let first = self.store.list_with_delimiter(None).await.map_err(refused)?;
        for level in first.common_prefixes {
            let found = self.store.list_with_delimiter(Some(&level)).await.map_err(refused)?;
            let named =
                found.objects.iter().filter_map(|it| Some((hash_of(&it.location)?, it.size)));
            files.extend(named);
        }
        Ok(files)
    }

    /// Removes what a crash left half written in the folder; gives how many files. Nothing may be
    /// written meanwhile.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn remove_unfinished(&self) -> std::io::Result<usize> {
        let Some(folder) = &self.folder else { return Ok(0) };
        let mut removed = 0;
        for level in std::fs::read_dir(folder)?.flatten().filter(|entry| entry.path().is_dir()) {
            for file in std::fs::read_dir(level.path())?.flatten() {
                if is_unfinished(&file.file_name().to_string_lossy()) {
                    std::fs::remove_file(file.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Keeps a file and gives its hash. One that is there already is written again, which changes
    /// nothing.
    ///
    /// # Errors
    /// `Unavailable`: it is not kept.
    pub async fn put(&self, bytes: Bytes) -> Result<FileHash, StoreError> {
        let hash = FileHash::of(&bytes);
        let put = self.store.put(&place(hash), PutPayload::from_bytes(bytes)).await;
        put.map_err(refused)?;
        Ok(hash)
    }

    /// The bytes of a file; absent if it is not there.
    ///
    /// # Errors
    /// `Unavailable`, or `Damaged` if the bytes have another hash.
    pub async fn get(&self, hash: FileHash) -> Result<Option<Bytes>, StoreError> {
        let found = match self.store.get(&place(hash)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(why) => return Err(refused(why)),
        };
        let bytes = found.bytes().await.map_err(refused)?;
        if FileHash::of(&bytes) != hash {
            return Err(StoreError::Damaged("firmware file"));
        }
        Ok(Some(bytes))
    }

    /// Removes a file; one that is not there is removed already.
    ///
    /// # Errors
    /// `Unavailable`
    pub async fn delete(&self, hash: FileHash) -> Result<(), StoreError> {
        match self.store.delete(&place(hash)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(why) => Err(refused(why)),
        }
    }
}

fn folder(path: &Path) -> Result<LocalFileSystem, OpenError> {
    let told = |source| OpenError::Io { path: path.to_owned(), source };
    private::own_folder(path).map_err(told)?;
    let files = LocalFileSystem::new_with_prefix(path);
    let files = files.map_err(|why| told(std::io::Error::other(why)))?;
    Ok(files.with_fsync(true))
}

fn bucket(config: &S3Config) -> Result<AmazonS3, OpenError> {
    // Another part of the process may have chosen already; any choice will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_access_key_id(&config.access_key_id)
        .with_secret_access_key(&config.secret_access_key);
    if !config.endpoint.is_empty() {
        builder = builder
            .with_endpoint(&config.endpoint)
            .with_allow_http(config.endpoint.starts_with("http://"));
    }
    builder.build().map_err(|why| OpenError::Bucket { why: why.to_string() })
}

/// Two levels, so that no folder grows without end.
fn place(hash: FileHash) -> Place {
    let name = hash.to_string();
    let (first, _) = name.split_at(2);
    Place::from(format!("{first}/{name}.{ENDING}"))
}

/// The hash that a place is made of; of what somebody else put there, none.
fn hash_of(location: &Place) -> Option<FileHash> {
    let name = location.filename()?.strip_suffix(ENDING)?.strip_suffix('.')?;
    let hash = FileHash(hex::decode(name).ok()?.try_into().ok()?);
    (place(hash) == *location).then_some(hash)
}

/// `object_store` writes `NAME#NUMBER` and renames it when it is whole.
fn is_unfinished(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(whole, number)| {
        whole.ends_with(ENDING) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    })
}

fn refused(why: object_store::Error) -> StoreError {
    StoreError::Unavailable(format!("firmware files: {why}"))
}
