//! Many rows in one value: reading 100,000 rows one by one costs more than reading the tables.
//!
//! A row is packed by the database into a line: columns with a comma between them, numbers in
//! decimal, bytes and text in hex, nothing for NULL.

use std::str::Split;

use sqlx::Row;

use super::{Tables, failed};
use crate::StoreError;

/// Rows packed together.
const ROWS: i64 = 2000;

impl Tables {
    /// Reads a whole table. `sql` packs the rows behind the key `$1`, at most `$2`, into one value,
    /// and tells the last key.
    pub(super) async fn lines<T>(
        &self,
        sql: &'static str,
        read: fn(Line<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let mut all = Vec::new();
        let mut after = Vec::new();
        loop {
            let query = sqlx::query(sql).bind(after).bind(ROWS);
            let row = query.fetch_one(&mut *connection).await.map_err(failed)?;
            let lines: Option<&str> = row.try_get(0).map_err(failed)?;
            let Some(lines) = lines else { return Ok(all) };
            for line in lines.split('\n') {
                all.push(read(Line::new(line))?);
            }
            after = row.try_get(1).map_err(failed)?;
        }
    }
}

/// The columns of a packed row, one after the other.
pub(super) struct Line<'a>(Split<'a, char>);

impl<'a> Line<'a> {
    /// Begins with the first column.
    pub(super) fn new(line: &'a str) -> Self {
        Self(line.split(','))
    }

    fn column(&mut self) -> Result<&'a str, StoreError> {
        self.0.next().ok_or(StoreError::Damaged("row"))
    }

    /// A number or NULL.
    pub(super) fn number<N: std::str::FromStr>(&mut self) -> Result<Option<N>, StoreError> {
        let column = self.column()?;
        if column.is_empty() {
            return Ok(None);
        }
        column.parse().map(Some).map_err(|_| StoreError::Damaged("number"))
    }

    /// Bytes of a known length, or NULL.
    pub(super) fn array<const N: usize>(&mut self) -> Result<Option<[u8; N]>, StoreError> {
        let column = self.column()?;
        if column.is_empty() {
            return Ok(None);
        }
        let mut bytes = [0; N];
        hex::decode_to_slice(column, &mut bytes).map_err(|_| StoreError::Damaged("bytes"))?;
        Ok(Some(bytes))
    }

    /// Bytes; none for NULL.
    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        hex::decode(self.column()?).map_err(|_| StoreError::Damaged("bytes"))
    }

    /// Text; NULL and the empty text are one.
    pub(super) fn text(&mut self) -> Result<Option<String>, StoreError> {
        let text = String::from_utf8(self.bytes()?).map_err(|_| StoreError::Damaged("text"))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}
