//! `cloudchamber serve`: the server.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::assemble::Server;
use crate::config::{Config, Overrides};
use crate::demo::{self, Demo};
use crate::output::{say, say_json};

/// How long the end of the process waits for work that hangs, such as a name that is looked up or a file
/// on a dead disk; everything was stopped in order before.
const HUNG_WORK_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Settings file; without it the defaults hold (config/server.toml lists them all).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Data folder; overrides `data.dir`.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Try it out: a throw-away data folder, a first account, and three simulated devices.
    #[arg(long)]
    demo: bool,
    /// Print one line of JSON on standard output when every port is bound.
    #[arg(long)]
    ready_json: bool,
}

pub(crate) fn run(args: Args) -> Result<(), String> {
    let folder = if args.demo && args.data.is_none() { Some(demo::folder()?) } else { None };
    let data = args.data.clone().or_else(|| folder.as_ref().map(|folder| folder.path().to_owned()));
    let overrides = Overrides { data };
    let mut config =
        Config::load(args.config.as_deref(), &overrides).map_err(|why| why.to_string())?;
    config.webhooks.allow_private_targets |= args.demo;
    if !config.node.core_dumps {
        crate::memory::hide()?;
    }
    crate::logging::start(&config.log).map_err(|why| why.to_string())?;
    crate::open_files::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|why| format!("the runtime does not start: {why}"))?;
    let ended = runtime.block_on(serve(&args, &config));
    runtime.shutdown_timeout(HUNG_WORK_WAIT);
    ended
}

async fn serve(args: &Args, config: &Config) -> Result<(), String> {
    // Asked for before the ports are bound, so that a signal in between stops the server in order.
    let mut terminate = signal(SignalKind::terminate()).map_err(|why| why.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|why| why.to_string())?;
    let server = Server::start(config).await?;
    let demo = if args.demo { Some(Demo::start(&server).await?) } else { None };
    announce(args, &server, demo.as_ref());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    if let Some(demo) = demo {
        demo.stop().await;
    }
    server.stop().await;
    Ok(())
}

fn announce(args: &Args, server: &Server, demo: Option<&Demo>) {
    let at = server.addresses();
    tracing::info!(http = %at.http, udp = %at.udp, tcp = %at.tcp, data = %server.data().display(), "ready");
    if args.ready_json {
        say_json(&ready_line(server, demo));
        return;
    }
    match demo {
        Some(demo) => say(&demo.welcome(&at)),
        None => say(&format!(
            "Cloud Chamber serves {} (devices: udp {}, tcp {})",
            at.url(),
            at.udp,
            at.tcp
        )),
    }
}

fn ready_line(server: &Server, demo: Option<&Demo>) -> Value {
    let at = server.addresses();
    let mut line = json!({
        "http": at.http.to_string(),
        "url": at.url(),
        "udp": at.udp.to_string(),
        "tcp": at.tcp.to_string(),
        "data": server.data(),
    });
    if let Some(redirect) = at.redirect {
        line["redirect"] = json!(redirect.to_string());
    }
    if let Some(demo) = demo {
        line["demo"] = demo.as_json();
    }
    line
}
