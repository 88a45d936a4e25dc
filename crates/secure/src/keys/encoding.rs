//! From a file's bytes to one DER structure, and from its first bytes to what it holds.

use openssl::base64;
use zeroize::Zeroizing;

use super::KeyError;

/// Largest file that is looked at, in bytes. The largest key we take is below 2,000 bytes of PEM.
const INPUT_BYTES_MAX: usize = 16_384;

/// What a DER structure is, told by its first fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Pkcs1Private,
    Pkcs1Public,
    Pkcs8,
    Sec1,
    Spki,
}

/// The DER of the first key in `input`, without the fill that follows it in images of device memory.
pub(super) fn to_der(input: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if input.len() > INPUT_BYTES_MAX {
        return Err(KeyError::Unreadable);
    }
    match find_pem(input)? {
        Some(der) => Ok(trim(&der)?.to_vec().into()),
        None => Ok(trim(input)?.to_vec().into()),
    }
}

/// Looks at the first fields of `der`, an outer SEQUENCE.
pub(super) fn shape(der: &[u8]) -> Result<Shape, KeyError> {
    let (SEQUENCE, fields, _) = element(der)? else {
        return Err(KeyError::Unreadable);
    };
    let (first, content, rest) = element(fields)?;
    let second = if rest.is_empty() { None } else { Some(element(rest)?.0) };
    match (first, content, second) {
        (INTEGER, [0], Some(INTEGER)) => Ok(Shape::Pkcs1Private),
        (INTEGER, [0], Some(SEQUENCE)) => Ok(Shape::Pkcs8),
        (INTEGER, [1], Some(OCTET_STRING)) => Ok(Shape::Sec1),
        (INTEGER, [_, _, ..], Some(INTEGER)) => Ok(Shape::Pkcs1Public),
        (SEQUENCE, _, Some(BIT_STRING)) => Ok(Shape::Spki),
        (SEQUENCE, _, Some(OCTET_STRING)) => Err(KeyError::Encrypted),
        _ => Err(KeyError::Unreadable),
    }
}

/// The first PEM block that is no mere curve name (`openssl ecparam -genkey` writes one first).
fn find_pem(input: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let Ok(mut text) = std::str::from_utf8(input) else {
        return Ok(None);
    };
    while let Some((_, after)) = text.split_once("-----BEGIN ") {
        let (label, body) = after.split_once("-----").ok_or(KeyError::Unreadable)?;
        let (body, rest) = body.split_once("-----END ").ok_or(KeyError::Unreadable)?;
        if label != "EC PARAMETERS" {
            return decode_body(body).map(Some);
        }
        text = rest;
    }
    Ok(None)
}

fn decode_body(body: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if body.contains("ENCRYPTED") {
        return Err(KeyError::Encrypted);
    }
    let mut joined = Zeroizing::new(String::with_capacity(body.len()));
    joined.extend(body.split_ascii_whitespace());
    base64::decode_block(&joined).map(Zeroizing::new).map_err(|_| KeyError::Unreadable)
}

/// `der` up to the end of its outer SEQUENCE.
fn trim(der: &[u8]) -> Result<&[u8], KeyError> {
    let (_, _, rest) = element(der)?;
    Ok(&der[..der.len() - rest.len()])
}

/// Splits the first element off: its tag, its content and what follows it.
fn element(der: &[u8]) -> Result<(u8, &[u8], &[u8]), KeyError> {
    let (tag, length, content) = match der {
        [tag, 0x81, length, content @ ..] => (*tag, usize::from(*length), content),
        [tag, 0x82, high, low, content @ ..] => {
            (*tag, usize::from(u16::from_be_bytes([*high, *low])), content)
        }
        [tag, length @ 0..=0x7f, content @ ..] => (*tag, usize::from(*length), content),
        _ => return Err(KeyError::Unreadable),
    };
    let (content, rest) = content.split_at_checked(length).ok_or(KeyError::Unreadable)?;
    Ok((tag, content, rest))
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_after_the_outer_sequence_is_cut_off() {
        let mut image = vec![0x30, 0x03, 0x02, 0x01, 0x00];
        image.extend([0xff; 32]);
        assert_eq!(**to_der(&image).unwrap(), [0x30, 0x03, 0x02, 0x01, 0x00]);
    }

    #[test]
    fn lengths_that_reach_beyond_the_input_are_refused() {
        for der in [&[][..], &[0x30], &[0x30, 0x02, 0x02], &[0x30, 0x82, 0xff], &[0x30, 0x84]] {
            assert_eq!(to_der(der), Err(KeyError::Unreadable), "{der:02x?}");
        }
    }

    #[test]
    fn an_unfinished_pem_block_is_refused() {
        for text in [
            "-----BEGIN ",
            "-----BEGIN X",
            "-----BEGIN X-----\nAAAA",
            "-----BEGIN X-----\n!!!\n-----END X",
        ] {
            assert_eq!(to_der(text.as_bytes()), Err(KeyError::Unreadable), "{text}");
        }
    }
}
