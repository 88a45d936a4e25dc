//! Trust on first use trusts only what is proven.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{SOON, Server, World, connect, key};
use model::DeviceId;
use node::NodeConfig;
use secure::keys::{KeyKind, PrivateKey};
use secure::tcp::device;
use sim::device::profile::Generation;

/// A key exchange in the name of `id` with a key of which only the public half is known.
fn pretend(world: &World, server: &Server, id: DeviceId, key: &PrivateKey) {
    let mut stream = TcpStream::connect(server.node.tcp_addr()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut nonce = [0; 40];
    stream.read_exact(&mut nonce).unwrap();
    let own = Some(key.public_key());
    let mut padding = |bytes: &mut [u8]| bytes.fill(7);
    let cloud = world.keys.rsa().public_key();
    let sealed = device::seal_credentials(cloud, &nonce, &id.0, own, &mut padding).unwrap();
    stream.write_all(&sealed).unwrap();
    stream.read_exact(&mut [0; 384]).unwrap();
    // What nobody can read says no Hello.
    stream.write_all(&[0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]).unwrap();
    assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_no_hello_proved_is_bound_to_nothing() {
    let mut world = World::new().await;
    let trusting = NodeConfig { trust_on_first_use: true, ..NodeConfig::loopback() };
    let server = world.start(trusting).await;
    let identity = world.identity(Generation::Tcp);
    let stolen = PrivateKey::generate(KeyKind::Rsa1024).unwrap();
    tokio::task::block_in_place(|| pretend(&world, &server, identity.id, &stolen));
    assert_eq!(server.store.devices().get(identity.id).await.unwrap(), None);

    let mut live = world.live(identity.clone(), &server, Generation::Tcp);
    connect(&mut live);
    let stored = server.store.devices().get(identity.id).await.unwrap().unwrap();
    assert_eq!(stored.key, Some(key(&identity).hash));
    server.stop().await;
}
