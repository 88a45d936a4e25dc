//! What is kept: one data folder with a journal and the tables it is folded into.
//!
//! Everything a device was told is in the [`journal`] first: one append and one fdatasync for many
//! entries. A background thread folds the journal into SQLite tables, exactly once. Plain records
//! (accounts, tokens, devices, …) are written to the tables directly, through one trait for each
//! thing. SQL is nowhere else. Begin with [`Store`] and [`journal::Journal`].

pub mod journal;

mod accounts;
mod agreements;
mod assignments;
mod backup;
mod claims;
mod clients;
mod deliveries;
mod devices;
mod error;
mod files;
mod firmware;
mod fold;
mod inspect;
mod invitations;
mod ledger;
mod letters;
mod private;
mod products;
mod recovery;
mod releases;
mod second_factors;
mod settings;
mod spans;
mod sqlite;
mod store;
mod teams;
mod tokens;
mod updates;
mod usage_reports;
mod webhooks;

pub use accounts::{Account, Accounts};
pub use agreements::{
    Agreements, ClosedPeriod, Decided, NewNotice, OpenUsage, StoredAgreement, StoredNotice,
};
pub use assignments::{Assignment, AssignmentChange, Assignments, Group, GroupChange};
pub use backup::backup;
pub use claims::{CLAIM_CODE_CHARS, CLAIM_CODE_LIFE_MS, Claims, Redeemed};
pub use clients::{Client, Clients};
pub use deliveries::{Deliveries, Delivery, DeliverySearch};
pub use devices::{Device, DeviceKey, Devices, FormerKey, Imported, NewDevice, Vitals};
pub use error::{AppendError, OpenError, StoreError};
pub use files::{FileHash, Files, FilesConfig, S3Config};
pub use firmware::{Firmware, ProductFirmware, SystemModule};
pub use inspect::{Inspection, inspect};
pub use invitations::{Invitation, Invitations};
pub use journal::{Counted, CountedOperation, Journal, KeptBounds, WhoseOperations};
pub use ledger::{AccountHour, CarriedSum, DeviceHour, DeviceTraffic, Hour, Ledger, Sum};
pub use letters::{Letter, Letters};
pub use products::{Product, Products};
pub use recovery::{Missed, Recovery, Registered, Replay, StoredSession};
pub use releases::{Release, Releases};
pub use second_factors::SecondFactors;
pub use settings::Settings;
pub use spans::{Kept, Span};
pub use sqlite::{RollUp, Step};
pub use store::Store;
pub use teams::{Customer, Member, Teams, customer_name};
pub use tokens::{RefreshToken, Token, TokenHash, Tokens};
pub use updates::{StoredUpdate, Updates};
pub use usage_reports::{NewUsageReport, ReportBounds, UsageReport, UsageReports};
pub use webhooks::{Webhook, WebhookDay, Webhooks};
