//! `cloudchamber keys`: the keys of the server and of devices, as files.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use secure::keys::{Host, KeyError, KeyKind, PrivateKey, PublicKey, ServerAddress};
use serde::Serialize;

use crate::cli::DataArgs;
use crate::output::{say, say_json};
use crate::server_keys::{self, Adopted, Existing, PRIVATE, PUBLIC, Role, ServerKeysError};

/// `keys …`
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the server's keys, or take over existing ones; writes the files that devices need.
    Server(ServerArgs),
    /// Make the key pair of a device.
    Device(DeviceArgs),
}

#[derive(Debug, Args)]
struct ServerArgs {
    /// P-256 private key to use for DTLS: SEC1 or PKCS#8.
    #[arg(long, value_name = "PEM")]
    ec_key: Option<PathBuf>,
    /// RSA-2048 private key to use for TCP: PKCS#1 or PKCS#8.
    #[arg(long, value_name = "PEM")]
    rsa_key: Option<PathBuf>,
    /// Address or name of this server, written into the images for devices. `$id` in a name stands for
    /// the device's id. Without it the images keep the address they have.
    #[arg(long)]
    host: Option<Host>,
    /// Port for UDP; newer devices use 5684 whatever is written here.
    #[arg(long, value_name = "PORT", requires = "host")]
    udp_port: Option<u16>,
    /// Port for TCP, if it is not 5683.
    #[arg(long, value_name = "PORT", requires = "host")]
    tcp_port: Option<u16>,
    /// Replace other keys by the given ones; the other ones are kept as previous keys.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, Args)]
struct DeviceArgs {
    /// What the device connects over: ec for UDP, rsa for TCP.
    #[arg(long = "type", value_enum, default_value = "ec")]
    algorithm: Algorithm,
    /// Folder for device.der, device.pem and device.pub.pem; must not have them yet.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Write the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Algorithm {
    /// P-256.
    Ec,
    /// RSA with 1024 bits.
    Rsa,
}

/// Why no keys were written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// A key could not be made.
    #[error("no key could be made: {0}")]
    Make(KeyError),
    /// A file cannot be read or written, or holds another key.
    #[error(transparent)]
    Files(#[from] ServerKeysError),
    /// There is a device's key in the folder.
    #[error("{} exists, and a device's key is not overwritten: choose another folder with --out", .0.display())]
    Exists(PathBuf),
}

/// Runs `keys …`.
pub(crate) fn run(args: KeysArgs) -> Result<(), KeysError> {
    match args.command {
        Command::Server(args) => {
            let summary = server(&args)?;
            if args.data.json { say_json(&summary) } else { tell_server(&summary, &args) }
        }
        Command::Device(args) => {
            let summary = device(args.algorithm, &args.out)?;
            if args.json { say_json(&summary) } else { tell_device(&summary) }
        }
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct ServerSummary {
    keys: [ServerKeySummary; 2],
}

#[derive(Debug, Serialize)]
struct ServerKeySummary {
    transport: &'static str,
    state: State,
    private: PathBuf,
    previous: Option<PathBuf>,
    public_der: PathBuf,
    public_pem: PathBuf,
    image: PathBuf,
    dfu_address: u32,
    sha256: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Kept,
    Made,
    Placed,
    Replaced,
}

/// Both given keys are looked at before the first is taken over; then whatever is missing is made.
fn server(args: &ServerArgs) -> Result<ServerSummary, KeysError> {
    let data = &args.data.data;
    let (ec_key, rsa_key) = (args.ec_key.as_deref(), args.rsa_key.as_deref());
    for (role, path) in [(Role::Udp, ec_key), (Role::Tcp, rsa_key)] {
        if let Some(path) = path {
            server_keys::check(data, role, path, args.force)?;
        }
    }
    let udp = take_over(data, Role::Udp, ec_key, args.force)?;
    let tcp = take_over(data, Role::Tcp, rsa_key, args.force)?;
    let keys = server_keys::load_or_create(data)?;
    let (ec, rsa) = (keys.ec().public_key(), keys.rsa().public_key());
    if let Some(host) = &args.host {
        let address = |port| Some(ServerAddress { host: host.clone(), port });
        server_keys::publish(data, Role::Udp, ec, address(args.udp_port).as_ref())?;
        server_keys::publish(data, Role::Tcp, rsa, address(args.tcp_port).as_ref())?;
    }
    Ok(ServerSummary {
        keys: [
            ServerKeySummary::new(Role::Udp, data, udp, ec),
            ServerKeySummary::new(Role::Tcp, data, tcp, rsa),
        ],
    })
}

fn take_over(
    data: &Path,
    role: Role,
    given: Option<&Path>,
    force: bool,
) -> Result<State, ServerKeysError> {
    let Some(given) = given else {
        let there = server_keys::files(data, role).private.exists();
        return Ok(if there { State::Kept } else { State::Made });
    };
    Ok(match server_keys::adopt(data, role, given, force)? {
        Adopted::Kept => State::Kept,
        Adopted::Placed => State::Placed,
        Adopted::Replaced => State::Replaced,
    })
}

impl ServerKeySummary {
    fn new(role: Role, data: &Path, state: State, public: &PublicKey) -> Self {
        let files = server_keys::files(data, role);
        Self {
            transport: if role == Role::Udp { "udp" } else { "tcp" },
            state,
            previous: files.previous.exists().then_some(files.previous),
            private: files.private,
            public_der: files.public_der,
            public_pem: files.public_pem,
            image: files.image,
            dfu_address: role.dfu_address(),
            sha256: hex::encode(public.hash()),
        }
    }
}

fn tell_server(summary: &ServerSummary, args: &ServerArgs) {
    for key in &summary.keys {
        let state = match key.state {
            State::Kept => "kept as it was",
            State::Made => "new",
            State::Placed => "taken over",
            State::Replaced => "replaced; a running server uses it after a restart",
        };
        say(&format!("{} key: {state}", key.transport.to_uppercase()));
        say(&format!("  private       {}   (secret; keep a copy)", key.private.display()));
        if let Some(previous) = &key.previous {
            say(&format!("  previous      {}   (still accepted)", previous.display()));
        }
        say(&format!("  public        {}", key.public_der.display()));
        say(&format!("                {}", key.public_pem.display()));
        say(&format!("  device image  {}", key.image.display()));
        say(&format!("  SHA-256       {}", key.sha256));
    }
    say("To point a device at this server (connected by USB, in DFU mode), one of:");
    let host = args.host.as_ref().map_or_else(|| "HOST".to_owned(), |host| format!("'{host}'"));
    let ports = [args.udp_port.unwrap_or(5684), args.tcp_port.unwrap_or(5683)];
    for (key, port) in summary.keys.iter().zip(ports) {
        let (der, transport) = (key.public_der.display(), key.transport);
        say(&format!(
            "  particle keys server {der} --protocol {transport} --host {host} --port {port}"
        ));
    }
    let needs = if args.host.is_some() { "" } else { "; the image needs --host" };
    for key in &summary.keys {
        say(&format!(
            "  dfu-util -a 1 -s {} -D {}   ({}{needs})",
            key.dfu_address,
            key.image.display(),
            key.transport.to_uppercase()
        ));
    }
}

#[derive(Debug, Serialize)]
struct DeviceSummary {
    algorithm: &'static str,
    private_der: PathBuf,
    private_pem: PathBuf,
    public_pem: PathBuf,
    dfu_address: u32,
    sha256: String,
}

/// The files that `particle keys new` writes, in the encoding that devices can read.
fn device(algorithm: Algorithm, out: &Path) -> Result<DeviceSummary, KeysError> {
    let (kind, dfu_address) = match algorithm {
        Algorithm::Ec => (KeyKind::P256, 3106),
        Algorithm::Rsa => (KeyKind::Rsa1024, 34),
    };
    let [private_der, private_pem, public_pem] =
        ["device.der", "device.pem", "device.pub.pem"].map(|name| out.join(name));
    for path in [&private_der, &private_pem, &public_pem] {
        if path.exists() {
            return Err(KeysError::Exists(path.clone()));
        }
    }
    fs::create_dir_all(out).map_err(|why| ServerKeysError::Io(out.into(), why))?;
    let key = PrivateKey::generate(kind).map_err(KeysError::Make)?;
    let (der, pem) =
        (key.to_der().map_err(KeysError::Make)?, key.to_pem().map_err(KeysError::Make)?);
    server_keys::write(&private_der, &der, PRIVATE, Existing::Refuse)?;
    server_keys::write(&private_pem, pem.as_bytes(), PRIVATE, Existing::Refuse)?;
    let public = key.public_key();
    server_keys::write(&public_pem, public.to_pem().as_bytes(), PUBLIC, Existing::Refuse)?;
    let (algorithm, sha256) = (kind.algorithm(), hex::encode(public.hash()));
    Ok(DeviceSummary { algorithm, private_der, private_pem, public_pem, dfu_address, sha256 })
}

fn tell_device(summary: &DeviceSummary) {
    say(&format!("New {} key pair for a device", summary.algorithm));
    say(&format!("  private  {}   (secret)", summary.private_der.display()));
    say(&format!("           {}", summary.private_pem.display()));
    say(&format!("  public   {}", summary.public_pem.display()));
    say(&format!("  SHA-256  {}", summary.sha256));
    say("Next: put it into the device (in DFU mode), then register it:");
    say(&format!("  particle keys load {}", summary.private_der.display()));
    say(&format!(
        "  or: dfu-util -a 1 -s {} -D {}",
        summary.dfu_address,
        summary.private_der.display()
    ));
    say(&format!(
        "  cloudchamber device add DEVICE_ID --owner EMAIL --public-key {}",
        summary.public_pem.display()
    ));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        keys: KeysArgs,
    }

    fn parse(line: &[&str]) -> Result<Command, clap::Error> {
        let words = ["cloudchamber"].iter().chain(line);
        Ok(Line::try_parse_from(words)?.keys.command)
    }

    fn server_with(line: &[&str]) -> Result<ServerSummary, KeysError> {
        let words: Vec<_> = ["server"].iter().chain(line).copied().collect();
        let Command::Server(args) = parse(&words).unwrap() else { panic!() };
        server(&args)
    }

    #[test]
    fn the_images_carry_the_address_that_was_given() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let summary =
            server_with(&["--data", data, "--host", "10.0.0.5", "--udp-port", "5684"]).unwrap();
        let [udp, tcp] = &summary.keys;
        assert_eq!((udp.state, tcp.state), (State::Made, State::Made));
        let (udp, tcp) = (fs::read(&udp.image).unwrap(), fs::read(&tcp.image).unwrap());
        assert_eq!(udp[192..198], [0, 4, 10, 0, 0, 5]);
        assert_eq!(udp[258..260], 5684_u16.to_be_bytes());
        assert_eq!(tcp[384..390], [0, 4, 10, 0, 0, 5]);
        assert_eq!(tcp[450..452], [0xff, 0xff]);
    }

    #[test]
    fn a_second_run_keeps_the_keys_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let first = server_with(&["--data", data]).unwrap();
        let second = server_with(&["--data", data, "--force"]).unwrap();
        for (first, second) in first.keys.iter().zip(&second.keys) {
            assert_eq!(second.state, State::Kept);
            assert_eq!(first.sha256, second.sha256);
            assert_eq!(second.previous, None);
        }
    }

    #[test]
    fn one_refused_key_leaves_both_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let first = server_with(&["--data", data]).unwrap();
        let [ec, rsa] = [KeyKind::P256, KeyKind::Rsa2048].map(|kind| {
            let path = dir.path().join(kind.algorithm());
            fs::write(&path, PrivateKey::generate(kind).unwrap().to_pem().unwrap()).unwrap();
            path.to_str().unwrap().to_owned()
        });
        let line = ["--data", data, "--ec-key", &ec, "--rsa-key", &ec, "--force"];
        assert!(server_with(&line).is_err());
        let line = ["--data", data, "--ec-key", &ec, "--rsa-key", &rsa];
        assert!(server_with(&line).unwrap_err().to_string().contains("--force"));
        let kept = server_with(&["--data", data]).unwrap();
        assert_eq!(kept.keys[0].sha256, first.keys[0].sha256);

        let line = ["--data", data, "--ec-key", &ec, "--rsa-key", &rsa, "--force"];
        let replaced = server_with(&line).unwrap();
        for (old, new) in first.keys.iter().zip(&replaced.keys) {
            assert_eq!(new.state, State::Replaced);
            assert_ne!(old.sha256, new.sha256);
            assert!(new.previous.is_some());
        }
    }

    #[test]
    fn hosts_that_no_device_takes_and_ports_without_a_host_are_bad_calls() {
        assert!(parse(&["server", "--host", "10.0.0.300"]).is_err());
        assert!(parse(&["server", "--host", ""]).is_err());
        assert!(parse(&["server", "--udp-port", "5684"]).is_err());
        assert!(parse(&["device", "--type", "dsa"]).is_err());
    }

    #[test]
    fn a_device_gets_a_key_pair_it_can_read_and_keeps_it() {
        for (algorithm, kind) in
            [(Algorithm::Ec, KeyKind::P256), (Algorithm::Rsa, KeyKind::Rsa1024)]
        {
            let dir = tempfile::tempdir().unwrap();
            let out = dir.path().join("new");
            let summary = device(algorithm, &out).unwrap();
            let private = PrivateKey::parse(&fs::read(&summary.private_der).unwrap()).unwrap();
            assert_eq!(private.kind(), kind);
            assert!(private.fits_device());
            let public = PublicKey::parse(&fs::read(&summary.public_pem).unwrap()).unwrap();
            assert_eq!(&public, private.public_key());
            for path in [&summary.private_der, &summary.private_pem] {
                assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
            }
            assert!(matches!(device(algorithm, &out), Err(KeysError::Exists(_))));
        }
    }
}
