//! Reports of usage that somebody asked for. What is in them is read from the ledger when they are fetched.

use async_trait::async_trait;
use model::{AccountId, Timestamp};

use crate::StoreError;

/// A report to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUsageReport {
    /// Whose.
    pub account: AccountId,
    /// What is asked for; a text of its owner (JSON).
    pub request: String,
    /// Who knows it may fetch the report.
    pub secret: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// From when on nobody may.
    pub expires_at: Timestamp,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// Its number, never used again.
    pub id: u64,
    /// What was asked for.
    pub report: NewUsageReport,
    /// Since when it can be fetched.
    pub available_at: Option<Timestamp>,
}

/// How many reports an account may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBounds {
    /// Those that are not available yet and not older than `waits_since`.
    pub waiting: u32,
    /// See `waiting`.
    pub waits_since: Timestamp,
    /// All; the oldest one goes for a new one.
    pub kept: u32,
}

/// The reports.
#[async_trait]
pub trait UsageReports: Send + Sync {
    /// Keeps a report, if the account has no more than it may; gives its number. Expired ones of all accounts go.
    async fn begin_report(
        &self,
        report: &NewUsageReport,
        bounds: ReportBounds,
    ) -> Result<Option<u64>, StoreError>;
    /// A report of an account that has not expired.
    async fn report(
        &self,
        account: AccountId,
        id: u64,
        now: Timestamp,
    ) -> Result<Option<UsageReport>, StoreError>;
    /// The report with this secret that is available and has not expired.
    async fn report_to_fetch(
        &self,
        secret: &str,
        now: Timestamp,
    ) -> Result<Option<UsageReport>, StoreError>;
    /// A report can be fetched from now on.
    async fn report_available(&self, id: u64, now: Timestamp) -> Result<(), StoreError>;
}
