//! `cloudchamber user`: accounts.

use std::io::BufRead;

use serde_json::json;

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
    /// Mail somebody a code to create an account with, where registration is by invitation.
    Invite {
        /// E-mail address of the account to be.
        email: String,
        /// Days for which the code is good.
        #[arg(long, default_value = "7", value_name = "DAYS")]
        days: u32,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List the open invitations.
    Invitations {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Take an invitation back.
    Withdraw {
        /// E-mail address that was invited.
        email: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

pub(crate) fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Add { email, data, .. } => add(email, &data),
        Command::Invite { email, days, data } => invite(email, days, &data),
        Command::Invitations { data } => list(&data),
        Command::Withdraw { email, data } => withdraw(email, &data),
    }
}

fn add(email: String, data: &DataArgs) -> Result<(), String> {
    let password = first_line()?;
    match ask(data, Request::AddUser { email, password })? {
        Reply::User { id, email } if data.json => say_json(&json!({"id": id, "email": email})),
        Reply::User { id, email } => say(&format!("Account {id} for {email} created.")),
        other => return Err(unexpected(other)),
    }
    Ok(())
}

fn invite(email: String, days: u32, data: &DataArgs) -> Result<(), String> {
    match ask(data, Request::Invite { email, days })? {
        Reply::Invited { email, code, expires_at } if data.json => {
            say_json(&json!({"email": email, "code": code, "expires_at": expires_at}));
        }
        Reply::Invited { email, code, expires_at } => say(&format!(
            "Queued for {email}, good once and until {expires_at}, if the setting registration.mode is \
             \"invitation\". A running server mails it; while mail.smtp is empty, it writes the mail to {}:\n{code}",
            data.data.join(crate::mail::FOLDER).display()
        )),
        other => return Err(unexpected(other)),
    }
    Ok(())
}

fn list(data: &DataArgs) -> Result<(), String> {
    match ask(data, Request::ListInvitations)? {
        Reply::Invitations(open) if data.json => say_json(&json!(open)),
        Reply::Invitations(open) if open.is_empty() => say("No invitation is open."),
        Reply::Invitations(open) => {
            for line in open {
                say(&format!("{}  until {}", line.email, line.expires_at));
            }
        }
        other => return Err(unexpected(other)),
    }
    Ok(())
}

fn withdraw(email: String, data: &DataArgs) -> Result<(), String> {
    match ask(data, Request::Withdraw { email })? {
        Reply::Withdrawn { email } if data.json => say_json(&json!({"email": email})),
        Reply::Withdrawn { email } => say(&format!("{email} is not invited any more.")),
        other => return Err(unexpected(other)),
    }
    Ok(())
}

fn ask(data: &DataArgs, request: Request) -> Result<Reply, String> {
    runtime()?.block_on(crate::admin::run(&data.data, request))
}

fn unexpected(reply: Reply) -> String {
    match reply {
        Reply::Refused(why) => why,
        other => format!("unexpected answer: {other:?}"),
    }
}

fn first_line() -> Result<String, String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|why| format!("standard input: {why}"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
