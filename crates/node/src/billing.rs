//! Drives the keepers of all accounts: feeds them with the committed sums, makes what they decide
//! durable, and then tells the shards.

mod book;

use std::sync::Arc;
use std::time::{Duration, Instant};

use metering::{
    Agreement, Anchor, CatalogueError, Catalogues, Keeper, Pausing, Period, Plan, Rules, Terms,
    Usage,
};
use model::{AccountId, Bearer, Timestamp};
use router::{Input, Pause};
use store::{Store, StoreError};
use tokio::sync::{Mutex, MutexGuard};
use tracing::warn;

use crate::clock;
use crate::mail::{Mailbox, Notice};
use crate::metrics;
use book::Book;

/// How often the sums are looked at, if that takes little time.
const LOOK_EACH: Duration = Duration::from_secs(1);
/// So many times as long as a look takes, none is taken.
const REST_PER_LOOK: u32 = 20;
/// Looks between two counts of all devices.
const LOOKS_PER_COUNT: u32 = 10;

/// The limits of all accounts. One for the process.
pub struct Billing {
    store: Arc<Store>,
    catalogues: Catalogues,
    /// Name of the catalogue of accounts that agreed to none.
    default_catalogue: String,
    /// Its writer decides alone; nothing of the packet path waits for it.
    book: Mutex<Book>,
    /// One device is claimed or imported at a time, so that none slips past a limit.
    gate: Mutex<()>,
    /// Who is told.
    shards: Vec<Mailbox>,
}

/// What an account agrees to; what is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTerms {
    /// Name of a catalogue.
    pub catalogue: Option<String>,
    /// A plan.
    pub plan: Plan,
    /// When billing periods begin; a change takes effect when the open one ends.
    pub anchor: Option<Anchor>,
}

/// How an account stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its keeper.
    pub keeper: Keeper,
    /// What it used in the open period.
    pub usage: Usage,
}

/// Why billing cannot do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BillingError {
    /// No catalogue of this name.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// An account counts by a catalogue that is not there any more.
    #[error(
        "account {account}: {why}: put it back into the file that the setting metering.plans names"
    )]
    CatalogueGone {
        /// Whose.
        account: AccountId,
        /// What is missing.
        why: CatalogueError,
    },
    /// No account of this number.
    #[error("there is no account {0}")]
    NoAccount(AccountId),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More devices than the plan allows.
    #[error(
        "the plan of this account allows {max} devices and it has {held}: {more} more cannot be added. Another plan takes more"
    )]
    TooManyDevices {
        /// What the plan allows.
        max: u64,
        /// How many there are.
        held: u64,
        /// How many were to be added.
        more: u64,
    },
}

impl Billing {
    /// Reads what was decided before.
    ///
    /// # Errors
    /// The default catalogue or one that an account agreed to does not exist; the store cannot be
    /// read.
    pub async fn open(
        store: Arc<Store>,
        catalogues: Catalogues,
        default_catalogue: &str,
    ) -> Result<Self, BillingError> {
        catalogues.get(default_catalogue)?;
        let mut book = Book::default();
        for stored in store.agreements().all().await? {
            book.restore(&stored, &catalogues, default_catalogue)?;
        }
        let default_catalogue = default_catalogue.to_owned();
        let (book, gate) = (Mutex::new(book), Mutex::default());
        Ok(Self { store, catalogues, default_catalogue, book, gate, shards: Vec::new() })
    }

    /// The catalogues of this server.
    pub fn catalogues(&self) -> &Catalogues {
        &self.catalogues
    }

    /// Name of the catalogue of accounts that agreed to none.
    pub fn default_catalogue(&self) -> &str {
        &self.default_catalogue
    }

    /// What operations cost where an account's catalogue says nothing else.
    pub fn default_rules(&self) -> Rules {
        self.catalogues.get(&self.default_catalogue).map(|of| of.rules).unwrap_or_default()
    }

    /// Tells decisions to these shards from now on.
    pub(crate) fn told_to(self, shards: Vec<Mailbox>) -> Self {
        Self { shards, ..self }
    }

    /// Tells the shards everything that is in force.
    pub(crate) async fn tell_all(&self) {
        let book = self.book.lock().await;
        for (account, pause) in book.pauses() {
            self.tell_pause(account, Some(pause));
        }
        for (account, rules) in book.rules(self.default_rules()) {
            self.tell(|| Input::AccountRules { account, rules: Some(rules) });
        }
    }

    /// Looks at all accounts once a second, or less often when a look takes long. Never returns.
    pub async fn run(self: Arc<Self>) {
        for look in 0_u32.. {
            let begun = Instant::now();
            let counts = look % LOOKS_PER_COUNT == 0;
            if let Err(error) = self.look(clock::utc(), counts).await {
                warn!(%error, "limits are not looked at");
            }
            tokio::time::sleep((begun.elapsed() * REST_PER_LOOK).max(LOOK_EACH)).await;
        }
    }

    /// Looks at all accounts once; `count_devices` also counts their devices again.
    ///
    /// # Errors
    /// The store fails; what was not decided is decided by the next look.
    pub async fn look(&self, now: Timestamp, count_devices: bool) -> Result<(), BillingError> {
        let mut book = self.book.lock().await;
        for (account, created_at) in self.store.agreements().without().await? {
            self.begin(&mut book, account, created_at, now).await?;
        }
        if count_devices {
            book.count_devices(self.store.agreements().paid_devices().await?);
        }
        for usage in self.store.agreements().open_usages().await? {
            let usage = book.usage(&usage);
            if let Some((account, usage)) = usage {
                self.decide(&mut book, account, now, usage).await?;
            }
        }
        Ok(())
    }

    /// An account asks for a plan by itself: what gives less comes when a period ends.
    ///
    /// # Errors
    /// No such account, or the store fails; then nothing changed.
    pub async fn ask(
        &self,
        account: AccountId,
        plan: Plan,
        now: Timestamp,
    ) -> Result<Standing, BillingError> {
        let mut book = self.book.lock().await;
        let mut keeper = self.current(&mut book, account, now).await?;
        let terms = Terms { plan, ..keeper.terms().clone() };
        let usage = self.usage(account, keeper.period_under(now, &terms)).await?;
        let decisions = keeper.ask(now, plan, &usage);
        self.keep(&mut book, account, keeper, decisions).await?;
        self.standing_in(&mut book, account, now).await
    }

    /// An account agrees to other terms, at once.
    ///
    /// # Errors
    /// No such account or catalogue, or the store fails; then nothing changed.
    pub async fn agree(
        &self,
        account: AccountId,
        terms: &NewTerms,
        now: Timestamp,
    ) -> Result<Standing, BillingError> {
        let mut book = self.book.lock().await;
        let before = self.current(&mut book, account, now).await?;
        let old = before.terms();
        let catalogue = terms.catalogue.clone().or_else(|| old.agreement().catalogue);
        let anchor = terms.anchor.unwrap_or_else(|| anchor_for(&before, terms.plan));
        let agreement = Agreement { catalogue, plan: terms.plan, anchor };
        let new = agreement.terms(&self.catalogues, &self.default_catalogue)?;
        let usage = self.usage(account, before.period_under(now, &new)).await?;
        let mut after = before.clone();
        let decisions = after.change(now, new, &usage);
        self.keep(&mut book, account, after, decisions).await?;
        self.standing_in(&mut book, account, now).await
    }

    /// How an account stands.
    ///
    /// # Errors
    /// No such account, or the store fails.
    pub async fn standing(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Standing, BillingError> {
        let mut book = self.book.lock().await;
        self.standing_in(&mut book, account, now).await
    }

    /// How an account stands by what was decided before: no period is closed, also if it is over, and
    /// nothing is written. For who only looks, perhaps without the settings of the server.
    ///
    /// # Errors
    /// No such account, or the store fails.
    pub async fn last_standing(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Standing, BillingError> {
        let known = self.book.lock().await.keeper(account).cloned();
        let keeper = match known {
            Some(keeper) => keeper,
            None => self.first_keeper(self.created_at(account).await?, now)?,
        };
        let usage = self.usage(account, keeper.period()).await?;
        Ok(Standing { keeper, usage })
    }

    /// Leave to add so many devices to an account: hold it until they are stored. None are never too many,
    /// whatever the account has.
    ///
    /// # Errors
    /// Its plan does not allow so many; no such account; or the store fails.
    pub async fn devices_permit(
        &self,
        account: AccountId,
        more: u64,
        now: Timestamp,
    ) -> Result<DevicesPermit<'_>, BillingError> {
        let gate = self.gate.lock().await;
        let standing = self.last_standing(account, now).await?;
        let held = standing.usage.devices;
        match standing.keeper.terms().devices_max() {
            Some(max) if more > 0 && held.saturating_add(more) > max => {
                metrics::devices_refused(more);
                Err(BillingError::TooManyDevices { max, held, more })
            }
            Some(_) | None => Ok(DevicesPermit { _gate: gate }),
        }
    }

    async fn standing_in(
        &self,
        book: &mut Book,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Standing, BillingError> {
        let keeper = self.current(book, account, now).await?;
        let usage = self.usage(account, keeper.period()).await?;
        Ok(Standing { keeper, usage })
    }

    /// The keeper of an account with an open period.
    async fn current(
        &self,
        book: &mut Book,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Keeper, BillingError> {
        if book.keeper(account).is_none() {
            let created_at = self.created_at(account).await?;
            self.begin(book, account, created_at, now).await?;
        }
        self.close_over(book, account, now).await?;
        book.keeper(account).cloned().ok_or(BillingError::NoAccount(account))
    }

    async fn created_at(&self, account: AccountId) -> Result<Timestamp, BillingError> {
        let found = self.store.accounts().by_id(account).await?;
        Ok(found.ok_or(BillingError::NoAccount(account))?.created_at)
    }

    /// The first agreement of an account: unlimited.
    fn first_keeper(&self, created_at: Timestamp, now: Timestamp) -> Result<Keeper, BillingError> {
        let anchor = Anchor::of(created_at);
        let agreement = Agreement { catalogue: None, plan: Plan::Unlimited, anchor };
        Ok(Keeper::new(agreement.terms(&self.catalogues, &self.default_catalogue)?, now))
    }

    async fn begin(
        &self,
        book: &mut Book,
        account: AccountId,
        created_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), BillingError> {
        let keeper = self.first_keeper(created_at, now)?;
        self.keep(book, account, keeper, Vec::new()).await
    }

    async fn decide(
        &self,
        book: &mut Book,
        account: AccountId,
        now: Timestamp,
        usage: Usage,
    ) -> Result<(), BillingError> {
        let Some(before) = book.keeper(account) else { return Ok(()) };
        if before.is_over(now) {
            return self.close_over(book, account, now).await;
        }
        let mut after = before.clone();
        let decisions = after.handle(now, &usage);
        if decisions.is_empty() && after == *before {
            return Ok(());
        }
        self.keep(book, account, after, decisions).await
    }

    /// Closes the periods that are over, one after the other, each with everything that was
    /// acknowledged before.
    async fn close_over(
        &self,
        book: &mut Book,
        account: AccountId,
        now: Timestamp,
    ) -> Result<(), BillingError> {
        let is_over = |book: &Book| book.keeper(account).is_some_and(|keeper| keeper.is_over(now));
        if is_over(book) {
            self.store.settle().await?;
        }
        while is_over(book) {
            let Some(before) = book.keeper(account) else { break };
            let mut after = before.clone();
            let usage = self.usage(account, before.period()).await?;
            let decisions = after.handle(now, &usage);
            self.keep(book, account, after, decisions).await?;
        }
        Ok(())
    }

    /// Makes decisions durable, then lets them take effect.
    async fn keep(
        &self,
        book: &mut Book,
        account: AccountId,
        keeper: Keeper,
        decisions: Vec<metering::Decision>,
    ) -> Result<(), BillingError> {
        self.store.agreements().decide(&book::decided(account, &keeper, &decisions)).await?;
        let rules = keeper.terms().catalogue.rules;
        let told = book.keeper(account).map(|before| before.terms().catalogue.rules);
        book::notices(&decisions).for_each(|notice| metrics::notice(&notice.matter));
        for pause in book::pauses(&decisions) {
            self.tell_pause(account, pause);
        }
        if told.unwrap_or_else(|| self.default_rules()) != rules {
            self.tell(|| Input::AccountRules { account, rules: Some(rules) });
        }
        book.put(account, keeper);
        Ok(())
    }

    fn tell_pause(&self, account: AccountId, pause: Option<Pausing>) {
        let pause = pause.map(|pause| Pause {
            cellular_only: pause.is_cellular_only(),
            why: pause.why().into(),
        });
        self.tell(|| Input::AccountPaused { account, pause: pause.clone() });
    }

    fn tell(&self, input: impl Fn() -> Input) {
        self.shards.iter().for_each(|shard| shard.notify(Notice::Input(input())));
    }

    async fn usage(&self, account: AccountId, period: Period) -> Result<Usage, BillingError> {
        let (from, to) = (store::Hour::of(period.start), store::Hour::of(period.end));
        let operations = self.store.ledger().total(account, from, to).await?.operations;
        let devices = self.store.agreements().paid_devices_of(account).await?;
        let carried = self.store.ledger().carried(account, from, to).await?;
        let bytes = |wanted| {
            carried.iter().find(|(bearer, _)| *bearer == wanted).map_or(0, |(_, sum)| sum.total())
        };
        let (cellular_bytes, tracker_bytes) = (bytes(Bearer::Cellular), bytes(Bearer::Tracker));
        Ok(Usage { operations, cellular_bytes, tracker_bytes, devices })
    }
}

/// Leave to add devices to an account; while it exists nobody else gets one.
#[derive(Debug)]
pub struct DevicesPermit<'a> {
    _gate: MutexGuard<'a, ()>,
}

/// A contract's year begins with the billing period that is open when it is agreed on.
fn anchor_for(before: &Keeper, plan: Plan) -> Anchor {
    let anchor = before.terms().anchor;
    let is_new_year = plan.cycle() != before.terms().plan.cycle() && plan.name() == "enterprise";
    if !is_new_year {
        return anchor;
    }
    let month = Anchor::of(before.period().start).month();
    Anchor::new(month, anchor.day()).unwrap_or(anchor)
}

impl std::fmt::Debug for Billing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Billing").finish_non_exhaustive()
    }
}
