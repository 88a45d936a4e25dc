//! Many devices updated at once while others publish: what the updates cost the others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use sim::firmware::Binary;
use sim::fleet::{self, FleetConfig, FleetError, KeyPlan, Percentiles, PublishPlan, Summary};

use crate::report::say;
use crate::server::{Folder, Server};
use crate::{Bench, Outcome};

/// Of Device OS 6.2 as it is simulated.
const PLATFORM: u16 = 12;
/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(200);
const BOUNDARY: &str = "----bench";

/// How much of everything.
pub(crate) struct Plan {
    /// That are updated, and as many that publish once a second.
    pub(crate) devices: u32,
    pub(crate) image_bytes: usize,
    /// From the first connection to the measurement.
    pub(crate) settle: Duration,
    /// Of the measurement.
    pub(crate) span: Duration,
}

/// What came of a run.
pub(crate) struct Measured {
    /// From a publish to its acknowledgement.
    pub(crate) latency: Percentiles,
    /// Updates in force at the end.
    pub(crate) applied: u64,
    /// Most bytes of the server's memory beyond those before the measurement.
    pub(crate) grown: f64,
}

impl Bench {
    /// Publishes of some devices while others are updated, against the same without updates.
    pub(crate) fn updates(&mut self) -> Outcome {
        let plan = &self.scale.updates;
        let (quiet, busy) = (run(plan, false)?, run(plan, true)?);
        let made_of = format!(
            "{:.2} ms ÷ {:.2} ms; p50 {:.2} and {:.2}, p99.9 {:.2} and {:.2} ms; {} of {} updates applied after {:.0} s",
            busy.latency.p99,
            quiet.latency.p99,
            busy.latency.p50,
            quiet.latency.p50,
            busy.latency.p999,
            quiet.latency.p999,
            busy.applied,
            plan.devices,
            plan.span.as_secs_f64(),
        );
        let grown = (busy.grown - quiet.grown.max(0.0)) / f64::from(plan.devices);
        let about_memory = format!(
            "{:.1} MB more at most, {:.1} MB without updates; the image has {} bytes",
            busy.grown / 1e6,
            quiet.grown / 1e6,
            plan.image_bytes
        );
        self.report.add("updates_publish_p99", busy.latency.p99 / quiet.latency.p99, made_of);
        self.report.add("update_bytes", grown, about_memory);
        Ok(())
    }
}

/// Two fleets, one of which gets a release when everything is at rest, or nothing.
pub(crate) fn run(plan: &Plan, with_updates: bool) -> Outcome<Measured> {
    let folder = Folder::new()?;
    let fleet = |prefix: &str| FleetConfig {
        devices: plan.devices,
        id_prefix: prefix.into(),
        keys: KeyPlan::PerDevice,
        latency_from: plan.settle,
        ..FleetConfig::new(any(), any(), Vec::new())
    };
    let (publishing, updated) = (fleet("e00fce68a0"), fleet("e00fce68b0"));
    folder.register(fleet::identities(&publishing).chain(fleet::identities(&updated)))?;
    let server = folder.serve()?;
    let address = SocketAddr::V4(server.ports.udp()?);
    let at = |config: FleetConfig| FleetConfig {
        udp: address,
        tcp: server.ports.tcp,
        server_keys: folder.server_keys.clone(),
        ..config
    };
    let publish = PublishPlan { per_s: f64::from(plan.devices), ..PublishPlan::none() };
    let (publishing, updated) = (at(FleetConfig { publish, ..publishing }), at(updated));
    let product = Product::new(&server, &folder.token, &updated, plan.image_bytes)?;
    let begun = Instant::now();
    let (stop, applied) = (AtomicBool::new(false), AtomicU64::new(0));
    let (latency, grown) = std::thread::scope(|scope| -> Outcome<_> {
        let fleets = [(&publishing, false), (&updated, true)].map(|(config, yields)| {
            let (stop, applied) = (&stop, &applied);
            scope.spawn(move || {
                // What devices do that are updated would not take the processor from the server elsewhere.
                if yields {
                    sim::guest::yield_to_others()
                        .map_err(|error| FleetError::Io { what: "chrt".into(), error })?;
                }
                let mut note = |at: &fleet::Progress| {
                    applied.fetch_max(at.counts.updates_applied, Ordering::Relaxed);
                };
                fleet::run(config, stop, &mut note)
            })
        });
        std::thread::sleep(plan.settle);
        let grown = measure(&server, plan, with_updates.then_some(&product), begun);
        stop.store(true, Ordering::Relaxed);
        let mut summaries = Vec::new();
        for fleet in fleets {
            let summary: Summary = fleet.join().map_err(|_| "a fleet panicked")??;
            say(&format!("{} of {} devices online", summary.counts.online, summary.devices));
            summaries.push(summary);
        }
        Ok((summaries.swap_remove(0).latency_ms, grown?))
    })?;
    Ok(Measured { latency, applied: applied.into_inner(), grown })
}

/// Lets the time of the measurement pass; gives by how much the server's memory grew.
fn measure(
    server: &Server,
    plan: &Plan,
    product: Option<&Product>,
    begun: Instant,
) -> Outcome<f64> {
    let before = server.resident()?;
    let mut most = before;
    if let Some(product) = product {
        product.release()?;
    }
    while begun.elapsed() < plan.settle + plan.span {
        std::thread::sleep(LOOK);
        most = most.max(server.resident()?);
    }
    Ok(most - before)
}

/// A product of which a fleet's devices are, and a version of its firmware.
struct Product {
    http: SocketAddr,
    token: String,
    id: u16,
}

impl Product {
    fn new(server: &Server, token: &str, fleet: &FleetConfig, image_bytes: usize) -> Outcome<Self> {
        let (http, token) = (server.ports.http, token.to_owned());
        let mut product = Self { http, token, id: 0 };
        let form = format!("name=Bench&platform_id={PLATFORM}");
        let made = product.ask("POST", "/v1/user/products", FORM, form.as_bytes())?;
        let id = made["product"]["id"].as_u64().ok_or("no product")?;
        product.id = u16::try_from(id)?;
        let ids: Vec<String> =
            fleet::identities(fleet).map(|identity| identity.id.to_string()).collect();
        product.send_file("devices", &[], "ids.txt", ids.join("\n").as_bytes())?;
        let image = Binary::application(PLATFORM, image_bytes).of_product(product.id, 2).build();
        product.send_file("firmware", &[("version", "2")], "app.bin", &image)?;
        Ok(product)
    }

    /// Releases the version to all devices at once.
    fn release(&self) -> Outcome {
        let path = format!("/v1/products/{}/firmware/release", self.id);
        let form = b"version=2&product_default=true&stages=100";
        self.ask("PUT", &path, FORM, form).map(drop)
    }

    fn send_file(&self, what: &str, fields: &[(&str, &str)], name: &str, file: &[u8]) -> Outcome {
        let mut body = Vec::new();
        for (key, value) in fields {
            write!(
                body,
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{key}\"\r\n\r\n{value}\r\n"
            )?;
        }
        write!(
            body,
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n"
        )?;
        body.extend_from_slice(file);
        write!(body, "\r\n--{BOUNDARY}--\r\n")?;
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let path = format!("/v1/products/{}/{what}", self.id);
        self.ask("POST", &path, &kind, &body).map(drop)
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Outcome<Value> {
        let mut stream = TcpStream::connect(self.http)?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.token,
            body.len()
        )?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        if !head.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
            return Err(format!("{method} {path}: {answer}").into());
        }
        Ok(serde_json::from_str(body).unwrap_or_default())
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Until the server's address is known.
fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
