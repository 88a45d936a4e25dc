//! Pages of lists: `page`, from 1 on, and `per_page`.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::fields::Fields;

/// Most entries of a page.
const SIZE_MAX: u64 = 1_000;

/// The page that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    number: u64,
    size: u64,
}

impl Page {
    /// Entries of a page are `size_default` if the caller does not say, and 1 to 1,000.
    pub(crate) fn of(query: &Fields, size_default: u64) -> Result<Self, ApiError> {
        let size = query.number("per_page")?.unwrap_or(size_default).clamp(1, SIZE_MAX);
        let number = query.number("page")?.unwrap_or(1).max(1);
        Ok(Self { number, size })
    }

    /// The entries of this page.
    pub(crate) fn cut<T>(self, all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        let start = (self.number - 1).saturating_mul(self.size);
        let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        all.into_iter().skip(whole(start)).take(whole(self.size))
    }

    /// What tells a caller where it is, in a list of so many entries.
    pub(crate) fn meta(self, total: usize) -> Value {
        let total = total as u64;
        json!({
            "page": self.number,
            "per_page": self.size,
            "total_pages": total.div_ceil(self.size),
            "total": total,
            "total_records": total,
        })
    }
}
