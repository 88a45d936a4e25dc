// The server, for its operator: what it carries, what it refuses, how its store fares.

import { get, sleep } from "./api.js";
import { card, facts, format, heading, html, nothing, render, time } from "./ui.js";

const READ_EACH_MS = 2_000;
const POINTS_MAX = 150;
const P = "cloudchamber_";

/** Shows the figures, read every two seconds; rates are over the time between two readings. */
export async function open(root, { signal }) {
  const points = [];
  let now = null;
  let before = null;
  let charts = null;

  const draw = () => signal.aborted || render(page(now, before), root);
  const read = async () => {
    const told = await get("/console/server", signal);
    [before, now] = [now, told];
    if (before) {
      points.push({ at: Date.parse(now.at) / 1000, messages: rate(now, before, "messages_received_total"),
        handshakes: rate(now, before, "dtls_handshakes_total") + rate(now, before, "tcp_handshakes_total"), resumes: rate(now, before, "dtls_resumes_total") });
      if (points.length > POINTS_MAX) points.shift();
    }
    draw();
    const times = points.map(({ at }) => at);
    charts?.messages(times, [points.map(({ messages }) => messages)]);
    charts?.handshakes(times, [points.map(({ handshakes }) => handshakes), points.map(({ resumes }) => resumes)]);
  };
  await read();
  const { chart } = await import("./chart.js");
  if (signal.aborted) return;
  charts = {
    messages: chart(root.querySelector("#messages"), { title: "Messages from devices, per second", signal, times: [], series: [{ label: "Messages/s", kind: "line", values: [] }] }),
    handshakes: chart(root.querySelector("#handshakes"), { title: "Handshakes and resumes, per second", signal, times: [],
      series: [{ label: "Full handshakes/s", kind: "line", values: [] }, { label: "Resumes/s", kind: "line", values: [] }] }),
  };
  while (!signal.aborted) {
    await sleep(READ_EACH_MS, signal);
    if (!document.hidden && !signal.aborted) await read().catch(() => {});
  }
}

/** The sum of a metric over all its labels, or over those that match. */
function sum({ metrics }, name, label = "") {
  return Object.entries(metrics).reduce((sum, [key, value]) =>
    (key === P + name || key.startsWith(`${P}${name}{`)) && key.includes(label) ? sum + value : sum, 0);
}

function rate(now, before, name, label) {
  const seconds = (Date.parse(now.at) - Date.parse(before.at)) / 1000;
  return Math.max(0, Math.round(((sum(now, name, label) - sum(before, name, label)) / seconds) * 10) / 10);
}

/** The values of a metric by one label, largest first, without zeros. */
function byLabel({ metrics }, name) {
  return Object.entries(metrics).filter(([key, value]) => key.startsWith(`${P}${name}{`) && value > 0)
    .map(([key, value]) => [key.match(/="([^"]*)"/)?.[1] ?? key, value]).sort((a, b) => b[1] - a[1]);
}

const REFUSED = [
  ["datagrams_dropped_total", "Datagrams dropped"], ["messages_dropped_total", "Messages dropped"], ["dtls_failures_total", "DTLS handshakes failed"],
  ["tcp_failures_total", "TCP connections failed"], ["tcp_connections_refused_total", "TCP connections refused"], ["connections_closed_total", "Connections closed"],
  ["inbox_refused_total", "Inbox full"],
];

function page(now, before) {
  const perSecond = (name, label) => (before ? `${format.number(rate(now, before, name, label))}/s` : "—");
  const total = (name, label) => format.number(sum(now, name, label));
  const commits = sum(now, "commit_seconds_count");
  const commitMs = commits ? (sum(now, "commit_seconds_sum") / commits) * 1000 : null;
  const refused = REFUSED.flatMap(([name, label]) => byLabel(now, name).map(([reason, count]) => [label, reason, count]));
  return html`
    ${heading("Server", html`<span class="mark ${now.degraded ? "bad" : "good"}" role="status">${now.degraded ? "Degraded" : "Healthy"}</span>`,
      html`<p>Version ${now.version} · as of ${time(now.at, { form: "clock" })}</p>`)}
    ${now.degraded ? html`<p class="problem">${now.degraded}</p>` : nothing}
    <div class="counters card">
      ${[["Devices online", total("devices_online")], ["Messages", perSecond("messages_received_total")], ["Publishes", perSecond("publishes_total", "accepted")],
        ["Full handshakes", perSecond("dtls_handshakes_total")], ["Resumes", perSecond("dtls_resumes_total")], ["Event streams", total("streams")]]
        .map(([label, value]) => html`<div><strong>${value}</strong><span>${label}</span></div>`)}</div>
    <div class="columns"><div>
      ${card("Messages", html`<div class="chart" id="messages"></div>`)}
      ${card("Store", facts([
        ["Writes", now.degraded ? now.degraded : "taken"],
        ["Commits", `${format.number(commits)}, ${perSecond("commit_seconds_count")}`],
        ["A commit takes, on average", commitMs == null ? "—" : `${commitMs.toFixed(1)} ms`],
        ["Records that wait", total("records_waiting")],
        ["Commits refused", total("commits_failed_total")],
        ["Refused for lack of it", total("store_refusals_total")],
      ]))}
      ${card("Bus", html`<p class="hint">One server, one bus inside it: events go from shard to stream without a broker.</p>
        ${facts([["Open streams", total("streams")], ["Events that readers were too slow for", total("stream_events_missed_total")]])}`)}
    </div><div>
      ${card("Handshakes and resumes", html`<div class="chart" id="handshakes"></div>`)}
      ${card("Sessions", facts([
        ["Devices known to the shards", total("devices")],
        ["Online", total("devices_online")],
        ["Sessions begun", total("sessions_opened_total")],
        ["Full DTLS handshakes", total("dtls_handshakes_total")],
        ["Resumes without one", total("dtls_resumes_total")],
        ["RSA handshakes over TCP", total("tcp_handshakes_total")],
        ["TCP connections", total("tcp_connections")],
        ["Key jobs that wait", total("pool_waiting")],
      ]))}
      ${card("Calls and deliveries", facts([...byLabel(now, "calls_total").map(([outcome, count]) => [`Calls: ${outcome.replaceAll("_", " ")}`, format.number(count)]),
        ...byLabel(now, "deliveries_total").map(([outcome, count]) => [`Deliveries: ${outcome.replaceAll("_", " ")}`, format.number(count)]),
        ...byLabel(now, "publishes_total").map(([outcome, count]) => [`Publishes: ${outcome.replaceAll("_", " ")}`, format.number(count)])]))}
    </div></div>
    ${card("Refused, by reason", refused.length ? html`<div class="scroll" tabindex="0" role="region" aria-label="Refused, by reason"><table><thead><tr><th scope="col">What</th><th scope="col">Reason</th>
      <th scope="col" class="number">Since the start</th></tr></thead><tbody>${refused.map(([label, reason, count]) => html`<tr><td>${label}</td><td>${reason.replaceAll("_", " ")}</td>
      <td class="number">${format.number(count)}</td></tr>`)}</tbody></table></div>` : html`<p class="none">Nothing was refused since the start.</p>`)}
    <p class="hint">All figures, for your monitoring: <a href="/metrics" data-plain>/metrics</a></p>`;
}
