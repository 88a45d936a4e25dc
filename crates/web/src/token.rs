//! Making access tokens.

use model::{AccountId, Timestamp};
use rand::Rng;
use store::{RefreshToken, Store, StoreError, Token, TokenHash};
use zeroize::Zeroizing;

/// How long a token lives if the caller does not say: 90 days.
pub(crate) const LIFE_S_DEFAULT: u64 = 7_776_000;
/// How long a refresh token lives beyond its access token: 90 days.
const REFRESH_EXTRA_S: u64 = 7_776_000;
/// Characters of a token shown in lists.
const PREFIX_CHARS: usize = 8;

/// How long a token shall live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLife {
    /// For ever.
    Endless,
    /// This many seconds.
    Seconds(u64),
}

impl TokenLife {
    /// When a token of this life made at `now` ends; absent: never.
    fn end(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Endless => None,
            Self::Seconds(seconds) => Some(later(now, seconds)),
        }
    }

    /// `expires_in` as clients read it: 0 is for ever.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Endless => 0,
            Self::Seconds(seconds) => seconds,
        }
    }
}

/// For whom a token is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// Whose token.
    pub account: AccountId,
    /// The OAuth client that asks.
    pub client: String,
    /// What it shall be good for; empty: everything.
    pub scopes: Vec<String>,
    /// How long it shall live.
    pub life: TokenLife,
}

/// Makes and stores an access token and its refresh token; gives both as their holder writes them,
/// 40 hex digits each.
pub async fn issue(
    store: &Store,
    request: TokenRequest,
    now: Timestamp,
) -> Result<(String, String), StoreError> {
    let made = Made::of(request, now);
    store.tokens().insert(&made.token, Some(&made.refresh_token)).await?;
    Ok(made.texts)
}

/// The same in the place of a refresh token, which is used by that; none if it was already.
pub(crate) async fn exchange(
    store: &Store,
    used: TokenHash,
    request: TokenRequest,
    now: Timestamp,
) -> Result<Option<(String, String)>, StoreError> {
    let made = Made::of(request, now);
    let done = store.tokens().exchange(used, now, &made.token, &made.refresh_token).await?;
    Ok(done.then_some(made.texts))
}

/// New tokens that are not stored yet.
struct Made {
    token: Token,
    refresh_token: RefreshToken,
    /// Both as their holder writes them.
    texts: (String, String),
}

impl Made {
    fn of(request: TokenRequest, now: Timestamp) -> Self {
        let (access, refresh) = (random_token(), random_token());
        let expires_at = request.life.end(now);
        let token = Token {
            hash: TokenHash::of(&access),
            prefix: access.chars().take(PREFIX_CHARS).collect(),
            account: request.account,
            client: request.client.clone(),
            scopes: request.scopes.clone(),
            created_at: now,
            expires_at,
        };
        let refresh_token = RefreshToken {
            hash: TokenHash::of(&refresh),
            access: token.hash,
            account: request.account,
            client: request.client,
            scopes: request.scopes,
            expires_at: expires_at.map(|end| later(end, REFRESH_EXTRA_S)),
        };
        Self { token, refresh_token, texts: (access, refresh) }
    }
}

fn later(from: Timestamp, seconds: u64) -> Timestamp {
    from.after(std::time::Duration::from_secs(seconds.min(u64::from(u32::MAX))))
}

/// 40 hex digits that nobody can guess.
pub(crate) fn random_token() -> String {
    let mut bytes = Zeroizing::new([0; 20]);
    rand::rng().fill_bytes(&mut *bytes);
    hex::encode(*bytes)
}
