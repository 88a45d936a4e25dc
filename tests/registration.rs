//! How people get an account, and back into it: by invitation and by mail, with the real binary.

mod support;

use serde_json::Value;
use support::fleet::await_true;
use support::folder::{Folder, OWNER};
use support::{Server, http, run, run_ok};

const NEW: &str = "new@example.org";
const BY_INVITATION: [(&str, &str); 1] = [("CLOUDCHAMBER_REGISTRATION__MODE", "invitation")];

fn mails(folder: &Folder) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(folder.path("mail")) else { return Vec::new() };
    let paths = files.map(|file| file.expect("a file").path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "eml")).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).expect("text")).collect()
}

/// The code in the only mail to this address.
fn mailed_code(folder: &Folder, address: &str) -> String {
    let to = format!("To: {address}");
    let is_to = |mail: &String| mail.lines().any(|line| line == to);
    await_true("a mail", || mails(folder).iter().any(is_to));
    let mail = mails(folder).into_iter().find(is_to).expect("awaited");
    let is_code = |word: &&str| word.len() == 40 && word.chars().all(|c| c.is_ascii_hexdigit());
    mail.split_whitespace().find(is_code).unwrap_or_else(|| panic!("no code in {mail}")).to_owned()
}

fn register(server: &Server, email: &str, code: &str) -> (u16, String) {
    let form = format!("username={email}&password=correct+horse&invitation={code}");
    http("POST", &format!("{}/v1/users", server.url()), "", &form)
}

fn signs_in(server: &Server, email: &str, password: &str) -> bool {
    let form = format!("grant_type=password&username={email}&password={password}");
    http("POST", &format!("{}/oauth/token", server.url()), "", &form).0 == 200
}

fn invite(folder: &Folder, more: &[&str]) -> Value {
    let args = [&["user", "invite", NEW, "--json", "--data", folder.data()], more].concat();
    serde_json::from_str(&run_ok(&args, "")).expect("JSON")
}

fn invited(folder: &Folder) -> Vec<String> {
    let text = run_ok(&["user", "invitations", "--json", "--data", folder.data()], "");
    let lines: Value = serde_json::from_str(&text).expect("JSON");
    let lines = lines.as_array().expect("a list");
    lines.iter().map(|line| line["email"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn an_invitation_is_mailed_and_good_for_one_account_of_its_address() {
    let folder = Folder::new();
    let server = folder.serve_with(&BY_INVITATION);
    let told = invite(&folder, &[]);
    let code = mailed_code(&folder, NEW);
    assert_eq!((told["code"].as_str(), told["email"].as_str()), (Some(code.as_str()), Some(NEW)));
    assert_eq!(invited(&folder), [NEW]);

    let (status, why) = register(&server, "other@example.org", &code);
    assert!(status == 403 && why.contains("invitation"), "{status} {why}");
    assert_eq!(register(&server, NEW, "").0, 403);
    assert_eq!(register(&server, NEW, &"0".repeat(40)).0, 403);
    let short = format!("username={NEW}&password=short&invitation={code}");
    assert_eq!(http("POST", &format!("{}/v1/users", server.url()), "", &short).0, 400);
    let (status, body) = register(&server, "New@Example.org", &code);
    assert_eq!((status, body.as_str()), (200, "{\"ok\":true}"));
    assert!(signs_in(&server, NEW, "correct+horse"));
    assert_eq!(register(&server, NEW, &code).0, 403, "good once");
    assert!(invited(&folder).is_empty());
}

#[test]
fn an_invitation_is_replaced_withdrawn_and_only_good_where_it_is_asked_for() {
    let folder = Folder::new();
    let old = invite(&folder, &["--days", "1"]);
    let new = invite(&folder, &["--days", "365"]);
    assert_eq!(invited(&folder), [NEW]);
    let code = |told: &Value| told["code"].as_str().expect("a text").to_owned();
    {
        let closed = folder.serve();
        assert_eq!(register(&closed, NEW, &code(&new)).0, 403);
    }
    let server = folder.serve_with(&BY_INVITATION);
    assert_eq!(register(&server, NEW, &code(&old)).0, 403);
    let withdrawn = run_ok(&["user", "withdraw", NEW, "--data", folder.data()], "");
    assert!(withdrawn.contains(NEW), "{withdrawn}");
    assert_eq!(register(&server, NEW, &code(&new)).0, 403);
    assert!(invited(&folder).is_empty());
    for (args, named) in [
        (vec!["user", "withdraw", NEW], "no invitation"),
        (vec!["user", "invite", OWNER], "has an account already"),
        (vec!["user", "invite", "nobody"], "no e-mail address"),
        (vec!["user", "invite", NEW, "--days", "0"], "1 to 365 days"),
    ] {
        let output = run(&[&args[..], &["--data", folder.data()]].concat(), "");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && why.contains(named), "{args:?}: {why}");
    }
}

#[test]
fn a_forgotten_password_is_replaced_by_the_code_that_is_mailed() {
    let folder = Folder::new();
    let (server, token) = (folder.serve(), folder.token());
    let url = format!("{}/v1/user/password-reset", server.url());
    for address in [OWNER, "nobody@example.org"] {
        let asked = http("POST", &url, "", &format!("username={address}"));
        assert_eq!(asked, (200, "{\"ok\":true}".to_owned()));
    }
    let code = mailed_code(&folder, OWNER);
    let form = format!("token={code}&password=battery+staple");
    assert_eq!(http("PUT", &url, "", &form).0, 200);
    assert!(signs_in(&server, OWNER, "battery+staple"));
    assert_eq!(http("PUT", &url, "", &form).0, 400, "good once");
    assert_eq!(http("GET", &format!("{}/v1/user", server.url()), &token, "").0, 401);
    assert_eq!(mails(&folder).len(), 1, "nothing is mailed to who has no account");
}
