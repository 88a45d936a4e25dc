//! CoAP messages as nobody should write them.

pub(crate) const CON: u8 = 0;
pub(crate) const NON: u8 = 1;
pub(crate) const ACK: u8 = 2;
pub(crate) const RST: u8 = 3;

pub(crate) const EMPTY: u8 = 0;
pub(crate) const GET: u8 = 1;
pub(crate) const POST: u8 = 2;

pub(crate) const URI_PATH: u16 = 11;

/// A message; an option's length is told as it is, up to 65,804.
pub(crate) fn message(
    kind: u8,
    code: u8,
    id: u16,
    token: &[u8],
    options: &[(u16, &[u8])],
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0x40 | kind << 4 | token.len() as u8, code];
    bytes.extend(id.to_be_bytes());
    bytes.extend(token);
    let mut number = 0;
    for (option, value) in options {
        let (delta, delta_more) = extended(usize::from(option - number));
        let (length, length_more) = extended(value.len());
        bytes.push(delta << 4 | length);
        bytes.extend(delta_more);
        bytes.extend(length_more);
        bytes.extend(*value);
        number = *option;
    }
    if !payload.is_empty() {
        bytes.push(0xFF);
        bytes.extend(payload);
    }
    bytes
}

/// A confirmable publish.
pub(crate) fn publish(id: u16, name: &str, data: &[u8]) -> Vec<u8> {
    message(CON, POST, id, &[], &[(URI_PATH, b"E"), (URI_PATH, name.as_bytes())], data)
}

/// A confirmable subscription.
pub(crate) fn subscribe(id: u16, prefix: &str) -> Vec<u8> {
    message(CON, GET, id, &[], &[(URI_PATH, b"e"), (URI_PATH, prefix.as_bytes())], &[])
}

/// A ping, an empty acknowledgement, a reset.
pub(crate) fn empty(kind: u8, id: u16) -> Vec<u8> {
    message(kind, EMPTY, id, &[], &[], &[])
}

fn extended(value: usize) -> (u8, Vec<u8>) {
    match value {
        0..=12 => (value as u8, Vec::new()),
        13..=268 => (13, vec![(value - 13) as u8]),
        _ => (14, ((value - 269) as u16).to_be_bytes().to_vec()),
    }
}
