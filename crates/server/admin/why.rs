//! Why something was counted.

use model::{AccountId, DeviceId};
use serde::{Deserialize, Serialize};
use store::{Counted, CountedOperation, WhoseOperations};

use super::{Desk, Reply};

/// What was counted lately.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CountedList {
    /// Where the window begins, ISO 8601: of the time before only sums are known. Absent: nothing was
    /// written down yet.
    pub window_start: Option<String>,
    /// How many more there are in the window, older than those listed.
    pub left_out: u64,
    /// Newest first.
    pub operations: Vec<CountedLine>,
}

/// One thing that was counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CountedLine {
    /// When, ISO 8601.
    pub at: String,
    /// The device.
    pub device: String,
    /// Number of the counting rule.
    pub rule: u8,
    /// What it was.
    pub kind: String,
    /// Name of the event, function or variable.
    pub name: String,
    /// Which transmission to the device; absent for what a device sent.
    pub attempt: Option<u8>,
    /// Data Operations.
    pub operations: u32,
    /// Bytes of payload.
    pub bytes: u32,
}

impl Desk {
    pub(super) async fn why(
        &self,
        owner: Option<&str>,
        device: Option<&str>,
        limit: u32,
    ) -> Result<Reply, String> {
        let device = match device {
            Some(text) => Some(text.parse().map_err(|_| format!("{text:?} is no device id"))?),
            None => None,
        };
        let account = match owner {
            Some(owner) => self.account(owner).await?,
            None => self.payer(device).await?,
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let counted = self.store.counted(WhoseOperations { account, device }, limit).await;
        let Counted { since, operations, left_out } = counted.map_err(|why| why.to_string())?;
        Ok(Reply::Counted(CountedList {
            window_start: since.map(|at| at.to_string()),
            left_out,
            operations: operations.into_iter().rev().map(line).collect(),
        }))
    }

    /// Who pays for a device.
    async fn payer(&self, device: Option<DeviceId>) -> Result<AccountId, String> {
        let id = device.ok_or("whose? Give --owner or --device")?;
        let found = self.store.devices().registered(id).await.map_err(|why| why.to_string())?;
        let found = found.ok_or_else(|| format!("there is no device {id}"))?;
        found.row.account.ok_or_else(|| format!("nobody owns {id}: nothing of it is counted"))
    }
}

fn line(counted: CountedOperation) -> CountedLine {
    CountedLine {
        at: counted.at.to_string(),
        device: counted.device.to_string(),
        rule: counted.kind.rule(),
        kind: counted.kind.name().to_owned(),
        name: counted.name,
        attempt: counted.attempt,
        operations: counted.operations,
        bytes: counted.bytes,
    }
}
