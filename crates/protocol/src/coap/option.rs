//! Numbers and values of the options in use (`messages.md` §2.2).

use smallvec::SmallVec;

/// ETag.
pub const ETAG: u16 = 4;
/// Uri-Path.
pub const URI_PATH: u16 = 11;
/// Content-Format.
pub const CONTENT_FORMAT: u16 = 12;
/// Max-Age.
pub const MAX_AGE: u16 = 14;
/// Uri-Query; carries raw binary in places.
pub const URI_QUERY: u16 = 15;
/// Block2 (RFC 7959).
pub const BLOCK2: u16 = 23;
/// Block1 (RFC 7959).
pub const BLOCK1: u16 = 27;
/// No-Response (RFC 7967).
pub const NO_RESPONSE: u16 = 258;
/// Request-Tag (RFC 9175).
pub const REQUEST_TAG: u16 = 292;

/// The number in an option of 0 to 4 bytes; leading zeros are accepted. Absent if longer.
pub fn read_uint(value: &[u8]) -> Option<u32> {
    (value.len() <= 4).then(|| value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// The shortest form of a number: 0 to 4 bytes (RFC 7252 §3.2).
pub fn uint(number: u32) -> SmallVec<[u8; 4]> {
    let skipped = number.leading_zeros() as usize / 8;
    SmallVec::from_slice(&number.to_be_bytes()[skipped..])
}

/// The form that Device OS 3.0 and later write: 0, 1, 2 or 4 bytes, never 3.
pub fn uint_without_three(number: u32) -> SmallVec<[u8; 4]> {
    let value = uint(number);
    if value.len() == 3 { SmallVec::from_slice(&number.to_be_bytes()) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_fewest_bytes_and_zero_takes_none() {
        for (number, bytes) in [
            (0, &[][..]),
            (60, &[60]),
            (3600, &[14, 16]),
            (0x0001_0000, &[1, 0, 0]),
            (u32::MAX, &[255; 4]),
        ] {
            assert_eq!(uint(number).as_slice(), bytes);
            assert_eq!(read_uint(bytes), Some(number));
        }
    }

    #[test]
    fn devices_write_four_bytes_where_three_would_do() {
        assert_eq!(uint_without_three(0x0001_0000).as_slice(), [0, 1, 0, 0]);
        assert_eq!(uint_without_three(3600).as_slice(), [14, 16]);
    }

    #[test]
    fn leading_zeros_are_accepted_and_five_bytes_are_not() {
        assert_eq!(read_uint(&[0, 0, 14, 16]), Some(3600));
        assert_eq!(read_uint(&[0; 5]), None);
    }
}
