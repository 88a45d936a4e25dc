//! CoAP: what can be read is written again with the same meaning, and blocks stay in their bound.

use protocol::coap::{Assembly, Builder, Packet};

/// Longest body that blocks are put together to here.
const BODY_BYTES_MAX: usize = 4096;

pub(crate) fn run(input: &[u8]) {
    let packet = match Packet::decode(input) {
        Ok(packet) => packet,
        Err(error) => {
            let _ = error.answer();
            return;
        }
    };
    let mut written = Vec::new();
    let mut builder = Builder::new(packet.header, &mut written);
    for option in packet.options() {
        builder = builder.option(option.number, option.value);
    }
    builder.payload(packet.payload);
    let again = Packet::decode(&written).expect("what was written can be read");
    assert_eq!(again.header, packet.header);
    assert_eq!(again.payload, packet.payload);
    assert!(again.options().eq(packet.options()), "{:?}", packet.options().collect::<Vec<_>>());
    blocks(&packet);
}

fn blocks(packet: &Packet<'_>) {
    let mut assembly = Assembly::new(BODY_BYTES_MAX);
    for number in [23, 27] {
        let Ok(Some(block)) = packet.block(number) else { continue };
        let _ = assembly.push(block, packet.payload);
        let _ = assembly.push(block.next(), packet.payload);
        assert!(assembly.len() <= BODY_BYTES_MAX);
    }
}
