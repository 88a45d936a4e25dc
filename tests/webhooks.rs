//! Webhooks of the real binary: what devices get of them and pay for, and what a crash leaves.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use sim::device::application::Subscription;
use sim::device::profile::Generation;
use sim::device::{Device, Observation};
use sim::live::Live;
use support::fleet::{await_true, connect_all, operations, publish_answered, run_all};
use support::folder::{Folder, Ports, identity};
use support::watch::{await_metric, metric};
use support::{Server, http};

/// Webhooks here go to this machine.
const HERE: [(&str, &str); 1] = [("CLOUDCHAMBER_WEBHOOKS__ALLOW_PRIVATE_TARGETS", "true")];
const SOON: Duration = Duration::from_secs(20);
/// Long enough for a request that should not come.
const QUIET: Duration = Duration::from_secs(2);

/// A target that answers every request with these words and tells what it was asked.
fn sink(listener: TcpListener, answer: String) -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut bytes = vec![0; 65_536];
            let count = stream.read(&mut bytes).unwrap_or(0);
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ";
            let text = format!("{head}{}\r\n\r\n{answer}", answer.len());
            let _ = stream.write_all(text.as_bytes());
            let _ = tell.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
    });
    told
}

fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port")
}

fn add_hook(server: &Server, token: &str, event: &str, target: SocketAddr) {
    let body = "body=%7B%7B%7BPARTICLE_EVENT_VALUE%7D%7D%7D";
    let form = format!("event={event}&url=http%3A%2F%2F{target}%2F&{body}");
    let (status, body) = http("POST", &format!("{}/v1/webhooks", server.url()), token, &form);
    assert_eq!(status, 201, "{body}");
}

fn subscriber(folder: &Folder, prefix: &str, ports: &Ports) -> Live {
    let mut setup = folder.setup(Generation::Os6);
    let mut program = (*setup.program).clone();
    program.subscriptions = vec![Subscription::all(prefix)];
    setup.program = Arc::new(program);
    Live::new(Device::new(identity(Generation::Os6, 0), Arc::new(setup), 7), ports.udp())
}

/// Names and lengths of the events that reached the device's handlers.
fn received(live: &Live) -> Vec<(String, usize)> {
    let events = live.observations().iter().filter_map(|seen| match seen {
        Observation::Event(event) => Some(event),
        _ => None,
    });
    events.map(|event| (event.name.clone(), event.data.as_ref().map_or(0, Vec::len))).collect()
}

#[test]
fn a_subscribed_device_gets_the_answer_and_its_owner_pays_for_each_part() {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 0)]);
    let (token, server) = (folder.token(), folder.serve_with(&HERE));
    let listener = free_port();
    add_hook(&server, &token, "ask", listener.local_addr().expect("an address"));
    let _requests = sink(listener, "r".repeat(600));
    let mut devices = [subscriber(&folder, "hook-response/ask", &Ports::of(&server))];
    connect_all(&mut devices);
    assert_eq!(operations(&folder), 0);
    assert_eq!(publish_answered(&mut devices[0], "ask", "x"), 0);
    await_true("both parts", || {
        run_all(&mut devices, Duration::from_millis(50));
        received(&devices[0]).len() >= 2
    });
    let parts = [("hook-response/ask/0".into(), 512), ("hook-response/ask/1".into(), 88)];
    assert_eq!(received(&devices[0]), parts);
    run_all(&mut devices, Duration::from_millis(300));
    await_true("one publish and two deliveries", || operations(&folder) == 3);
}

#[test]
fn a_products_webhook_tells_the_version_of_the_firmware_that_made_the_event() {
    const PRODUCT: u16 = 10_000;
    let folder = Folder::new();
    let device = identity(Generation::Os6, 0);
    let id = device.id.to_string();
    folder.register(&[device]);
    let (token, server) = (folder.token(), folder.serve_with(&HERE));
    let ask = |path: &str, form: &str| {
        let (status, body) = http("POST", &format!("{}{path}", server.url()), &token, form);
        assert!((200..300).contains(&status), "{path}: {status} {body}");
    };
    ask("/v1/user/products", "name=P&platform_id=12");
    ask(&format!("/v1/products/{PRODUCT}/devices"), &format!("id={id}"));
    let listener = free_port();
    let target = listener.local_addr().expect("an address");
    let body = "body=v%7B%7BPRODUCT_VERSION%7D%7D.";
    let hook = format!("event=told&url=http%3A%2F%2F{target}%2F&{body}");
    ask(&format!("/v1/products/{PRODUCT}/webhooks"), &hook);
    let requests = sink(listener, String::new());

    let mut setup = folder.setup(Generation::Os6);
    (setup.profile.product_id, setup.profile.product_version) = (PRODUCT, 7);
    let device = Device::new(identity(Generation::Os6, 0), Arc::new(setup), 7);
    let mut devices = [Live::new(device, Ports::of(&server).udp())];
    connect_all(&mut devices);
    assert_eq!(publish_answered(&mut devices[0], "told", "x"), 0);
    let request = requests.recv_timeout(SOON).expect("a request");
    assert!(request.ends_with("v7."), "{request}");
}

#[test]
fn a_delivery_that_was_open_when_the_server_died_is_made_by_the_next_one() {
    let folder = Folder::new();
    let (token, server) = (folder.token(), folder.serve_with(&HERE));
    let ports = Ports::of(&server);
    // Nobody listens there yet: the first attempt fails, the next one is 30 s away.
    let target = free_port().local_addr().expect("an address");
    add_hook(&server, &token, "kept", target);
    let publish = |form: &str| {
        let url = format!("{}/v1/devices/events", ports.url());
        assert_eq!(http("POST", &url, &token, form).0, 200);
    };
    publish("name=other&data=0");
    publish("name=kept&data=precious");
    std::thread::sleep(Duration::from_secs(1));
    server.kill();
    let requests = sink(TcpListener::bind(target).expect("still free"), String::new());
    let server = folder.serve_again(&ports, &HERE);
    let request = requests.recv_timeout(SOON).expect("the delivery is made up for");
    assert!(request.ends_with("precious"), "{request}");
    assert!(requests.recv_timeout(QUIET).is_err(), "and only that one");
    assert!(server.stop().success());
    let _server = folder.serve_again(&ports, &HERE);
    assert!(requests.recv_timeout(QUIET).is_err(), "what is done is not done again");
}

#[test]
fn requests_are_counted_by_how_they_ended() {
    let folder = Folder::new();
    let (token, server) = (folder.token(), folder.serve_with(&HERE));
    let url = server.url();
    let listener = free_port();
    add_hook(&server, &token, "well", listener.local_addr().expect("an address"));
    let _requests = sink(listener, "ok".into());
    add_hook(&server, &token, "dead", free_port().local_addr().expect("an address"));
    for name in ["well", "well", "dead"] {
        let form = format!("name={name}");
        assert_eq!(http("POST", &format!("{url}/v1/devices/events"), &token, &form).0, 200);
    }
    let requests = "cloudchamber_webhook_requests_total";
    await_metric(&url, requests, "outcome=\"success\"", 2);
    await_metric(&url, requests, "outcome=\"unreachable\"", 1);
    await_metric(&url, "cloudchamber_webhook_retries_total", "", 1);
    await_metric(&url, "cloudchamber_webhook_waiting", "", 1);
    await_metric(&url, "cloudchamber_webhook_seconds_count", "", 3);
    assert_eq!(metric(&url, requests, ""), 3);
    assert_eq!(metric(&url, "cloudchamber_webhook_throttled_total", ""), 0);
    assert_eq!(metric(&url, "cloudchamber_webhook_discarded_total", ""), 0);
}
