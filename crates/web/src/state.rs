//! What every request handler shares.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use model::{AccountId, Timestamp};
use node::{Handle, Updates};
use secure::keys::PublicKey;
use store::{Account, Store, StoreError};

use crate::console::Fleets;
use crate::limits::{Limits, LimitsConfig};
use crate::mfa::{self, Challenges};
use crate::password::{PASSWORD_BYTES_MAX, Passwords};
use crate::webhooks::{Webhooks, WebhooksConfig};

/// Renders the metrics in the text format of Prometheus.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the operator may set of the HTTP side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebConfig {
    /// How often callers may ask.
    pub limits: LimitsConfig,
    /// Who may create an account.
    pub registration: Registration,
    /// What webhooks may do.
    pub webhooks: WebhooksConfig,
    /// What devices have to know of this server; absent: the console offers no images of its keys.
    pub server_keys: Option<ServerKeys>,
}

/// The public keys of the server, as devices take them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerKeys {
    /// For DTLS, P-256.
    pub udp: ServerKey,
    /// For TCP, RSA-2048.
    pub tcp: ServerKey,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerKey {
    /// The key.
    pub public: PublicKey,
    /// The port that devices which use it connect to.
    pub port: u16,
    /// Where a device keeps it: the address for `dfu-util -a 1 -s …`.
    pub dfu_address: u32,
}

/// Who may create an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Registration {
    /// The operator alone.
    #[default]
    Closed,
    /// Whoever was invited by the operator.
    Invitation,
    /// Anybody.
    Open,
}

/// Shared by all requests; cheap to clone.
#[derive(Clone)]
pub struct State {
    /// What is kept.
    pub store: Arc<Store>,
    /// Live devices and events.
    pub handle: Handle,
    /// Updates and releases.
    pub updates: Updates,
    /// Password hashing, bounded.
    pub passwords: Passwords,
    /// The text behind `/metrics`.
    pub render_metrics: RenderMetrics,
    /// How often callers may ask.
    pub(crate) limits: Limits,
    /// Who may create an account.
    pub(crate) registration: Registration,
    /// What waits for a one-time password.
    pub(crate) challenges: Challenges,
    /// Webhooks at work.
    pub(crate) webhooks: Webhooks,
    /// Whether this server itself speaks TLS.
    pub(crate) is_tls: bool,
    /// Fleets whose list is open in a console.
    pub(crate) fleets: Fleets,
    /// What devices have to know of this server.
    pub(crate) server_keys: Option<Arc<ServerKeys>>,
}

impl State {
    /// State over an open store and a running node. Webhooks are at work from now on; it must be
    /// called inside a runtime.
    pub fn new(
        store: Arc<Store>,
        handle: Handle,
        updates: Updates,
        render_metrics: RenderMetrics,
        config: WebConfig,
    ) -> Self {
        let webhooks = Webhooks::start(Arc::clone(&store), handle.clone(), config.webhooks);
        let limits = Limits::new(config.limits);
        Self {
            store,
            handle,
            updates,
            passwords: Passwords::default(),
            render_metrics,
            limits,
            registration: config.registration,
            challenges: Challenges::default(),
            webhooks,
            is_tls: false,
            fleets: Fleets::default(),
            server_keys: config.server_keys.map(Arc::new),
        }
    }
}

impl State {
    /// The account of this address, if the password is its own. Accounts that stand for products'
    /// customers have no address: they sign in through a client of their product alone, by
    /// [`Self::account_named`].
    pub(crate) async fn account_of(
        &self,
        email: &str,
        password: String,
    ) -> Result<Option<Account>, StoreError> {
        let found = self.account_named(email, password).await?;
        Ok(found.filter(|account| !account.email.contains('/')))
    }

    /// The account of this name, if the password is its own. Says no in the same time whether or not
    /// there is such an account.
    pub(crate) async fn account_named(
        &self,
        email: &str,
        password: String,
    ) -> Result<Option<Account>, StoreError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(None);
        }
        let account = self.store.accounts().by_email(email).await?;
        let stored = account.as_ref().map(|account| account.password_hash.clone());
        let is_right = self.passwords.verify(password, stored).await;
        if !is_right {
            tracing::info!("a sign-in was refused");
        }
        Ok(account.filter(|_| is_right))
    }

    /// Whether this one-time password is right and was not used before.
    pub(crate) async fn takes_one_time_password(
        &self,
        account: AccountId,
        password: &str,
    ) -> Result<bool, StoreError> {
        let factors = self.store.second_factors();
        let Some(secret) = factors.secret(account).await? else { return Ok(false) };
        match mfa::step_of(&secret, password, utc_now()) {
            Some(step) => factors.use_step(account, step).await,
            None => Ok(false),
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// The time of day.
pub(crate) fn utc_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
