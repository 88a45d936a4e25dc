//! `cloudchamber token`: access tokens.

use crate::admin::{Reply, Request};
use crate::cli::{DataArgs, runtime};
use crate::output::{say, say_json};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make an access token for an account. It is shown once; the server keeps its hash alone.
    Create {
        /// E-mail address of the account.
        email: String,
        /// Seconds until it expires; 0 for never.
        #[arg(long, default_value_t = 7_776_000)]
        expires_in: u64,
        #[command(flatten)]
        data: DataArgs,
    },
}

pub(crate) fn run(command: Command) -> Result<(), String> {
    let Command::Create { email, expires_in, data } = command;
    let request = Request::CreateToken { email, expires_in };
    match runtime()?.block_on(crate::admin::run(&data.data, request))? {
        Reply::Token { access_token, expires_in } if data.json => {
            say_json(&serde_json::json!({"access_token": access_token, "expires_in": expires_in}));
        }
        Reply::Token { access_token, .. } => say(&access_token),
        Reply::Refused(why) => return Err(why),
        other => return Err(format!("unexpected answer: {other:?}")),
    }
    Ok(())
}
