//! Cookies over the end of a server.

use std::net::{SocketAddr, UdpSocket};

use crate::support::{SOON, World};
use node::NodeConfig;
use secure::dtls::ContentType;
use secure::dtls::codec::{handshake_type, write_handshake, write_plain_record};

/// Headers of the record and of the message in it.
const BODY_AT: usize = 13 + 12;
/// Version and random, then an empty session id; the cookie's length follows.
const COOKIE_LENGTH_AT: usize = 2 + 32 + 1;

fn ask(socket: &UdpSocket, server: SocketAddr, hello: &[u8]) -> Vec<u8> {
    socket.send_to(hello, server).unwrap();
    let mut answer = vec![0; 2048];
    let length = socket.recv(&mut answer).unwrap();
    answer.truncate(length);
    answer
}

fn with_cookie(hello: &[u8], cookie: &[u8]) -> Vec<u8> {
    let mut body = hello[BODY_AT..].to_vec();
    body[COOKIE_LENGTH_AT] = u8::try_from(cookie.len()).unwrap();
    let behind = COOKIE_LENGTH_AT + 1;
    body.splice(behind..behind, cookie.iter().copied());
    let (mut message, mut datagram) = (Vec::new(), Vec::new());
    write_handshake(handshake_type::CLIENT_HELLO, 1, &body, &mut message);
    write_plain_record(ContentType::Handshake, 1, &message, &mut datagram);
    datagram
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_of_an_earlier_run_is_none() {
    let world = World::new().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let server = world.start(NodeConfig::loopback()).await;
    let hello = sim::probe::client_hello();
    let verify = ask(&socket, server.node.udp_addr(), &hello);
    assert_eq!(verify[13], handshake_type::HELLO_VERIFY_REQUEST);
    let second = with_cookie(&hello, &verify[BODY_AT + 3..]);
    let answer = ask(&socket, server.node.udp_addr(), &second);
    assert_eq!(answer[13], handshake_type::SERVER_HELLO, "the cookie is good");
    server.stop().await;

    let server = world.start(NodeConfig::loopback()).await;
    let answer = ask(&socket, server.node.udp_addr(), &second);
    assert_eq!(answer[13], handshake_type::HELLO_VERIFY_REQUEST);
    server.stop().await;
}
