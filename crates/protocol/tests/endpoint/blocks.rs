//! Bodies in blocks, both ways.

use model::link::{ExchangeId, LinkEvent, Verdict};
use model::{Answer, CloudMessage, DescribePart, DeviceMessage};
use protocol::coap::{Block, Builder, Code, Header, Packet, Token, option};

use crate::support::*;

const JSON: &[u8] = br#"{"f":["led","a_rather_long_function_name"],"v":{"temp":9}}"#;

fn post(message_id: u16, token: u8, flags: u8, num: u32, body: &[u8]) -> Vec<u8> {
    let (block, bytes) = Block::cut(num, 0, body).unwrap();
    let mut out = Vec::new();
    Builder::new(Header::confirmable(Code::POST, message_id, Token::one(token)), &mut out)
        .resource(b'd')
        .option(option::URI_QUERY, &[flags])
        .block(option::BLOCK1, Some(block))
        .payload(bytes);
    out
}

fn described(message: DeviceMessage) -> Vec<Box<str>> {
    match message {
        DeviceMessage::Describe(DescribePart::Application(part)) => part.functions,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_description_in_blocks_is_continued_and_its_last_block_held() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let last = JSON.len().div_ceil(16) as u32 - 1;
    for num in 0..last {
        let id = 100 + num as u16;
        let answer = device.say(&mut world, &post(id, num as u8, 2, num, JSON));
        let packet = Packet::decode(&answer[0]).unwrap();
        assert_eq!((packet.code(), packet.message_id()), (Code::CONTINUE, id));
        assert_eq!(packet.token(), Token::one(num as u8));
        let echoed = packet.block(option::BLOCK1).unwrap().unwrap();
        assert_eq!(echoed, Block { num, more: true, szx: 0 });
        // A copy of a block gets its answer again and is not put in twice.
        assert_eq!(device.say(&mut world, &post(id, num as u8, 2, num, JSON)), answer);
    }
    assert!(world.take_events().is_empty());
    assert!(device.say(&mut world, &post(200, 9, 2, last, JSON)).is_empty());
    let (told, receipt) = message(world.event());
    assert_eq!(described(told).len(), 2);
    assert!(device.say(&mut world, &post(200, 9, 2, last, JSON)).is_empty(), "still held");
    let acks = device.acknowledged(&mut world, receipt.unwrap(), Verdict::Accepted);
    assert_eq!(acks, [empty_ack(200)]);
}

#[test]
fn a_block_out_of_order_is_answered_4_08() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let answers = device.say(&mut world, &post(100, 1, 2, 1, JSON));
    assert_eq!(answers, [[0x61, 0x88, 0, 100, 1]]);
}

fn event_block(message_id: u16, num: u32, body: &[u8]) -> Vec<u8> {
    let (block, bytes) = Block::cut(num, 6, body).unwrap();
    let mut out = Vec::new();
    let header = Header::confirmable(Code::POST, message_id, Token::one(message_id as u8));
    Builder::new(header, &mut out)
        .resource(b'E')
        .option(option::URI_PATH, b"big")
        .block(option::BLOCK1, Some(block))
        .option(option::REQUEST_TAG, &[1, 2, 3, 4])
        .payload(bytes);
    out
}

#[test]
fn an_event_in_blocks_is_one_publish_and_a_copy_of_its_last_block_a_copy_of_the_whole() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let body = vec![b'z'; 2500];
    for num in 0..2 {
        let answer = device.say(&mut world, &event_block(100 + num, num.into(), &body));
        assert_eq!(answer[0][1], Code::CONTINUE.0);
    }
    assert!(device.say(&mut world, &event_block(102, 2, &body)).is_empty());
    let (first, receipt) = message(world.event());
    let DeviceMessage::Publish(publish) = &first else { panic!("{first:?}") };
    assert_eq!(&*publish.data.as_ref().unwrap().bytes, &body[..]);
    let acks = device.acknowledged(&mut world, receipt.unwrap(), Verdict::Accepted);
    assert_eq!(acks, [empty_ack(102)]);
    device.say(&mut world, &event_block(102, 2, &body));
    assert_eq!(copy(world.event()).0, first);
}

#[test]
fn an_event_of_more_than_16_384_bytes_is_answered_4_13() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let body = vec![b'z'; 16_385];
    for num in 0..16 {
        device.say(&mut world, &event_block(100 + num, num.into(), &body));
    }
    let answer = device.say(&mut world, &event_block(116, 16, &body));
    assert_eq!(answer, [[0x61, 0x8d, 0, 116, 116]]);
    assert!(world.take_events().is_empty());
}

/// The answer to the device's part of a GET: block `num` of `body`.
fn answer(message_id: u16, token: u8, etag: u8, num: u32, body: &[u8]) -> Vec<u8> {
    let (block, bytes) = Block::cut(num, 0, body).unwrap();
    let mut out = Vec::new();
    Builder::new(Header::confirmable(Code::CONTENT, message_id, Token::one(token)), &mut out)
        .option(option::ETAG, &[etag])
        .block(option::BLOCK2, Some(block))
        .payload(bytes);
    out
}

/// The block that the next request asks for.
fn asked(messages: &[Vec<u8>]) -> Option<u32> {
    let packet = Packet::decode(messages.last().unwrap()).unwrap();
    assert_eq!(packet.code(), Code::GET);
    packet.block(option::BLOCK2).unwrap().map(|block| block.num)
}

#[test]
fn a_description_is_fetched_block_by_block_and_again_when_it_changes() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let sent = device.receive(&mut world, 7, CloudMessage::Describe(2));
    assert_eq!(sent[0][..2], [0x41, 1]);
    let token = sent[0][4];
    let sent = device.say(&mut world, &answer(500, token, 1, 0, JSON));
    assert_eq!((sent[0].clone(), asked(&sent)), (empty_ack(500), Some(1)));
    let token = sent[1][4];
    // The description changed: from the beginning.
    let sent = device.say(&mut world, &answer(501, token, 2, 1, JSON));
    assert_eq!(asked(&sent), None);
    let mut token = sent[1][4];
    let count = JSON.len().div_ceil(16) as u32;
    for num in 0..count {
        let sent = device.say(&mut world, &answer(600 + num as u16, token, 2, num, JSON));
        if num + 1 < count {
            assert_eq!(asked(&sent), Some(num + 1));
            assert_ne!(sent[1][4], token);
            token = sent[1][4];
        }
    }
    let last = world.take_events().pop().unwrap();
    let LinkEvent::Answered { exchange: ExchangeId(7), answer, .. } = last else {
        panic!("{last:?}")
    };
    let Answer::Described(mut parts) = answer else { panic!("{answer:?}") };
    assert_eq!(described(DeviceMessage::Describe(parts.remove(0))).len(), 2);
    assert!(world.pass(60 * SECOND).is_empty());
}

#[test]
fn a_description_that_keeps_changing_fails() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let mut token = device.receive(&mut world, 7, CloudMessage::Describe(2))[0][4];
    for round in 0..4 {
        let sent = device.say(&mut world, &answer(500 + 2 * round, token, 1, 0, JSON));
        let sent = device.say(&mut world, &answer(501 + 2 * round, sent[1][4], 2, 1, JSON));
        token = sent.get(1).map_or(0, |message| message[4]);
    }
    let failed = world.take_events().pop().unwrap();
    assert!(
        matches!(failed, LinkEvent::Answered { answer: Answer::Failed(500), .. }),
        "{failed:?}"
    );
}
