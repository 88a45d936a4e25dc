//! Metrics (`messages.md` §6.7): `00`, type 4 (LE), size of ids 2, size of values 4, then ids and values,
//! all little-endian.

use model::Metric;

use crate::message::CoapError;

/// Reads the payload.
///
/// # Errors
/// 4.00: another type or other sizes, or a cut entry.
pub fn parse(payload: &[u8]) -> Result<Vec<Metric>, CoapError> {
    let entries = payload
        .strip_prefix(&PREAMBLE)
        .filter(|entries| entries.len().is_multiple_of(ENTRY_BYTES))
        .ok_or(CoapError::bad_request("metrics of no known form"))?;
    Ok(entries.chunks_exact(ENTRY_BYTES).map(metric).collect())
}

fn metric(entry: &[u8]) -> Metric {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte));
    let (id, value) = entry.split_at(2);
    Metric { id: number(id) as u16, value: number(value) as i32 }
}

/// Writes the payload.
pub fn to_payload(metrics: &[Metric]) -> Vec<u8> {
    let mut payload = PREAMBLE.to_vec();
    for metric in metrics {
        payload.extend_from_slice(&metric.id.to_le_bytes());
        payload.extend_from_slice(&metric.value.to_le_bytes());
    }
    payload
}

const PREAMBLE: [u8; 7] = [0, 4, 0, 2, 0, 4, 0];
const ENTRY_BYTES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_values_are_little_endian_and_values_signed() {
        let payload = [&PREAMBLE[..], &[0x13, 0, 0xbf, 0xff, 0xff, 0xff]].concat();
        let metrics = vec![Metric { id: 19, value: -65 }];
        assert_eq!(to_payload(&metrics), payload);
        assert_eq!(parse(&payload), Ok(metrics));
    }

    #[test]
    fn cut_entries_and_other_sizes_are_refused() {
        assert!(parse(&[0, 4, 0, 2, 0, 4, 0, 1]).is_err());
        assert!(parse(&[0, 4, 0, 2, 0, 8, 0]).is_err());
        assert!(parse(&[]).is_err());
    }
}
