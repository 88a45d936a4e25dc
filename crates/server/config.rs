//! Settings: defaults, then a file, then the environment, then flags. Unknown keys are refused
//! before anything is opened.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat};
use serde::Deserialize;

/// The documented defaults; the file is the one place where they are written.
pub const DEFAULTS: &str = include_str!("../../config/server.toml");

/// Every setting of the server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The data folder.
    pub data: DataConfig,
    /// DTLS devices.
    pub udp: UdpConfig,
    /// TCP devices.
    pub tcp: TcpConfig,
    /// The HTTP API.
    pub http: HttpConfig,
    /// Threads and queues.
    pub node: NodeConfig,
    /// How devices become known.
    pub provisioning: ProvisioningConfig,
    /// The publish rate of devices.
    pub publish: PublishConfig,
    /// `[ota]`
    pub ota: OtaConfig,
    /// What counts.
    pub metering: MeteringConfig,
    /// Notices by e-mail.
    pub mail: MailConfig,
    /// Who may create an account.
    pub registration: RegistrationConfig,
    /// Requests that events cause.
    pub webhooks: WebhooksConfig,
    /// Firmware updates.
    pub updates: UpdatesConfig,
    /// How often the HTTP API may be asked.
    pub limits: LimitsConfig,
    /// Logging.
    pub log: LogConfig,
}

/// More threads than any machine has cores are a mistake.
const HANDSHAKE_THREADS_MAX: usize = 1024;
/// Each place holds one job of a few hundred bytes.
const HANDSHAKE_QUEUE_MAX: usize = 1_000_000;

/// Reads a whole number; a fraction is refused, where the settings library would round it.
fn whole<'de, D, T>(source: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: TryFrom<u64>,
{
    let number = source.deserialize_any(WholeNumber)?;
    T::try_from(number).map_err(|_| serde::de::Error::custom(format!("{number} is too large")))
}

struct WholeNumber;

impl serde::de::Visitor<'_> for WholeNumber {
    type Value = u64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a whole number from 0 on")
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<u64, E> {
        Ok(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<u64, E> {
        let refused = |_| E::invalid_value(serde::de::Unexpected::Signed(value), &self);
        u64::try_from(value).map_err(refused)
    }
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Folder of the store, the journal and the keys.
    pub dir: PathBuf,
}

/// `[udp]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpConfig {
    /// Address and port; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Bytes asked of the kernel for each direction.
    #[serde(deserialize_with = "whole")]
    pub socket_buffer_bytes: usize,
}

/// `[tcp]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpConfig {
    /// Address and port; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Open connections in total.
    #[serde(deserialize_with = "whole")]
    pub connections_max: usize,
    /// Open connections from one IP address.
    #[serde(deserialize_with = "whole")]
    pub connections_per_address_max: usize,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Certificate chain in PEM; empty: no TLS.
    pub tls_certificate: PathBuf,
    /// Its private key in PEM.
    pub tls_key: PathBuf,
    /// Address and port of plain HTTP that is sent on to HTTPS; empty: none.
    pub redirect_listen: String,
    /// Whether plain HTTP may be served beyond loopback.
    pub allow_plain: bool,
}

impl HttpConfig {
    /// The files of the certificate, if the server shall speak TLS.
    pub fn certificate(&self) -> Option<web::CertificateFiles> {
        let is_set = !self.tls_certificate.as_os_str().is_empty();
        is_set.then(|| web::CertificateFiles {
            certificate: self.tls_certificate.clone(),
            key: self.tls_key.clone(),
        })
    }

    /// Where plain HTTP is sent on from.
    pub fn redirect(&self) -> Result<Option<SocketAddr>, ConfigError> {
        if self.redirect_listen.is_empty() {
            return Ok(None);
        }
        let parsed = self.redirect_listen.parse();
        parsed.map(Some).map_err(|_| ConfigError::Refused {
            key: "http.redirect_listen",
            why: format!(
                "{:?} is no address and port such as 0.0.0.0:80, or empty",
                self.redirect_listen
            ),
        })
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refused = |key, why: &str| Err(ConfigError::Refused { key, why: why.to_owned() });
        let has_key = !self.tls_key.as_os_str().is_empty();
        match (self.certificate().is_some(), has_key, self.redirect()?) {
            (true, false, _) => refused("http.tls_key", "http.tls_certificate needs its key"),
            (false, true, _) => {
                refused("http.tls_certificate", "http.tls_key needs its certificate")
            }
            (false, false, Some(_)) => refused(
                "http.redirect_listen",
                "there is no HTTPS to be sent on to: set http.tls_certificate",
            ),
            (true, true, _) => Ok(()),
            (false, false, None) if self.allow_plain || self.listen.ip().is_loopback() => Ok(()),
            (false, false, None) => refused(
                "http.listen",
                &format!(
                    "{} is not loopback, and plain HTTP there would send passwords in clear: set http.tls_certificate \
                     and http.tls_key, put a TLS proxy before 127.0.0.1, or set http.allow_plain = true",
                    self.listen
                ),
            ),
        }
    }
}

/// `[node]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Threads that own devices; 0 chooses by cores.
    #[serde(deserialize_with = "whole")]
    pub shards: usize,
    /// Threads for public-key work; 0 chooses by cores.
    #[serde(deserialize_with = "whole")]
    pub handshake_threads: usize,
    /// Jobs that may wait for them.
    #[serde(deserialize_with = "whole")]
    pub handshake_queue: usize,
    /// Whether a crash may leave an image of the process.
    pub core_dumps: bool,
}

/// `[provisioning]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvisioningConfig {
    /// Whether an unknown key is bound to the first id it tells.
    pub trust_on_first_use: bool,
}

/// `[publish]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishConfig {
    /// Milliseconds for one more publish; 0: no limit.
    #[serde(deserialize_with = "whole")]
    pub refill_ms: u32,
    /// Publishes at once.
    #[serde(deserialize_with = "whole")]
    pub burst: u32,
}

/// `[ota]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtaConfig {
    /// Bytes of updates sent in a second, to all devices together; 0: no bound.
    #[serde(deserialize_with = "whole")]
    pub bandwidth_bytes: u64,
}

/// `[metering]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeteringConfig {
    /// Name of the plan catalogue of accounts that agreed to none.
    pub catalogue: String,
    /// File of the operator's catalogues; empty: none.
    pub plans: PathBuf,
    /// Hours for which single operations can be listed; 0: none.
    #[serde(deserialize_with = "whole")]
    pub window_hours: u32,
    /// MiB that this may take.
    #[serde(deserialize_with = "whole")]
    pub window_mib: u32,
    /// Days for which each hour has a sum of its own.
    #[serde(deserialize_with = "whole")]
    pub hours_kept_days: u32,
    /// Days for which each day has one.
    #[serde(deserialize_with = "whole")]
    pub days_kept_days: u32,
}

impl MeteringConfig {
    /// How long single operations can be listed.
    pub fn window(&self) -> store::KeptBounds {
        store::KeptBounds {
            age: std::time::Duration::from_secs(u64::from(self.window_hours) * 3600),
            bytes: u64::from(self.window_mib) << 20,
        }
    }

    /// How long sums of hours and of days are kept.
    pub fn kept(&self) -> store::Kept {
        store::Kept { hours_for_days: self.hours_kept_days, days_for_days: self.days_kept_days }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refused = |key, why: &str| Err(ConfigError::Refused { key, why: why.to_owned() });
        match (self.hours_kept_days, self.days_kept_days) {
            (0, _) => refused("metering.hours_kept_days", "it must be at least 1"),
            (hours, days) if days < hours => refused(
                "metering.days_kept_days",
                "it must not be less than metering.hours_kept_days",
            ),
            _ => Ok(()),
        }
    }

    /// The operator's file, if there is one.
    pub fn plans_file(&self) -> Option<&Path> {
        (!self.plans.as_os_str().is_empty()).then_some(self.plans.as_path())
    }
}

/// `[mail]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// Sender.
    pub from: String,
    /// URL of an SMTP server; empty: mails are written to files.
    pub smtp: String,
}

/// `[registration]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationConfig {
    /// Who may create an account.
    pub mode: RegistrationMode,
}

/// Who may create an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// The operator alone.
    Closed,
    /// Whoever has an invitation.
    Invitation,
    /// Anybody.
    Open,
}

/// `[webhooks]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhooksConfig {
    /// Whether requests may go into the operator's own network.
    pub allow_private_targets: bool,
    /// Webhooks of one account.
    pub per_account_max: usize,
    /// Requests under way to one host.
    pub requests_per_host_max: usize,
}

/// `[updates]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdatesConfig {
    /// Updates under way at once.
    #[serde(deserialize_with = "whole")]
    pub at_once_max: usize,
    /// Largest firmware file, in bytes.
    #[serde(deserialize_with = "whole")]
    pub image_bytes_max: usize,
    /// Percentages of a release's stages.
    pub stages: Vec<u8>,
    /// Failures in percent above which a release halts.
    pub failure_percent_max: u8,
    /// Devices that must have decided before it may halt.
    pub failures_judged_from: u16,
    /// Devices of a stage that must be updated before the next one, in percent.
    pub quorum_percent: u8,
    /// Least time of a stage, in seconds.
    #[serde(deserialize_with = "whole")]
    pub soak_s: u32,
    /// Bucket for firmware files; its name empty: the data folder.
    pub s3: S3Config,
}

/// `[updates.s3]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// URL of the service.
    pub endpoint: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Region.
    pub region: String,
    /// Who asks.
    pub access_key_id: String,
    /// Proves it.
    pub secret_access_key: String,
}

impl UpdatesConfig {
    /// What the keeper of updates takes.
    pub fn to_node(&self) -> Result<node::UpdatesConfig, String> {
        let plan = node::rollout::Plan::default().with_stages(&self.stages);
        let mut plan = plan.map_err(|why| format!("updates.stages: {why}"))?;
        plan.failure_percent_max = self.failure_percent_max;
        plan.failures_judged_from = self.failures_judged_from;
        plan.quorum_percent = self.quorum_percent;
        plan.soak_ms = i64::from(self.soak_s) * 1000;
        Ok(node::UpdatesConfig {
            at_once_max: self.at_once_max,
            image_bytes_max: self.image_bytes_max,
            plan,
            ..node::UpdatesConfig::default()
        })
    }

    /// Where firmware files lie.
    pub fn files(&self) -> store::FilesConfig {
        if self.s3.bucket.is_empty() {
            return store::FilesConfig::Folder;
        }
        store::FilesConfig::S3(store::S3Config {
            endpoint: self.s3.endpoint.clone(),
            bucket: self.s3.bucket.clone(),
            region: self.s3.region.clone(),
            access_key_id: self.s3.access_key_id.clone(),
            secret_access_key: self.s3.secret_access_key.clone(),
        })
    }
}

impl Config {
    /// What the HTTP side takes.
    pub fn to_web(&self) -> Result<web::WebConfig, ConfigError> {
        Ok(web::WebConfig {
            limits: self.limits.to_web()?,
            registration: match self.registration.mode {
                RegistrationMode::Closed => web::Registration::Closed,
                RegistrationMode::Invitation => web::Registration::Invitation,
                RegistrationMode::Open => web::Registration::Open,
            },
            webhooks: web::WebhooksConfig {
                allow_private_targets: self.webhooks.allow_private_targets,
                per_account_max: self.webhooks.per_account_max,
                requests_per_host_max: self.webhooks.requests_per_host_max,
                ..web::WebhooksConfig::default()
            },
            server_keys: None,
        })
    }
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests from one address in 300 s.
    #[serde(deserialize_with = "whole")]
    pub requests_max: u32,
    /// Sign-ins from one address in 300 s.
    #[serde(deserialize_with = "whole")]
    pub token_requests_max: u32,
    /// Requests about tokens and users from one address in 300 s.
    #[serde(deserialize_with = "whole")]
    pub management_requests_max: u32,
    /// Event streams opened from one address in 300 s.
    #[serde(deserialize_with = "whole")]
    pub streams_opened_max: u32,
    /// Event streams open at once from one address.
    #[serde(deserialize_with = "whole")]
    pub streams_open_max: u32,
    /// Failed sign-ins in a row before an address is locked out for 30 minutes.
    #[serde(deserialize_with = "whole")]
    pub failed_sign_ins_max: u32,
    /// Serial numbers looked up by one user in an hour.
    #[serde(deserialize_with = "whole")]
    pub serial_lookups_max: u32,
    /// Networks without limits.
    pub exempt: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
}

impl LimitsConfig {
    /// The form that the HTTP side takes.
    pub fn to_web(&self) -> Result<web::LimitsConfig, ConfigError> {
        Ok(web::LimitsConfig {
            requests_max: self.requests_max,
            token_requests_max: self.token_requests_max,
            management_requests_max: self.management_requests_max,
            streams_opened_max: self.streams_opened_max,
            streams_open_max: self.streams_open_max,
            failed_sign_ins_max: self.failed_sign_ins_max,
            serial_lookups_max: self.serial_lookups_max,
            connections_max: crate::open_files::for_http(),
            exempt: networks("limits.exempt", &self.exempt)?,
            trusted_proxies: networks("limits.trusted_proxies", &self.trusted_proxies)?,
        })
    }
}

fn networks(key: &'static str, texts: &[String]) -> Result<Vec<web::Network>, ConfigError> {
    let parsed = texts.iter().map(|text| text.parse::<web::Network>());
    parsed
        .collect::<Result<_, _>>()
        .map_err(|why| ConfigError::Refused { key, why: why.to_string() })
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// A filter of `tracing`.
    pub filter: String,
    /// One JSON object a line.
    pub json: bool,
}

/// Settings that cannot be used: the text names the key, what is wrong and where it came from.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or variable has an unknown key or a value of the wrong kind.
    #[error("configuration: {0}")]
    Invalid(String),
    /// The value parses but makes no sense.
    #[error("configuration: {key}: {why}")]
    Refused {
        /// Path of the setting.
        key: &'static str,
        /// What to do.
        why: String,
    },
}

/// What the command line says on top of the other layers.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--data`
    pub data: Option<PathBuf>,
}

impl Config {
    /// Reads every layer.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let environment = Environment::with_prefix("CLOUDCHAMBER")
            .prefix_separator("_")
            .separator("__")
            .list_separator(",")
            .with_list_parse_key("limits.exempt")
            .with_list_parse_key("limits.trusted_proxies")
            .with_list_parse_key("updates.stages");
        Self::build(file, environment, overrides)
    }

    /// Reads the text of a settings file over the defaults, whatever the environment says.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let layers = config::Config::builder()
            .add_source(File::from_str(DEFAULTS, FileFormat::Toml))
            .add_source(File::from_str(text, FileFormat::Toml));
        Self::merged(layers)
    }

    fn build(
        file: Option<&Path>,
        environment: Environment,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let mut layers =
            config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(path) = file {
            layers = layers.add_source(File::from(path).format(FileFormat::Toml).required(true));
        }
        layers = layers.add_source(environment.try_parsing(true));
        if let Some(dir) = &overrides.data {
            layers = layers
                .set_override("data.dir", dir.to_string_lossy().into_owned())
                .map_err(|why| ConfigError::Invalid(why.to_string()))?;
        }
        Self::merged(layers)
    }

    fn merged(
        layers: config::ConfigBuilder<config::builder::DefaultState>,
    ) -> Result<Self, ConfigError> {
        let merged = layers.build().map_err(|why| ConfigError::Invalid(why.to_string()))?;
        let config: Self =
            merged.try_deserialize().map_err(|why| ConfigError::Invalid(why.to_string()))?;
        config.check()
    }

    /// What one value alone cannot tell.
    fn check(self) -> Result<Self, ConfigError> {
        self.http.check()?;
        self.check_ranges()?;
        self.check_plans()?;
        self.metering.check()?;
        crate::mail::check(&self.mail)?;
        if self.publish.refill_ms > 0 && self.publish.burst == 0 {
            return Err(ConfigError::Refused {
                key: "publish.burst",
                why: "0 would refuse every publish; set publish.refill_ms = 0 to switch the limit off".into(),
            });
        }
        self.limits.to_web()?;
        let refused = |why| ConfigError::Refused { key: "updates.stages", why };
        self.updates.to_node().map_err(refused)?;
        Ok(self)
    }

    /// Numbers that mean something within bounds only.
    fn check_ranges(&self) -> Result<(), ConfigError> {
        let bounds = [
            ("node.shards", self.node.shards, 0..=node::SHARDS_MAX),
            ("node.handshake_threads", self.node.handshake_threads, 0..=HANDSHAKE_THREADS_MAX),
            ("node.handshake_queue", self.node.handshake_queue, 1..=HANDSHAKE_QUEUE_MAX),
            ("updates.at_once_max", self.updates.at_once_max, 1..=100_000),
            (
                "updates.image_bytes_max",
                self.updates.image_bytes_max,
                1024..=node::UpdatesConfig::IMAGE_BYTES_LIMIT,
            ),
            ("tcp.connections_max", self.tcp.connections_max, 1..=usize::MAX),
            (
                "tcp.connections_per_address_max",
                self.tcp.connections_per_address_max,
                1..=usize::MAX,
            ),
        ];
        for (key, value, range) in bounds {
            if !range.contains(&value) {
                let why = format!("{value} is not between {} and {}", range.start(), range.end());
                return Err(ConfigError::Refused { key, why });
            }
        }
        if self.data.dir.as_os_str().is_empty() {
            let why = "it must name a folder".to_owned();
            return Err(ConfigError::Refused { key: "data.dir", why });
        }
        Ok(())
    }

    fn check_plans(&self) -> Result<(), ConfigError> {
        let refused = |key, why: String| ConfigError::Refused { key, why };
        let catalogues = crate::plans::read(self.metering.plans_file())
            .map_err(|why| refused("metering.plans", why))?;
        let known = catalogues.get(&self.metering.catalogue);
        known.map_err(|why| refused("metering.catalogue", why.to_string()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("test.toml");
        std::fs::write(&path, text).expect("a file");
        let variables =
            variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let environment = Environment::with_prefix("CLOUDCHAMBER")
            .prefix_separator("_")
            .separator("__")
            .source(Some(variables));
        Config::build(Some(&path), environment, &Overrides::default())
    }

    #[test]
    fn the_defaults_are_complete() {
        let config = load("", &[]).expect("defaults");
        assert_eq!(config.udp.listen.port(), 5684);
        assert!(!config.provisioning.trust_on_first_use);
    }

    #[test]
    fn every_example_file_is_accepted() {
        for entry in
            std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).expect("config/")
        {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("text");
            if !path.ends_with("plans.toml") {
                load(&text, &[]).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            }
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config =
            load("[udp]\nlisten = \"127.0.0.1:1\"", &[("CLOUDCHAMBER_UDP__LISTEN", "127.0.0.1:2")])
                .expect("both layers");
        assert_eq!(config.udp.listen.port(), 2);
    }

    #[test]
    fn numbers_and_booleans_come_from_the_environment_too() {
        let variables =
            [("CLOUDCHAMBER_PUBLISH__REFILL_MS", "0"), ("CLOUDCHAMBER_HTTP__ALLOW_PLAIN", "true")];
        let config = load("", &variables).expect("parsed");
        assert_eq!(config.publish.refill_ms, 0);
        assert!(config.http.allow_plain);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let why = load("[udp]\nlisen = \"127.0.0.1:1\"", &[]).expect_err("unknown key").to_string();
        assert!(why.contains("lisen"), "{why}");
    }

    #[test]
    fn a_bad_value_is_refused_by_the_name_of_its_key() {
        let why = load("[udp]\nlisten = \"everywhere\"", &[]).expect_err("bad value").to_string();
        assert!(why.contains("udp.listen") || why.contains("listen"), "{why}");
    }

    #[test]
    fn plain_http_beyond_loopback_needs_an_explicit_word() {
        let text = "[http]\nlisten = \"0.0.0.0:8080\"";
        let why = load(text, &[]).expect_err("not loopback").to_string();
        assert!(why.contains("allow_plain"), "{why}");
        assert!(load(&format!("{text}\nallow_plain = true"), &[]).is_ok());
    }

    #[test]
    fn a_bad_network_is_refused_by_the_name_of_its_key() {
        let why =
            load("[limits]\nexempt = [\"everybody\"]", &[]).expect_err("no network").to_string();
        assert!(why.contains("limits.exempt"), "{why}");
    }

    #[test]
    fn an_unknown_catalogue_is_refused() {
        assert!(load("[metering]\ncatalogue = \"1999\"", &[]).is_err());
    }
}
