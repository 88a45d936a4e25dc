//! The keepers in memory, and how they lie in the store.

use std::collections::BTreeMap;

use metering::{
    Agreement, Catalogues, Decision, Keeper, KeeperState, Pausing, Period, Rules, Usage,
};
use model::AccountId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{ClosedPeriod, Decided, Hour, NewNotice, OpenUsage, StoreError, StoredAgreement};

use super::BillingError;

/// All keepers, and how many devices their accounts had when they were counted last.
#[derive(Debug, Default)]
pub(super) struct Book {
    keepers: BTreeMap<AccountId, Keeper>,
    devices: BTreeMap<AccountId, u64>,
}

impl Book {
    /// Takes a keeper up as it was stored.
    pub(super) fn restore(
        &mut self,
        stored: &StoredAgreement,
        catalogues: &Catalogues,
        default_catalogue: &str,
    ) -> Result<(), BillingError> {
        let account = stored.account;
        let agreement: Agreement = parse(&stored.agreement, "agreement")?;
        let state: KeeperState = parse(&stored.keeper, "keeper")?;
        let terms = agreement.terms(catalogues, default_catalogue);
        let terms = terms.map_err(|why| BillingError::CatalogueGone { account, why })?;
        self.keepers.insert(account, Keeper::restore(terms, state));
        Ok(())
    }

    pub(super) fn keeper(&self, account: AccountId) -> Option<&Keeper> {
        self.keepers.get(&account)
    }

    pub(super) fn put(&mut self, account: AccountId, keeper: Keeper) {
        self.keepers.insert(account, keeper);
    }

    pub(super) fn pauses(&self) -> Vec<(AccountId, Pausing)> {
        let paused = |(account, keeper): (&AccountId, &Keeper)| Some((*account, keeper.pause()?));
        self.keepers.iter().filter_map(paused).collect()
    }

    /// Rules that are not `default`.
    pub(super) fn rules(&self, default: Rules) -> Vec<(AccountId, Rules)> {
        let rules = |(account, keeper): (&AccountId, &Keeper)| {
            let rules = keeper.terms().catalogue.rules;
            (rules != default).then_some((*account, rules))
        };
        self.keepers.iter().filter_map(rules).collect()
    }

    pub(super) fn count_devices(&mut self, counts: Vec<(AccountId, u64)>) {
        self.devices = counts.into_iter().collect();
    }

    /// What an account used, if it has a keeper.
    pub(super) fn usage(&self, counted: &OpenUsage) -> Option<(AccountId, Usage)> {
        let OpenUsage { account, operations, cellular_bytes, tracker_bytes } = *counted;
        self.keepers.get(&account)?;
        let devices = self.devices.get(&account).copied().unwrap_or(0);
        Some((account, Usage { operations, cellular_bytes, tracker_bytes, devices }))
    }
}

/// What a keeper's decisions change in the store.
pub(super) fn decided(account: AccountId, keeper: &Keeper, decisions: &[Decision]) -> Decided {
    let mut closed = None;
    let mut notices = Vec::new();
    for decision in decisions {
        match decision {
            Decision::Notify(notice) => {
                notices.push(NewNotice { at: notice.at, body: json(notice) });
            }
            Decision::Pause(_) => {}
            Decision::Close { period, usage, .. } => {
                let (opened, closed_at) = hours(*period);
                closed = Some(ClosedPeriod { opened, closed: closed_at, body: json(usage) });
            }
        }
    }
    let (opened, closes) = hours(keeper.period());
    let agreement = StoredAgreement {
        account,
        agreement: json(&keeper.terms().agreement()),
        keeper: json(keeper.state()),
        opened,
        closes,
    };
    Decided { agreement, closed, notices }
}

/// What accounts are told.
pub(super) fn notices(decisions: &[Decision]) -> impl Iterator<Item = &metering::Notice> {
    decisions.iter().filter_map(|decision| match decision {
        Decision::Notify(notice) => Some(notice),
        Decision::Close { .. } | Decision::Pause(_) => None,
    })
}

/// The pauses that begin or end with decisions.
pub(super) fn pauses(decisions: &[Decision]) -> impl Iterator<Item = Option<Pausing>> {
    decisions.iter().filter_map(|decision| match decision {
        Decision::Pause(pause) => Some(*pause),
        Decision::Close { .. } | Decision::Notify(_) => None,
    })
}

fn hours(period: Period) -> (Hour, Hour) {
    (Hour::of(period.start), Hour::of(period.end))
}

/// These types have text keys and plain values: they can always be written.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn parse<T: DeserializeOwned>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Damaged(what))
}
