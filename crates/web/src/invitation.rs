//! Inviting people to create an account.

use model::Timestamp;
use store::{Invitation, Store, StoreError, TokenHash};

use crate::api::users::check_email;
use crate::token::random_token;

/// Why nobody was invited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// The address is none.
    #[error("{0:?} is no e-mail address")]
    NoAddress(String),
    /// There is nothing to be invited to.
    #[error("{0} has an account already")]
    HasAccount(String),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

/// Invites an address until `ends` (UTC) and mails it the code, which is given back, too: 40 hex digits,
/// good once, for this address. An older invitation of the address ends.
pub async fn invite(
    store: &Store,
    email: &str,
    ends: Timestamp,
    now: Timestamp,
) -> Result<String, InviteError> {
    let email = email.trim();
    check_email(email).map_err(|_| InviteError::NoAddress(email.to_owned()))?;
    let code = random_token();
    let invitation = Invitation { email: email.to_owned(), made_at: now, expires_at: ends };
    let kept = store.invitations().invite(&invitation, TokenHash::of(&code)).await;
    kept.map_err(|why| match why {
        StoreError::Taken => InviteError::HasAccount(email.to_owned()),
        other => InviteError::Store(other),
    })?;
    let text = letter(&code, &invitation);
    let written =
        store.letters().write_letter(email, "An invitation to Cloud Chamber", &text, now).await;
    written.map_err(InviteError::Store)?;
    Ok(code)
}

fn letter(code: &str, invitation: &Invitation) -> String {
    format!(
        "You may create an account of a Cloud Chamber server for the address {}.\r\n\r\n\
         The code, good once and until {}:\r\n\r\n    {code}\r\n\r\n\
         It goes to POST /v1/users of that server as invitation, with the address as username and\r\n\
         a password of your choice.\r\n\
         If you do not know what this is about, there is nothing to do.\r\n",
        invitation.email, invitation.expires_at
    )
}
