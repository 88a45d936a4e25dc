//! Puts the server together and takes it apart.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metering::Catalogues;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use node::{Handle, Node};
use secure::keys::PublicKey;
use store::Store;
use tokio::net::TcpListener;

use crate::admin::AdminSocket;
use crate::config::{Config, HttpConfig};
use crate::mail::Mailer;
use crate::server_keys::Role;
use crate::{plans, server_keys};

/// How often expired samples of the metrics are dropped.
const UPKEEP: Duration = Duration::from_secs(5);

/// A running server.
#[derive(Debug)]
pub struct Server {
    node: Node,
    handle: Handle,
    http: web::HttpServer,
    updates: node::Updates,
    admin: AdminSocket,
    mailer: Mailer,
    store: Arc<Store>,
    data: PathBuf,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP API.
    pub http: SocketAddr,
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// Plain HTTP that is sent on to HTTPS.
    pub redirect: Option<SocketAddr>,
    /// DTLS devices.
    pub udp: SocketAddr,
    /// TCP devices.
    pub tcp: SocketAddr,
}

impl Addresses {
    /// The base URL of the API.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.http)
    }
}

impl Server {
    /// Opens the data folder, makes missing keys, binds every port. The text of an error says what
    /// to do.
    pub async fn start(config: &Config) -> Result<Self, String> {
        Self::assemble(config, true).await
    }

    /// The same without counting any operation or byte, and without limits: what counting costs is measured against it.
    /// No setting and no command leads here.
    pub async fn start_without_counting(config: &Config) -> Result<Self, String> {
        Self::assemble(config, false).await
    }

    async fn assemble(config: &Config, counts: bool) -> Result<Self, String> {
        let data = config.data.dir.clone();
        let certificate = certificate(&config.http)?;
        // Before anything counts.
        let metrics = start_metrics();
        let store = Store::open_with(&data, &config.updates.files())
            .await
            .map_err(|why| why.to_string())?;
        store.keep_counted(config.metering.window()).map_err(|why| why.to_string())?;
        let store = Arc::new(store);
        let keys = server_keys::load_or_create(&data).map_err(|why| why.to_string())?;
        for file in server_keys::open_files(&data) {
            let file = file.display();
            tracing::warn!(%file, "others may read this private key of the server: chmod 600 it");
        }
        let api = listen("http.listen", config.http.listen).await?;
        let redirect = match config.http.redirect().map_err(|why| why.to_string())? {
            Some(address) => Some(listen("http.redirect_listen", address).await?),
            None => None,
        };
        let listeners = web::Listeners { api, certificate, redirect };
        let (ec, rsa) = (keys.ec().public_key().clone(), keys.rsa().public_key().clone());
        let catalogues = plans::read(config.metering.plans_file())?;
        let node_config = node::NodeConfig { counts, ..node_config(config, catalogues) };
        let node = Node::start(node_config, Arc::clone(&store), keys);
        let (node, handle) = node.await.map_err(|why| why.to_string())?;
        handle.spawn("metrics", keep_up(metrics.clone()));
        let updates =
            node::Updates::start(Arc::clone(&store), handle.clone(), config.updates.to_node()?);
        let updates = updates.await.map_err(|why| why.to_string())?;
        let mut web_config = config.to_web().map_err(|why| why.to_string())?;
        web_config.server_keys = Some(web::ServerKeys {
            udp: server_key(Role::Udp, ec, node.udp_addr()),
            tcp: server_key(Role::Tcp, rsa, node.tcp_addr()),
        });
        let render: web::RenderMetrics = Arc::new(move || metrics.render());
        let state = web::State::new(
            Arc::clone(&store),
            handle.clone(),
            updates.clone(),
            render,
            web_config,
        );
        let http = web::serve(listeners, state).map_err(|why| format!("HTTP: {why}"))?;
        let admin = AdminSocket::open(&data, Arc::clone(&store), handle.clone())
            .map_err(|why| format!("{}: {why}", data.display()))?;
        let mailer = Mailer::start(&config.mail, &data, Arc::clone(&store), &handle).await?;
        Ok(Self { node, handle, http, updates, admin, mailer, store, data })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        Addresses {
            http: self.http.address(),
            is_tls: self.http.is_tls(),
            redirect: self.http.redirect(),
            udp: self.node.udp_addr(),
            tcp: self.node.tcp_addr(),
        }
    }

    /// Its data folder.
    pub fn data(&self) -> &std::path::Path {
        &self.data
    }

    /// What is kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The way to live devices.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Stops in order: no new requests, devices' messages made durable, the folder free.
    pub async fn stop(self) {
        drop(self.admin);
        drop(self.mailer);
        self.updates.stop();
        self.node.stop().await;
        self.http.stop().await;
        if let Err(why) = self.store.close().await {
            tracing::warn!(%why, "the store was not closed in order; the next start folds what is left");
        }
    }
}

fn server_key(role: Role, public: PublicKey, address: SocketAddr) -> web::ServerKey {
    web::ServerKey { public, port: address.port(), dfu_address: role.dfu_address() }
}

/// The certificate in the settings' files, read before anything is made or bound.
fn certificate(config: &HttpConfig) -> Result<Option<web::Certificate>, String> {
    let Some(files) = config.certificate() else { return Ok(None) };
    if server_keys::is_open(&files.key) {
        let file = files.key.display();
        tracing::warn!(%file, "others may read this private key of the server: chmod 600 it");
    }
    let loaded = web::Certificate::load(files);
    loaded.map(Some).map_err(|why| format!("http.tls_certificate and http.tls_key: {why}"))
}

async fn listen(key: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|why| {
        let variable = key.to_uppercase().replace('.', "__");
        format!("{key}: cannot listen on {address}: {why}. Is another server running there? Set {key} (CLOUDCHAMBER_{variable}) to another port, or to port 0 for a free one")
    })
}

fn node_config(config: &Config, catalogues: Catalogues) -> node::NodeConfig {
    let defaults = node::NodeConfig::default();
    let or_default = |value: usize, default: usize| if value == 0 { default } else { value };
    node::NodeConfig {
        udp: config.udp.listen,
        tcp: config.tcp.listen,
        shards: or_default(config.node.shards, defaults.shards),
        pool_threads: or_default(config.node.handshake_threads, defaults.pool_threads),
        pool_queue_max: config.node.handshake_queue,
        socket_buffer_bytes: config.udp.socket_buffer_bytes,
        tcp_connections_max: config.tcp.connections_max,
        tcp_connections_per_address_max: config.tcp.connections_per_address_max,
        trust_on_first_use: config.provisioning.trust_on_first_use,
        publish_burst: config.publish.burst,
        publish_refill_ms: config.publish.refill_ms,
        update_bandwidth: config.ota.bandwidth_bytes,
        catalogue: config.metering.catalogue.clone(),
        catalogues,
        kept: config.metering.kept(),
        ..defaults
    }
}

/// The process has one set of metrics; a second server in it (tests) renders the first's.
fn start_metrics() -> PrometheusHandle {
    static METRICS: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    let handle = METRICS.get_or_init(|| {
        let recorder = with_buckets().build_recorder();
        let handle = recorder.handle();
        let _ = metrics::set_global_recorder(recorder);
        handle
    });
    handle.clone()
}

async fn keep_up(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}

/// Histograms: times from 0.1 ms to 10 s, sizes from 1 to 65,536.
fn with_buckets() -> PrometheusBuilder {
    let times = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
    let sizes = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0];
    let (seconds, entries) =
        (Matcher::Suffix("_seconds".into()), Matcher::Suffix("_entries".into()));
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &times);
    // Refused are empty lists of buckets alone.
    builder
        .and_then(|builder| builder.set_buckets_for_metric(entries, &sizes))
        .unwrap_or_else(|_| PrometheusBuilder::new())
}
