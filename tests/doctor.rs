//! `cloudchamber doctor`: what it says on a fresh folder, on a running server and of a wrong port.

mod support;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::Value;
use support::cloudchamber;
use support::folder::{Folder, Ports};

/// Runs the doctor with more settings; gives whether it is content, and its findings.
fn examine(data: &str, environment: &[(&str, &str)]) -> (bool, Vec<Finding>) {
    let mut command = cloudchamber(&["doctor", "--data", data, "--json"]);
    let output = command.envs(environment.iter().copied()).output().expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let told: Vec<Value> =
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
    let is_content = output.status.success();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        is_content,
        errors.is_empty(),
        "a reason for people comes with exit code 1: {errors}"
    );
    if !is_content {
        assert_eq!(output.status.code(), Some(1));
    }
    (is_content, told.iter().map(Finding::new).collect())
}

#[derive(Debug)]
struct Finding {
    check: String,
    level: String,
    text: String,
}

impl Finding {
    fn new(value: &Value) -> Self {
        let field =
            |name: &str| value[name].as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
        Self { check: field("check"), level: field("level"), text: field("text") }
    }
}

fn find<'a>(findings: &'a [Finding], check: &str) -> &'a Finding {
    let found = findings.iter().find(|finding| finding.check == check);
    found.unwrap_or_else(|| panic!("{check} in {findings:#?}"))
}

#[test]
fn a_fresh_folder_has_nothing_wrong_and_is_left_as_it_is() {
    let folder = Folder::empty();
    let data = folder.path("not-yet");
    let (is_content, findings) = examine(data.to_str().expect("text"), &[]);
    assert!(is_content, "{findings:#?}");
    assert_eq!(find(&findings, "settings").level, "ok");
    assert!(find(&findings, "data folder").text.contains("does not exist yet"));
    assert!(find(&findings, "server").text.contains("serve"));
    assert!(find(&findings, "server keys").text.contains("none yet"));
    for check in ["udp.listen", "tcp.listen", "http.listen", "clock", "core dumps"] {
        assert_eq!(find(&findings, check).level, "ok", "{findings:#?}");
    }
    assert!(!data.exists(), "the doctor makes nothing");
}

#[test]
fn a_running_server_answers_on_every_port() {
    let folder = Folder::new();
    let server = folder.serve();
    let ports = Ports::of(&server);
    let (is_content, findings) = examine(folder.data(), &ports.environment());
    assert!(is_content, "{findings:#?}");
    for check in ["udp answers", "tcp answers", "http answers", "server keys", "data folder"] {
        assert_eq!(find(&findings, check).level, "ok", "{findings:#?}");
    }
    assert!(
        find(&findings, "device port").text.contains("5684"),
        "devices go to 5684 whatever happens"
    );
}

/// The settings tell other ports than those the server has.
#[test]
fn a_wrong_port_is_found_and_named() {
    let folder = Folder::new();
    let server = folder.serve();
    let ports = Ports::of(&server);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let udp = udp.local_addr().expect("an address").to_string();
    let tcp = tcp.local_addr().expect("an address").to_string();
    for (variable, check, wrong) in [
        ("CLOUDCHAMBER_UDP__LISTEN", "udp answers", &udp),
        ("CLOUDCHAMBER_TCP__LISTEN", "tcp answers", &tcp),
        ("CLOUDCHAMBER_HTTP__LISTEN", "http answers", &tcp),
    ] {
        let mut environment = ports.environment();
        environment.push((variable, wrong));
        let (is_content, findings) = examine(folder.data(), &environment);
        assert!(!is_content, "{findings:#?}");
        let failed: Vec<_> = findings.iter().filter(|finding| finding.level == "failure").collect();
        assert_eq!(failed.len(), 1, "{failed:#?}");
        assert_eq!(failed[0].check, check);
        assert!(failed[0].text.contains(wrong.as_str()), "{failed:#?}");
    }
}

#[test]
fn a_port_that_another_program_has_is_found_before_the_server_starts() {
    let folder = Folder::new();
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (is_content, findings) = examine(folder.data(), &[("CLOUDCHAMBER_UDP__LISTEN", &address)]);
    assert!(!is_content);
    let finding = find(&findings, "udp.listen");
    assert!(finding.level == "failure" && finding.text.contains(&address), "{finding:?}");
}

#[test]
fn keys_that_others_may_read_are_found() {
    let folder = Folder::new();
    let path = folder.path("keys/server-rsa.pem");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let (is_content, findings) = examine(folder.data(), &[]);
    assert!(!is_content);
    assert!(find(&findings, "server keys").text.contains("chmod 600"), "{findings:#?}");
}

#[test]
fn a_server_tells_at_its_start_of_private_keys_that_others_may_read() {
    let folder = Folder::new();
    for (mode, is_told) in [(0o640, true), (0o600, false)] {
        let path = folder.path("keys/server-ec.pem");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
        let mut server = cloudchamber(&["serve", "--ready-json", "--data", folder.data()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        BufReader::new(server.stdout.take().expect("piped"))
            .read_line(&mut String::new())
            .expect("ready");
        server.kill().expect("killed");
        let errors = server.wait_with_output().expect("ended").stderr;
        let errors = String::from_utf8_lossy(&errors);
        assert_eq!(errors.contains("chmod 600") && errors.contains("server-ec.pem"), is_told);
    }
}

#[test]
fn session_keys_that_others_may_read_are_found() {
    let folder = Folder::new();
    let data = folder.path(".");
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("changed");
    };
    set(&data, 0o755);
    assert_eq!(find(&examine(folder.data(), &[]).1, "secrets").level, "ok");
    set(&folder.path("store.sqlite"), 0o644);
    let (is_content, findings) = examine(folder.data(), &[]);
    assert!(!is_content);
    assert!(find(&findings, "secrets").text.contains("chmod -R go="), "{findings:#?}");
    set(&data, 0o700);
    assert_eq!(find(&examine(folder.data(), &[]).1, "secrets").level, "ok");
}

#[test]
fn bad_settings_are_the_one_finding() {
    let folder = Folder::new();
    let (is_content, findings) = examine(folder.data(), &[("CLOUDCHAMBER_UDP__LISEN", "1")]);
    assert!(!is_content);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert!(find(&findings, "settings").text.contains("lisen"));
}

#[test]
fn people_get_one_line_for_each_check() {
    let folder = Folder::new();
    let output = cloudchamber(&["doctor", "--data", folder.data()]).output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.lines().count() >= 8, "{text}");
    let marks = ["ok ", "warning ", "FAILED "];
    assert!(text.lines().all(|line| marks.iter().any(|mark| line.starts_with(mark))), "{text}");
}
