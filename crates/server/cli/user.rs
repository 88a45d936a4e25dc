//! `cloudchamber user`: accounts.

use std::io::BufRead;

use crate::admin::{Reply, Request};
use crate::cli::{DataArgs, runtime};
use crate::output::{say, say_json};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Create an account; its password is the first line of standard input.
    Add {
        /// E-mail address of the account.
        email: String,
        /// Read the password from standard input (a password on the command line would be seen by
        /// everybody on the machine).
        #[arg(long, required = true)]
        password_stdin: bool,
        #[command(flatten)]
        data: DataArgs,
    },
}

pub(crate) fn run(command: Command) -> Result<(), String> {
    let Command::Add { email, data, .. } = command;
    let password = first_line()?;
    let request = Request::AddUser { email, password };
    match runtime()?.block_on(crate::admin::run(&data.data, request))? {
        Reply::User { id, email } if data.json => {
            say_json(&serde_json::json!({"id": id, "email": email}));
        }
        Reply::User { id, email } => say(&format!("Account {id} for {email} created.")),
        Reply::Refused(why) => return Err(why),
        other => return Err(format!("unexpected answer: {other:?}")),
    }
    Ok(())
}

fn first_line() -> Result<String, String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|why| format!("standard input: {why}"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
