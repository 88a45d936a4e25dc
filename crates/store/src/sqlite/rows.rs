//! Many rows in few statements: a call of the database costs more than a row.

use sqlx::query_builder::Separated;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::failed;
use crate::StoreError;

/// Rows in one statement. Few sizes, so that each is prepared once.
const CHUNKS: [usize; 4] = [256, 32, 4, 1];

/// Writes `head VALUES (…), (…) tail` for all rows. `bind` gives a row's columns.
pub(super) async fn insert<R>(
    to: &mut SqliteConnection,
    head: &'static str,
    tail: &'static str,
    rows: &[R],
    bind: impl Fn(&mut Separated<'_, Sqlite, &'static str>, &R),
) -> Result<(), StoreError> {
    let mut rest = rows;
    for size in CHUNKS {
        while rest.len() >= size {
            let (chunk, behind) = rest.split_at(size);
            let mut query = QueryBuilder::<Sqlite>::new(head);
            query.push(" ").push_values(chunk, |mut row, item| bind(&mut row, item));
            query.push(" ").push(tail);
            query.build().execute(&mut *to).await.map_err(failed)?;
            rest = behind;
        }
    }
    Ok(())
}

/// Reads `head (…) tail` for all ids, in chunks.
pub(super) async fn select_in(
    from: &mut SqliteConnection,
    head: &'static str,
    tail: &'static str,
    ids: &[&[u8]],
) -> Result<Vec<sqlx::sqlite::SqliteRow>, StoreError> {
    let mut rows = Vec::with_capacity(ids.len());
    let mut rest = ids;
    for size in CHUNKS {
        while rest.len() >= size {
            let (chunk, behind) = rest.split_at(size);
            let mut query = QueryBuilder::<Sqlite>::new(head);
            query.push(" (");
            let mut list = query.separated(", ");
            for id in chunk {
                list.push_bind(*id);
            }
            query.push(") ").push(tail);
            rows.extend(query.build().fetch_all(&mut *from).await.map_err(failed)?);
            rest = behind;
        }
    }
    Ok(rows)
}
