//! How ids and other values of ours lie in columns.

use model::journal::OperationKind;
use model::{AccountId, Bearer, DeviceId, KeyHash, ProductId, Timestamp};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::failed;
use crate::StoreError;

/// Numbers are never above `i64::MAX`: they count from 1.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The columns of a row, by position.
pub(super) struct Columns<'r>(pub(super) &'r SqliteRow);

impl Columns<'_> {
    pub(super) fn number(&self, at: usize) -> Result<i64, StoreError> {
        self.0.try_get(at).map_err(failed)
    }

    pub(super) fn count(&self, at: usize) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.number(at)?).unwrap_or(0))
    }

    pub(super) fn optional(&self, at: usize) -> Result<Option<i64>, StoreError> {
        self.0.try_get(at).map_err(failed)
    }

    /// A number of at most 16 bits.
    pub(super) fn small(&self, at: usize) -> Result<u16, StoreError> {
        u16::try_from(self.number(at)?).map_err(|_| StoreError::Damaged("small number"))
    }

    pub(super) fn text(&self, at: usize) -> Result<String, StoreError> {
        self.0.try_get(at).map_err(failed)
    }

    pub(super) fn optional_text(&self, at: usize) -> Result<Option<String>, StoreError> {
        self.0.try_get(at).map_err(failed)
    }

    pub(super) fn bytes(&self, at: usize) -> Result<&[u8], StoreError> {
        self.0.try_get(at).map_err(failed)
    }

    pub(super) fn optional_bytes(&self, at: usize) -> Result<Option<&[u8]>, StoreError> {
        self.0.try_get(at).map_err(failed)
    }

    pub(super) fn time(&self, at: usize) -> Result<Timestamp, StoreError> {
        Ok(Timestamp(self.number(at)?))
    }

    pub(super) fn optional_time(&self, at: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.optional(at)?.map(Timestamp))
    }

    pub(super) fn account(&self, at: usize) -> Result<AccountId, StoreError> {
        Ok(AccountId(self.count(at)?))
    }

    pub(super) fn optional_account(&self, at: usize) -> Result<Option<AccountId>, StoreError> {
        Ok(self.optional(at)?.and_then(|id| u64::try_from(id).ok()).map(AccountId))
    }

    pub(super) fn product(&self, at: usize) -> Result<Option<ProductId>, StoreError> {
        let id = self.optional(at)?.filter(|id| *id != 0);
        Ok(id.and_then(|id| u32::try_from(id).ok()).map(ProductId))
    }

    pub(super) fn device(&self, at: usize) -> Result<DeviceId, StoreError> {
        DeviceId::try_from(self.bytes(at)?).map_err(|_| StoreError::Damaged("device id"))
    }

    pub(super) fn hash(&self, at: usize) -> Result<[u8; 32], StoreError> {
        self.bytes(at)?.try_into().map_err(|_| StoreError::Damaged("hash"))
    }

    pub(super) fn key_hash(&self, at: usize) -> Result<Option<KeyHash>, StoreError> {
        let Some(bytes) = self.optional_bytes(at)? else { return Ok(None) };
        let hash = bytes.try_into().map_err(|_| StoreError::Damaged("key hash"))?;
        Ok(Some(KeyHash(hash)))
    }

    pub(super) fn bearer(&self, at: usize) -> Result<Bearer, StoreError> {
        bearer_of_number(self.number(at)?).ok_or(StoreError::Damaged("bearer"))
    }

    pub(super) fn kind(&self, at: usize) -> Result<OperationKind, StoreError> {
        kind_of_number(self.number(at)?).ok_or(StoreError::Damaged("kind"))
    }
}

/// The number of a bearer in the ledger.
pub(super) fn number_of_bearer(bearer: Bearer) -> i64 {
    match bearer {
        Bearer::Cellular => 1,
        Bearer::Tracker => 2,
        Bearer::Wifi => 3,
    }
}

fn bearer_of_number(number: i64) -> Option<Bearer> {
    Some(match number {
        1 => Bearer::Cellular,
        2 => Bearer::Tracker,
        3 => Bearer::Wifi,
        _ => return None,
    })
}

/// The number of a kind in the ledger.
pub(super) fn number_of_kind(kind: OperationKind) -> i64 {
    match kind {
        OperationKind::Delivery => 1,
        OperationKind::FunctionCall => 2,
        OperationKind::Ping => 3,
        OperationKind::Publish => 4,
        OperationKind::StoredPoint => 5,
        OperationKind::VariableRequest => 6,
        OperationKind::PublishCopy => 7,
        OperationKind::WebhookAnswer => 8,
    }
}

fn kind_of_number(number: i64) -> Option<OperationKind> {
    Some(match number {
        1 => OperationKind::Delivery,
        2 => OperationKind::FunctionCall,
        3 => OperationKind::Ping,
        4 => OperationKind::Publish,
        5 => OperationKind::StoredPoint,
        6 => OperationKind::VariableRequest,
        7 => OperationKind::PublishCopy,
        8 => OperationKind::WebhookAnswer,
        _ => return None,
    })
}

/// How a name or address is compared: without regard to the case of its letters.
pub(super) fn folded_case(text: &str) -> String {
    text.to_lowercase()
}
