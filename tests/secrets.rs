//! What is left of secrets in the memory of a server, looked at from outside.

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;

use support::folder::{Folder, OWNER, PASSWORD};
use support::{Server, http};

/// So that a user other than root can look, too.
const OPEN: [(&str, &str); 1] = [("CLOUDCHAMBER_NODE__CORE_DUMPS", "true")];
/// What stands in front of a password in a request.
const FIELD: &[u8] = b"&password=";

/// Wherever these bytes stand in the process's memory: what stands in front of them.
fn in_front_of(server: &Server, wanted: &[u8]) -> Vec<Vec<u8>> {
    let pid = server.pid();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("a process of the same user");
    let ranges = maps.lines().filter(|line| line.contains(" rw")).filter_map(|line| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
    });
    let mut found = Vec::new();
    for (start, end) in ranges {
        let mut bytes = vec![0; usize::try_from(end - start).expect("64 bits")];
        // What is reserved and was never used cannot be read.
        if memory.read_exact_at(&mut bytes, start).is_err() {
            continue;
        }
        let places = bytes.windows(wanted.len()).enumerate();
        for (at, _) in places.filter(|(_, window)| *window == wanted) {
            found.push(bytes[at.saturating_sub(FIELD.len())..at].to_vec());
        }
    }
    found
}

/// One sign-in that is refused and one that is not.
fn sign_in(server: &Server, password: &str) {
    let credentials = "grant_type=password&client_id=particle&client_secret=particle";
    let encoded = password.replace(' ', "+");
    let form = format!("{credentials}&username={OWNER}&password={encoded}");
    let (status, _) = http("POST", &format!("{}/oauth/token", server.url()), "", &form);
    assert_eq!(status, if password == PASSWORD { 200 } else { 400 });
}

#[test]
fn of_a_password_nothing_is_left_but_the_request_as_it_came() {
    let folder = Folder::new();
    let server = folder.serve_with(&OPEN);
    for password in ["a-guess-that-stands-nowhere-else", PASSWORD] {
        sign_in(&server, password);
        // The search finds what is there.
        assert!(!in_front_of(&server, OWNER.as_bytes()).is_empty());
        for before in in_front_of(&server, password.as_bytes()) {
            assert_eq!(before, FIELD, "{}", String::from_utf8_lossy(&before));
        }
    }
}

#[test]
fn a_server_leaves_no_image_of_itself_unless_it_is_told_to() {
    let limit = |server: &Server| {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid()));
        let limits = limits.expect("a process");
        let line = limits.lines().find(|line| line.starts_with("Max core file size"));
        let limits: Vec<_> = line.expect("a limit").split_ascii_whitespace().collect();
        limits[4..6].iter().map(|limit| (*limit).to_owned()).collect::<Vec<_>>()
    };
    let folder = Folder::new();
    let hidden = folder.serve();
    // The hard one is nobody's habit.
    assert_eq!(limit(&hidden), ["0", "0"]);
    assert!(hidden.stop().success());
    // Whatever the limit is here, the server does not change it.
    let own = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let own = own.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    let open = folder.serve_with(&OPEN);
    assert_eq!(limit(&open), own.split_ascii_whitespace().collect::<Vec<_>>()[4..6]);
}
