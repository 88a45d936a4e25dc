//! Notices and letters by e-mail: to an SMTP server, or as files.
//!
//! A notice is due once it is durable, and done once it was handed over; a crash in between sends it
//! again with the same Message-ID. Nothing waits for mail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use metering::Notice;
use node::Handle;
use store::{Letter, Store, StoreError, StoredNotice};
use tokio::task::JoinHandle;

use crate::admin::utc_now;
use crate::config::{ConfigError, MailConfig};

/// Name of the folder in the data folder.
pub(crate) const FOLDER: &str = "mail";
/// Name of the stored secret that makes Message-IDs of this server unlike those of others.
const SERVER_ID: &str = "mail.server_id";
/// How often the store is asked for notices that are due.
const LOOK_EACH: Duration = Duration::from_secs(1);
/// Notices looked at together; more wait for their turn.
const NOTICES_MAX: u32 = 256;
/// Pause after the first failure of a mail, doubled with each further one.
const RETRY_MIN: Duration = Duration::from_secs(2);
/// The longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Pause after a letter failed.
const LETTERS_PAUSE: Duration = Duration::from_secs(30);
/// How long a letter is tried.
const LETTER_MS_MAX: i64 = 3_600_000;
/// Patience with the SMTP server.
const SMTP_TIMEOUT: Duration = Duration::from_secs(30);

/// Mails notices until dropped.
#[derive(Debug)]
pub struct Mailer {
    task: JoinHandle<()>,
}

/// Where mails go.
#[derive(Debug)]
enum Transport {
    Folder(PathBuf),
    Smtp(Box<AsyncSmtpTransport<Tokio1Executor>>),
}

struct Post {
    store: Arc<Store>,
    transport: Transport,
    from: Mailbox,
    server_id: String,
    /// Those that failed: when to try again, and the pause after that.
    failed: BTreeMap<u64, (Instant, Duration)>,
    /// A letter failed: none is tried before this.
    letters_rest_until: Option<Instant>,
}

/// Whether the settings make sense.
pub fn check(config: &MailConfig) -> Result<(), ConfigError> {
    let refused = |key, why: String| ConfigError::Refused { key, why };
    sender(config).map_err(|why| refused("mail.from", why))?;
    smtp(config).map_err(|why| refused("mail.smtp", why))?;
    Ok(())
}

impl Mailer {
    /// Begins with what is due.
    pub async fn start(
        config: &MailConfig,
        data: &Path,
        store: Arc<Store>,
        handle: &Handle,
    ) -> Result<Self, String> {
        let transport = match smtp(config)? {
            Some(smtp) => Transport::Smtp(Box::new(smtp)),
            None => Transport::Folder(data.join(FOLDER)),
        };
        let fresh = hex::encode(rand::random::<[u8; 8]>());
        let stored = store.settings().get_or_set(SERVER_ID, fresh.as_bytes()).await;
        let server_id = stored.map_err(|why| why.to_string())?;
        let server_id = String::from_utf8(server_id).unwrap_or(fresh);
        let (from, failed) = (sender(config)?, BTreeMap::new());
        let letters_rest_until = None;
        let post = Post { store, transport, from, server_id, failed, letters_rest_until };
        Ok(Self { task: handle.spawn("mail", post.run()) })
    }
}

impl Drop for Mailer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn sender(config: &MailConfig) -> Result<Mailbox, String> {
    config.from.parse().map_err(|why| format!("{:?} is no sender: {why}", config.from))
}

fn smtp(config: &MailConfig) -> Result<Option<AsyncSmtpTransport<Tokio1Executor>>, String> {
    if config.smtp.is_empty() {
        return Ok(None);
    }
    // The URL may hold a password: it is not repeated.
    let built = AsyncSmtpTransport::<Tokio1Executor>::from_url(&config.smtp);
    let built = built.map_err(|why| {
        format!("it must be a URL such as smtp://user:password@host:587?tls=required: {why}")
    })?;
    Ok(Some(built.timeout(Some(SMTP_TIMEOUT)).build()))
}

impl Post {
    async fn run(mut self) {
        loop {
            if let Err(why) = self.send_due().await {
                tracing::warn!(%why, "notices are not mailed");
            }
            if let Err(why) = self.send_letters().await {
                tracing::warn!(%why, "letters are not mailed");
            }
            tokio::time::sleep(LOOK_EACH).await;
        }
    }

    async fn send_due(&mut self) -> Result<(), StoreError> {
        for notice in self.store.agreements().notices_to_mail(NOTICES_MAX).await? {
            let waits = self.failed.get(&notice.id).is_some_and(|(at, _)| *at > Instant::now());
            if !waits {
                self.send(&notice).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, notice: &StoredNotice) -> Result<(), StoreError> {
        let message = match self.message(notice).await? {
            Ok(message) => message,
            Err(why) => {
                tracing::warn!(notice = notice.id, account = %notice.account, why, "a notice is not mailed");
                return self.done(notice).await;
            }
        };
        match self.transport.hand_over(&format!("notice-{}", notice.id), &message).await {
            Ok(()) => {
                tracing::info!(notice = notice.id, account = %notice.account, "notice mailed");
                self.done(notice).await
            }
            Err(why) => {
                self.put_off(notice, &why);
                Ok(())
            }
        }
    }

    /// Letters are worth little when they are late: one that was not taken for an hour is given up.
    async fn send_letters(&mut self) -> Result<(), StoreError> {
        if self.letters_rest_until.is_some_and(|until| until > Instant::now()) {
            return Ok(());
        }
        for letter in self.store.letters().letters(NOTICES_MAX).await? {
            let age_ms = utc_now().0.saturating_sub(letter.at.0);
            let sent = match self.letter(&letter) {
                Ok(message) => {
                    let name = format!("letter-{}", letter.id);
                    let handed = self.transport.hand_over(&name, &message).await;
                    handed.map_err(|why| (why, age_ms > LETTER_MS_MAX))
                }
                Err(why) => Err((why, true)),
            };
            match sent {
                Ok(()) => self.store.letters().letter_done(letter.id).await?,
                Err((why, is_given_up)) => {
                    tracing::warn!(letter = letter.id, why, is_given_up, "a mail was not taken");
                    if is_given_up {
                        self.store.letters().letter_done(letter.id).await?;
                    }
                    self.letters_rest_until = Some(Instant::now() + LETTERS_PAUSE);
                }
            }
        }
        Ok(())
    }

    fn letter(&self, letter: &Letter) -> Result<Message, String> {
        let to = letter.address.parse().map_err(|why| format!("no usable address: {why}"))?;
        let id = format!("<letter-{}.{}@{}>", letter.id, self.server_id, self.from.email.domain());
        let at = u64::try_from(letter.at.0).unwrap_or(0);
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&letter.subject)
            .message_id(Some(id))
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(at))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.body.clone())
            .map_err(|why| why.to_string())
    }

    async fn done(&mut self, notice: &StoredNotice) -> Result<(), StoreError> {
        self.failed.remove(&notice.id);
        self.store.agreements().notice_mailed(notice.id, utc_now()).await
    }

    fn put_off(&mut self, notice: &StoredNotice, why: &str) {
        let pause = self.failed.get(&notice.id).map_or(RETRY_MIN, |(_, pause)| *pause);
        tracing::warn!(notice = notice.id, why, again_in = ?pause, "a mail was not taken");
        let next = (pause * 2).min(RETRY_MAX);
        self.failed.insert(notice.id, (Instant::now() + pause, next));
    }

    /// The mail, or why there is none: its account is gone or has no usable address.
    async fn message(&self, stored: &StoredNotice) -> Result<Result<Message, String>, StoreError> {
        let account = self.store.accounts().by_id(stored.account).await?;
        let Some(account) = account else { return Ok(Err("the account is gone".to_owned())) };
        Ok(self.compose(stored, &account.email))
    }

    fn compose(&self, stored: &StoredNotice, address: &str) -> Result<Message, String> {
        let notice: Notice = serde_json::from_str(&stored.body).map_err(|why| why.to_string())?;
        let to = address.parse().map_err(|why| format!("no usable address: {why}"))?;
        let domain = self.from.email.domain();
        let id = format!("<notice-{}.{}@{domain}>", stored.id, self.server_id);
        let at = u64::try_from(stored.at.0).unwrap_or(0);
        let text = format!("{}\r\n\r\nAccount: {address}\r\n", notice.text());
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(notice.subject())
            .message_id(Some(id))
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(at))
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|why| why.to_string())
    }
}

impl Transport {
    async fn hand_over(&self, name: &str, message: &Message) -> Result<(), String> {
        match self {
            Self::Folder(folder) => {
                write(folder, name, &message.formatted()).await.map_err(|why| why.to_string())
            }
            Self::Smtp(smtp) => {
                let sent = smtp.send(message.clone()).await;
                sent.map(drop).map_err(|why| chain(&why))
            }
        }
    }
}

/// Writes a mail as a file of its own, whole or not at all.
async fn write(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    tokio::fs::create_dir_all(folder).await?;
    let (begun, done) = (folder.join(format!(".{name}")), folder.join(format!("{name}.eml")));
    tokio::fs::write(&begun, bytes).await?;
    tokio::fs::File::open(&begun).await?.sync_all().await?;
    tokio::fs::rename(&begun, &done).await
}

/// An error with what caused it.
fn chain(why: &dyn std::error::Error) -> String {
    let mut text = why.to_string();
    let mut cause = why.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
