//! Invitations at the operator's desk.

use model::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Invitation, StoreError};

use super::{Desk, Reply, utc_now};

/// Longest life of an invitation, in days.
const DAYS_MAX: u32 = 365;
const DAY_MS: i64 = 86_400_000;

/// An open invitation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InvitationLine {
    /// The address.
    pub email: String,
    /// Since when, ISO 8601.
    pub made_at: String,
    /// Until when.
    pub expires_at: String,
}

impl Desk {
    pub(super) async fn invite(&self, email: &str, days: u32) -> Result<Reply, String> {
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(format!("an invitation is good for 1 to {DAYS_MAX} days"));
        }
        let now = utc_now();
        let ends = Timestamp(now.0 + i64::from(days) * DAY_MS);
        let code = web::invite(&self.store, email, ends, now).await;
        let code = code.map_err(|why| why.to_string())?;
        Ok(Reply::Invited { email: email.trim().to_owned(), code, expires_at: ends.to_string() })
    }

    pub(super) async fn list_invitations(&self) -> Result<Reply, String> {
        let open = self.store.invitations().invitations(utc_now()).await;
        let lines = open.map_err(|why| why.to_string())?.iter().map(line).collect();
        Ok(Reply::Invitations(lines))
    }

    pub(super) async fn withdraw(&self, email: &str) -> Result<Reply, String> {
        match self.store.invitations().withdraw(email.trim()).await {
            Ok(()) => Ok(Reply::Withdrawn { email: email.trim().to_owned() }),
            Err(StoreError::NotFound) => Err(format!(
                "{email} has no invitation: `cloudchamber user invitations` lists those that are open"
            )),
            Err(why) => Err(why.to_string()),
        }
    }
}

fn line(invitation: &Invitation) -> InvitationLine {
    InvitationLine {
        email: invitation.email.clone(),
        made_at: invitation.made_at.to_string(),
        expires_at: invitation.expires_at.to_string(),
    }
}
