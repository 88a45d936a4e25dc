//! The files of the server's keys, in `keys/` of the data folder.
//!
//! ```text
//! server-ec.pem            server-rsa.pem             private, 0600; SEC1, PKCS#1 or PKCS#8
//! server-ec.previous.pem   server-rsa.previous.pem    the key before it, while devices still know it
//! server-ec.pub.der, .pem  server-rsa.pub.der, .pem   public
//! server-ec.image.bin      server-rsa.image.bin       for a device's memory, with the server's address
//! ```
//!
//! A private key that exists is never overwritten or deleted: replacing one moves it to `previous`, and
//! the one there to a name with its hash. Once no device knows the previous key, its file can go.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secure::keys::{
    KeyError, KeyKind, PrivateKey, PublicKey, ServerAddress, ServerKeys, key_image,
};
use tempfile::Builder;
use zeroize::Zeroizing;

/// One of the server's two keys, by the transport it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// P-256, for DTLS.
    Udp,
    /// RSA-2048, for TCP.
    Tcp,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Udp, Self::Tcp];

    /// The kind its key has.
    pub const fn kind(self) -> KeyKind {
        match self {
            Self::Udp => KeyKind::P256,
            Self::Tcp => KeyKind::Rsa2048,
        }
    }

    /// Where devices keep the key: the address for `dfu-util -a 1 -s …` (`keys-and-provisioning.md` §3).
    pub const fn dfu_address(self) -> u32 {
        match self {
            Self::Udp => 3298,
            Self::Tcp => 2082,
        }
    }

    const fn stem(self) -> &'static str {
        match self {
            Self::Udp => "server-ec",
            Self::Tcp => "server-rsa",
        }
    }
}

/// Where everything of one key lies, whether it exists or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// The private key.
    pub private: PathBuf,
    /// The private key before it.
    pub previous: PathBuf,
    /// The public key as DER, for `particle keys server`.
    pub public_der: PathBuf,
    /// The public key as PEM.
    pub public_pem: PathBuf,
    /// The image for a device's memory, for `dfu-util`.
    pub image: PathBuf,
}

/// What became of a key that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// The server had this key already.
    Kept,
    /// The server had none.
    Placed,
    /// It took the place of another one, which is the previous key from here on.
    Replaced,
}

/// Why the keys cannot be used. The text tells the operator which file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServerKeysError {
    /// The server has another key, and devices may know it.
    #[error(
        "{} is another key, which devices may know already: they would not connect any more. \
         With --force it is kept as the previous key, which TCP devices can go on using, and DTLS devices \
         after a second attempt", .0.display()
    )]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{}: {why}", .0.display(), why = .1)]
    Io(PathBuf, io::Error),
    /// A file holds no usable key.
    #[error("{}: {why}", .0.display(), why = .1)]
    Key(PathBuf, KeyError),
    /// A key could not be made.
    #[error("no key could be made: {0}")]
    Make(KeyError),
    /// A file holds a key for the other transport, or one of the wrong size.
    #[error("{}: this is {}, and {} is needed", .0.display(), describe(*.1), describe(*.2))]
    WrongKind(PathBuf, KeyKind, KeyKind),
}

/// The files of one key in the data folder.
pub fn files(data: &Path, role: Role) -> KeyFiles {
    let path = |suffix: &str| folder(data).join(format!("{}{suffix}", role.stem()));
    KeyFiles {
        private: path(".pem"),
        previous: path(".previous.pem"),
        public_der: path(".pub.der"),
        public_pem: path(".pub.pem"),
        image: path(".image.bin"),
    }
}

/// Whether the data folder has any server key.
pub fn exist(data: &Path) -> bool {
    !private_files(data).is_empty()
}

/// The private key files that exist, previous keys included.
pub fn private_files(data: &Path) -> Vec<PathBuf> {
    let files = Role::ALL.map(|role| files(data, role));
    let paths = files.into_iter().flat_map(|files| [files.private, files.previous]);
    paths.filter(|path| path.exists()).collect()
}

/// The private key files that others than their owner may do anything with.
pub fn open_files(data: &Path) -> Vec<PathBuf> {
    let mut files = private_files(data);
    files.retain(|path| is_open(path));
    files
}

/// Whether others than its owner may do anything with this file.
pub fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & OTHERS != 0)
}

/// Reads the server's keys and makes those that are missing, public files and images included.
pub fn load_or_create(data: &Path) -> Result<ServerKeys, ServerKeysError> {
    create_folder(data)?;
    let (ec, rsa) = (load_or_make(data, Role::Udp)?, load_or_make(data, Role::Tcp)?);
    let previous = |role| read_if_there(&files(data, role).previous, role);
    let (previous_ec, previous_rsa) = (previous(Role::Udp)?, previous(Role::Tcp)?);
    ServerKeys::new(ec, rsa)
        .and_then(|keys| keys.with_previous(previous_ec, previous_rsa))
        .map_err(ServerKeysError::Make)
}

/// Whether [`adopt`] would take the key in `given`; changes nothing.
pub fn check(data: &Path, role: Role, given: &Path, force: bool) -> Result<(), ServerKeysError> {
    let key = read(given, role)?;
    let path = files(data, role).private;
    match read_if_there(&path, role)? {
        Some(current) if current.public_key() != key.public_key() && !force => {
            Err(ServerKeysError::Exists(path))
        }
        _ => Ok(()),
    }
}

/// Makes the key in `given` the server's key for `role`. Another one that is there is refused, or with
/// `force` becomes the previous key.
pub fn adopt(
    data: &Path,
    role: Role,
    given: &Path,
    force: bool,
) -> Result<Adopted, ServerKeysError> {
    create_folder(data)?;
    let key = read(given, role)?;
    let files = files(data, role);
    match read_if_there(&files.private, role)? {
        None => place(&files.private, &key).map(|()| Adopted::Placed),
        Some(current) if current.public_key() == key.public_key() => Ok(Adopted::Kept),
        Some(_) if !force => Err(ServerKeysError::Exists(files.private)),
        Some(current) => {
            set_previous(&files, role, &current)?;
            write(&files.private, pem(&key)?.as_bytes(), PRIVATE, Existing::Replace)?;
            forget_older(&files, role, &key)?;
            Ok(Adopted::Replaced)
        }
    }
}

/// Writes the public files and the image of a key. Without an address the image keeps the one it had.
pub fn publish(
    data: &Path,
    role: Role,
    key: &PublicKey,
    address: Option<&ServerAddress>,
) -> Result<(), ServerKeysError> {
    let files = files(data, role);
    update(&files.public_der, key.spki())?;
    update(&files.public_pem, key.to_pem().as_bytes())?;
    update(&files.image, &image(&files.image, key, address))
}

fn folder(data: &Path) -> PathBuf {
    data.join("keys")
}

/// The data folder and the one of the keys, for their owner alone. Those that are there stay as they are.
fn create_folder(data: &Path) -> Result<(), ServerKeysError> {
    let dir = folder(data);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map_err(|why| ServerKeysError::Io(dir, why))
}

fn describe(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::P256 => "an elliptic-curve key on P-256",
        KeyKind::Rsa1024 => "an RSA key of 1024 bits",
        KeyKind::Rsa2048 => "an RSA key of 2048 bits",
    }
}

fn load_or_make(data: &Path, role: Role) -> Result<PrivateKey, ServerKeysError> {
    let path = files(data, role).private;
    let key = match read_if_there(&path, role)? {
        Some(key) => key,
        None => {
            let key = PrivateKey::generate(role.kind()).map_err(ServerKeysError::Make)?;
            place(&path, &key)?;
            tracing::info!(file = %path.display(), "made a server key");
            key
        }
    };
    publish(data, role, key.public_key(), None)?;
    Ok(key)
}

fn read(path: &Path, role: Role) -> Result<PrivateKey, ServerKeysError> {
    let bytes = fs::read(path).map_err(|why| ServerKeysError::Io(path.into(), why))?;
    let bytes = Zeroizing::new(bytes);
    let key = PrivateKey::parse(&bytes).map_err(|why| ServerKeysError::Key(path.into(), why))?;
    if key.kind() != role.kind() {
        return Err(ServerKeysError::WrongKind(path.into(), key.kind(), role.kind()));
    }
    Ok(key)
}

fn read_if_there(path: &Path, role: Role) -> Result<Option<PrivateKey>, ServerKeysError> {
    match read(path, role) {
        Err(ServerKeysError::Io(_, why)) if why.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

fn place(path: &Path, key: &PrivateKey) -> Result<(), ServerKeysError> {
    write(path, pem(key)?.as_bytes(), PRIVATE, Existing::Refuse)
}

/// The previous key is on disk before the current one changes, and the one that was there has another
/// name before that, even if it is to be the current one: a crash between loses none of the three.
fn set_previous(files: &KeyFiles, role: Role, current: &PrivateKey) -> Result<(), ServerKeysError> {
    let older = read_if_there(&files.previous, role)?;
    if let Some(older) = older.filter(|older| older.public_key() != current.public_key()) {
        fs::rename(&files.previous, older_file(files, &older))
            .map_err(|why| ServerKeysError::Io(files.previous.clone(), why))?;
    }
    write(&files.previous, pem(current)?.as_bytes(), PRIVATE, Existing::Replace)
}

/// The key is the current one again.
fn forget_older(files: &KeyFiles, role: Role, key: &PrivateKey) -> Result<(), ServerKeysError> {
    let file = older_file(files, key);
    match read_if_there(&file, role)? {
        Some(older) if older.public_key() == key.public_key() => {
            fs::remove_file(&file).map_err(|why| ServerKeysError::Io(file, why))
        }
        Some(_) | None => Ok(()),
    }
}

/// Where a key lies that is neither the current nor the previous one.
fn older_file(files: &KeyFiles, key: &PrivateKey) -> PathBuf {
    let hash = hex::encode(&key.public_key().hash()[..4]);
    files.private.with_extension(format!("old-{hash}.pem"))
}

fn pem(key: &PrivateKey) -> Result<Zeroizing<String>, ServerKeysError> {
    key.to_pem().map_err(ServerKeysError::Make)
}

fn image(path: &Path, key: &PublicKey, address: Option<&ServerAddress>) -> Vec<u8> {
    let fresh = key_image(key, address).expect("server keys are P-256 or RSA-2048");
    match fs::read(path) {
        Ok(mut old) if address.is_none() && old.len() == fresh.len() => {
            old[..key.spki().len()].copy_from_slice(key.spki());
            old
        }
        _ => fresh,
    }
}

/// Writes a public file unless it says the same already, so that a folder may be read-only.
fn update(path: &Path, bytes: &[u8]) -> Result<(), ServerKeysError> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    write(path, bytes, PUBLIC, Existing::Replace)
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Existing {
    Refuse,
    Replace,
}

/// Permissions of a private file.
pub(crate) const PRIVATE: u32 = 0o600;
/// What the group and all others may do.
pub(crate) const OTHERS: u32 = 0o077;
/// Permissions of a public file.
pub(crate) const PUBLIC: u32 = 0o644;

/// Writes a file whole or not at all; it has its permissions from the start.
pub(crate) fn write(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    existing: Existing,
) -> Result<(), ServerKeysError> {
    let persist = || -> io::Result<()> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or_else(|| Path::new("."));
        let permissions = fs::Permissions::from_mode(mode);
        let mut file = Builder::new().permissions(permissions.clone()).tempfile_in(dir)?;
        // Not less than this either, whatever the process takes from what it makes.
        file.as_file().set_permissions(permissions)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        match existing {
            Existing::Refuse => file.persist_noclobber(path)?,
            Existing::Replace => file.persist(path)?,
        };
        fs::File::open(dir)?.sync_all()
    };
    persist().map_err(|why| ServerKeysError::Io(path.into(), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn data(&self) -> PathBuf {
            self.0.path().join("data")
        }

        /// A key file outside of the data folder.
        fn given(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        }
    }

    fn new_key(role: Role) -> PrivateKey {
        PrivateKey::generate(role.kind()).unwrap()
    }

    #[test]
    fn missing_keys_are_made_once_and_found_again() {
        let folder = Folder::new();
        let data = folder.data();
        assert!(!exist(&data));
        let made = load_or_create(&data).unwrap();
        assert!(exist(&data));
        let found = load_or_create(&data).unwrap();
        assert_eq!(made.ec().public_key(), found.ec().public_key());
        assert_eq!(made.rsa().public_key(), found.rsa().public_key());
        assert!(found.previous_ec().is_none() && found.previous_rsa().is_none());
    }

    #[test]
    fn private_files_are_for_their_owner_alone() {
        let place = Folder::new();
        let data = place.data();
        load_or_create(&data).unwrap();
        for role in Role::ALL {
            let given = place.given("given.pem", new_key(role).to_pem().unwrap());
            adopt(&data, role, &given, true).unwrap();
        }
        let files = private_files(&data);
        assert_eq!(files.len(), 4);
        for path in files {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        for path in [folder(&data), data] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn public_files_and_images_lie_beside_the_keys() {
        let folder = Folder::new();
        let data = folder.data();
        let keys = load_or_create(&data).unwrap();
        for (role, key, size) in [(Role::Udp, keys.ec(), 320), (Role::Tcp, keys.rsa(), 512)] {
            let files = files(&data, role);
            assert_eq!(fs::read(&files.public_der).unwrap(), key.public_key().spki());
            let pem = fs::read(&files.public_pem).unwrap();
            assert_eq!(PublicKey::parse(&pem).as_ref(), Ok(key.public_key()));
            assert_eq!(fs::read(&files.image).unwrap().len(), size);
        }
    }

    #[test]
    fn an_image_keeps_its_address_when_its_key_is_replaced() {
        let folder = Folder::new();
        let data = folder.data();
        load_or_create(&data).unwrap();
        let address = ServerAddress { host: "10.1.2.3".parse().unwrap(), port: Some(5684) };
        let next = new_key(Role::Udp);
        publish(&data, Role::Udp, next.public_key(), Some(&address)).unwrap();
        adopt(&data, Role::Udp, &folder.given("next", next.to_pem().unwrap()), true).unwrap();
        load_or_create(&data).unwrap();
        let image = fs::read(files(&data, Role::Udp).image).unwrap();
        assert_eq!(image, key_image(next.public_key(), Some(&address)).unwrap());
    }

    #[test]
    fn a_given_key_is_placed_in_any_encoding_and_kept_when_given_again() {
        let folder = Folder::new();
        for role in Role::ALL {
            let key = new_key(role);
            let pkey = match (key.ec(), key.rsa()) {
                (Some(ec), _) => openssl::pkey::PKey::from_ec_key(ec.clone()).unwrap(),
                (_, rsa) => openssl::pkey::PKey::from_rsa(rsa.unwrap().clone()).unwrap(),
            };
            let pkcs8 = folder.given("pkcs8.pem", pkey.private_key_to_pem_pkcs8().unwrap());
            let plain = folder.given("plain.pem", key.to_pem().unwrap());
            assert_eq!(adopt(&folder.data(), role, &pkcs8, false).unwrap(), Adopted::Placed);
            assert_eq!(adopt(&folder.data(), role, &plain, false).unwrap(), Adopted::Kept);
            fs::copy(&pkcs8, files(&folder.data(), role).private).unwrap();
            assert_eq!(adopt(&folder.data(), role, &plain, false).unwrap(), Adopted::Kept);
        }
    }

    #[test]
    fn another_key_is_refused_and_with_force_the_old_one_becomes_the_previous() {
        let folder = Folder::new();
        let data = folder.data();
        let first = load_or_create(&data).unwrap();
        let next = new_key(Role::Tcp);
        let given = folder.given("next.pem", next.to_pem().unwrap());
        let refused = adopt(&data, Role::Tcp, &given, false).unwrap_err();
        assert!(matches!(refused, ServerKeysError::Exists(_)));
        assert!(refused.to_string().contains("--force"));
        assert_eq!(load_or_create(&data).unwrap().rsa().public_key(), first.rsa().public_key());

        assert_eq!(adopt(&data, Role::Tcp, &given, true).unwrap(), Adopted::Replaced);
        let keys = load_or_create(&data).unwrap();
        assert_eq!(keys.rsa().public_key(), next.public_key());
        let previous = keys.previous_rsa().unwrap();
        assert_eq!(previous.public_key(), first.rsa().public_key());
        assert_eq!(keys.ec().public_key(), first.ec().public_key());
    }

    #[test]
    fn no_private_key_is_ever_lost_and_a_step_back_swaps_the_two() {
        let folder = Folder::new();
        let data = folder.data();
        let keys: Vec<_> = (0..3).map(|_| new_key(Role::Udp)).collect();
        let given: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(index, key)| folder.given(&index.to_string(), key.to_pem().unwrap()))
            .collect();
        given.iter().for_each(|path| {
            adopt(&data, Role::Udp, path, true).unwrap();
        });
        let old = files(&data, Role::Udp)
            .private
            .with_extension(format!("old-{}.pem", hex::encode(&keys[0].public_key().hash()[..4])));
        assert_eq!(PublicKey::parse(&fs::read(old).unwrap()).as_ref(), Ok(keys[0].public_key()));

        adopt(&data, Role::Udp, &given[1], true).unwrap();
        let loaded = load_or_create(&data).unwrap();
        assert_eq!(loaded.ec().public_key(), keys[1].public_key());
        assert_eq!(loaded.previous_ec().unwrap().public_key(), keys[2].public_key());
        let private = fs::read_dir(data.join("keys")).unwrap();
        let pems = private.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
            name.starts_with("server-ec") && name.ends_with(".pem") && !name.contains("pub")
        });
        assert_eq!(pems.count(), 3);
    }

    #[test]
    fn a_step_back_that_breaks_off_half_way_loses_no_key() {
        let folder = Folder::new();
        let data = folder.data();
        let (first, second) = (new_key(Role::Udp), new_key(Role::Udp));
        for (name, key) in [("first", &first), ("second", &second)] {
            adopt(&data, Role::Udp, &folder.given(name, key.to_pem().unwrap()), true).unwrap();
        }
        // What a step back to `first` does before it touches the current key.
        set_previous(&files(&data, Role::Udp), Role::Udp, &second).unwrap();
        let paths = fs::read_dir(data.join("keys")).unwrap().map(|entry| entry.unwrap().path());
        let kept: Vec<_> = paths.filter_map(|path| read(&path, Role::Udp).ok()).collect();
        for key in [&first, &second] {
            assert!(kept.iter().any(|kept| kept.public_key() == key.public_key()));
        }
        let previous = files(&data, Role::Udp).previous;
        assert_eq!(read(&previous, Role::Udp).unwrap().public_key(), second.public_key());
    }

    #[test]
    fn a_key_of_the_wrong_kind_or_a_damaged_file_is_refused_by_name() {
        let folder = Folder::new();
        let data = folder.data();
        let rsa = folder.given("rsa.pem", new_key(Role::Tcp).to_pem().unwrap());
        let refused = adopt(&data, Role::Udp, &rsa, true).unwrap_err().to_string();
        assert!(refused.contains("rsa.pem") && refused.contains("P-256"), "{refused}");

        load_or_create(&data).unwrap();
        let path = files(&data, Role::Udp).private;
        fs::write(&path, "-----BEGIN nothing").unwrap();
        let refused = load_or_create(&data).unwrap_err().to_string();
        assert!(refused.contains("server-ec.pem"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"-----BEGIN nothing");
    }
}
