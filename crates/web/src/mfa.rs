//! One-time passwords (RFC 6238), and the sign-ins and enrolments that wait for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{AccountId, Timestamp};
use rand::Rng;
use totp_rs::{Builder, Secret, Totp};

use crate::token::{TokenRequest, random_token};

/// How long a sign-in or an enrolment may wait for its password.
const WAIT_MS: i64 = 10 * 60 * 1000;
/// Wrong passwords after which one is void.
const TRIES_MAX: u8 = 5;
/// How many may wait at once; a further one makes the oldest void.
const WAITING_MAX: usize = 10_000;
/// Length of a secret: 160 bits, as RFC 4226 §4 recommends.
const SECRET_BYTES: usize = 20;

/// What a one-time password will confirm.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Purpose {
    /// That the caller has the device that makes passwords of this new secret.
    Enrol(Vec<u8>),
    /// A sign-in whose password was right.
    SignIn(TokenRequest),
}

/// Everything that waits. Cheap to clone; a restart makes all of it void.
#[derive(Debug, Clone, Default)]
pub(crate) struct Challenges {
    by_token: Arc<Mutex<HashMap<String, Waiting>>>,
}

#[derive(Debug)]
struct Waiting {
    account: AccountId,
    purpose: Purpose,
    until: Timestamp,
    tries: u8,
}

impl Challenges {
    /// Begins to wait; gives the text that the caller shows with the password.
    pub(crate) fn begin(&self, account: AccountId, purpose: Purpose, now: Timestamp) -> String {
        let mut waiting = self.lock();
        waiting.retain(|_, one| one.until > now);
        if waiting.len() >= WAITING_MAX {
            let oldest =
                waiting.iter().min_by_key(|(_, one)| one.until).map(|(key, _)| key.clone());
            oldest.and_then(|key| waiting.remove(&key));
        }
        let token = random_token();
        let until = Timestamp(now.0 + WAIT_MS);
        waiting.insert(token.clone(), Waiting { account, purpose, until, tries: 0 });
        token
    }

    /// What waits under this text. Asking is a try: after five it is void.
    pub(crate) fn attempt(&self, token: &str, now: Timestamp) -> Option<(AccountId, Purpose)> {
        let mut waiting = self.lock();
        let one = waiting.get_mut(token).filter(|one| one.until > now)?;
        one.tries += 1;
        let found = (one.account, one.purpose.clone());
        if one.tries >= TRIES_MAX {
            waiting.remove(token);
        }
        Some(found)
    }

    /// It was confirmed.
    pub(crate) fn end(&self, token: &str) {
        self.lock().remove(token);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new secret.
pub(crate) fn new_secret() -> Vec<u8> {
    let mut secret = vec![0; SECRET_BYTES];
    rand::rng().fill_bytes(&mut secret);
    secret
}

/// The time step that this password belongs to, if it is one of now, of the step before or the next.
pub(crate) fn step_of(secret: &[u8], password: &str, now: Timestamp) -> Option<u64> {
    let seconds = u64::try_from(now.0 / 1000).ok()?;
    generator(secret)?.check(password.trim(), seconds)
}

/// A secret as people type it into the device that makes passwords.
pub(crate) fn secret_text(secret: &[u8]) -> String {
    Secret::from(secret.to_vec()).to_base32()
}

/// The address that such devices read from a QR code.
pub(crate) fn enrolment_url(secret: &[u8], email: &str) -> String {
    let mut url = String::from("otpauth://totp/Cloud%20Chamber:");
    url.extend(url::form_urlencoded::byte_serialize(email.as_bytes()));
    url.push_str(&format!("?secret={}&issuer=Cloud%20Chamber", secret_text(secret)));
    url
}

fn generator(secret: &[u8]) -> Option<Totp> {
    Builder::new().with_secret(secret.to_vec()).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, with the last six of its eight digits.
    #[test]
    fn the_passwords_of_the_standard_are_taken_in_their_time() {
        let secret = b"12345678901234567890";
        for (seconds, password) in
            [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924")]
        {
            let now = Timestamp(seconds * 1000);
            assert_eq!(step_of(secret, password, now), u64::try_from(seconds / 30).ok());
            assert_eq!(step_of(secret, password, Timestamp(now.0 + 120_000)), None);
        }
        assert_eq!(step_of(secret, "", Timestamp(59_000)), None);
    }

    #[test]
    fn a_secret_is_told_in_base_32() {
        assert_eq!(secret_text(b"12345678901234567890"), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    }

    #[test]
    fn five_tries_make_a_challenge_void_and_time_does_too() {
        let (challenges, now) = (Challenges::default(), Timestamp(0));
        let token = challenges.begin(AccountId(1), Purpose::Enrol(vec![1]), now);
        (0..5).for_each(|_| assert!(challenges.attempt(&token, now).is_some()));
        assert_eq!(challenges.attempt(&token, now), None);
        let token = challenges.begin(AccountId(1), Purpose::Enrol(vec![1]), now);
        assert_eq!(challenges.attempt(&token, Timestamp(WAIT_MS)), None);
    }
}
