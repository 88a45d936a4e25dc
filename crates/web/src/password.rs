//! Password hashes: Argon2id, off the async threads, a few at a time.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Hashes computed at once. Each takes 19 MiB and some 20 ms; more waiting callers queue here.
const AT_ONCE: usize = 2;
/// Shortest password that an account may be given, in bytes.
pub const PASSWORD_BYTES_MIN: usize = 8;
/// Longest password taken, in bytes, so that nobody makes us hash megabytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Computes and checks password hashes. Overwrites the passwords it was given. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Passwords {
    permits: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Passwords {
    /// Whether `password` belongs to the stored hash. Without a hash (an unknown user) it takes as
    /// long and says no.
    pub async fn verify(&self, password: String, stored: Option<String>) -> bool {
        let password = Zeroizing::new(password);
        self.blocking(move || verify_now(&password, stored.as_deref())).await.unwrap_or(false)
    }

    /// The hash to store, in PHC text form; absent when hashing failed.
    pub async fn hash(&self, password: String) -> Option<String> {
        let password = Zeroizing::new(password);
        self.blocking(move || hash(&password)).await.flatten()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _permit = self.permits.acquire().await.ok()?;
        tokio::task::spawn_blocking(work).await.ok()
    }
}

/// The hash to store, computed on this thread; absent when hashing failed.
pub fn hash(password: &str) -> Option<String> {
    Argon2::default().hash_password(password.as_bytes()).ok().map(|hash| hash.to_string())
}

fn verify_now(password: &str, stored: Option<&str>) -> bool {
    let Some(stored) = stored.and_then(|text| PasswordHash::new(text).ok()) else {
        let _ = hash(password);
        return false;
    };
    Argon2::default().verify_password(password.as_bytes(), &stored).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_alone() {
        let stored = hash("correct horse").expect("a hash");
        assert!(verify_now("correct horse", Some(&stored)));
        assert!(!verify_now("correct horsf", Some(&stored)));
    }

    #[test]
    fn without_a_usable_hash_every_password_is_wrong() {
        assert!(!verify_now("", None));
        assert!(!verify_now("", Some("")));
    }
}
