// One device: what it does, what it can do, how it is.

import { get, put, remove, sleep } from "./api.js";
import { go, refresh } from "./app.js";
import { functionsCard, variablesCard } from "./calls.js";
import { eventLog } from "./events.js";
import { attempt, card, dialog, empty, facts, format, heading, html, nothing, onlineMark, render, tell, time } from "./ui.js";
import { updateCard } from "./update.js";
import { usageChart, vitalsCard } from "./vitals.js";

const READ_EACH_MS = 10_000;
/** The server counts handshakes and resumes of one device up to here. */
const COUNTED_MAX = 255;
/** While the device is updated. */
const READ_SOON_MS = 1_500;

/** Shows the device of the path. */
export async function open(root, { params: [id], signal }) {
  let told;
  try {
    told = await get(`/console/devices/${id}`, signal);
  } catch (why) {
    if (why.status !== 404) throw why;
    render(empty("No such device", "It does not exist, or it belongs to another account.",
      html`<a class="button" href="/devices">All devices</a>`), root);
    return;
  }
  const base = told.owned ? `/v1/devices/${id}` : `/v1/products/${told.device.product_id}/devices/${id}`;
  const draw = () => signal.aborted || render(page(), root);
  const read = async () => {
    told = await get(`/console/devices/${id}`, signal);
    update.device(told.device);
    draw();
    redraw(told.days);
  };
  let redraw = () => {};
  const log = eventLog({ path: `${base}/events`, signal, changed: draw, showsDevice: false, told: (event) => {
    update.event(event);
    if (event.name === "spark/device/diagnostics/update") vitals.event(event).catch(() => {});
    else if (event.name.startsWith("spark/")) read().catch(() => {});
  } });
  const calls = { id, base, signal, changed: draw };
  const functions = functionsCard(calls);
  const variables = variablesCard(calls);
  const update = updateCard({ id, base, changed: draw });
  update.device(told.device);
  const vitals = vitalsCard({ path: base.replace("devices", "diagnostics"), signal });

  const rename = async () => {
    const done = await dialog({
      title: "Rename the device", yes: "Rename",
      fields: [{ name: "name", label: "Name", value: told.device.name ?? "", required: true }],
      work: ({ name }) => put(base, { name }),
    });
    if (done) await read();
  };
  const notes = async () => {
    const done = await dialog({
      title: "Notes", yes: "Save",
      fields: [{ name: "notes", label: "Notes", value: told.device.notes ?? "", rows: 6 }],
      work: ({ notes }) => put(base, { notes }),
    });
    if (done) await read();
  };
  const ping = async () => {
    const answer = await attempt(() => put(`${base}/ping`));
    if (answer) tell(answer.online ? "It answers: online" : "No answer: offline", { bad: !answer.online });
    await read();
  };
  let signals = false;
  const signalOn = async () => {
    const answer = await attempt(() => put(base, { signal: signals ? 0 : 1 }));
    if (answer) signals = !signals;
    draw();
  };
  const unclaim = async () => {
    const done = await dialog({
      title: "Unclaim the device?", yes: "Unclaim", danger: true,
      text: html`<p>${told.device.name ?? id} will belong to nobody. It may go on connecting, but nothing it
        publishes is routed until somebody claims it. Its name and notes are lost.</p>`,
      work: () => remove(base),
    });
    if (!done) return;
    tell("Unclaimed");
    refresh();
    go("/devices");
  };

  const actions = () => html`
    <button type="button" @click=${rename}>Rename</button>
    <button type="button" @click=${ping}>Ping</button>
    <button type="button" aria-pressed=${signals} ?disabled=${!told.device.online} @click=${signalOn}>${signals ? "Stop signaling" : "Signal"}</button>
    ${told.owned ? html`<button type="button" class="danger quiet" @click=${unclaim}>Unclaim</button>` : nothing}`;
  const sub = () => html`<p>${onlineMark(told.device.online)} <span class="id">${id}</span>
    · ${format.platform(told.device.platform_id)}${told.device.safe_mode ? html` · <span class="mark warn">Safe mode</span>` : nothing}</p>`;
  const upTo = (count) => (count < COUNTED_MAX ? format.number(count) : `${COUNTED_MAX} or more`);
  const counted = ({ handshakes, resumes }) => html`${upTo(handshakes)} full, ${upTo(resumes)} ${resumes === 1 ? "resume" : "resumes"}
    <small>since the server started</small>`;
  const carried = () => {
    const sum = (key) => told.days.reduce((sum, day) => sum + day[key], 0);
    return html`${format.bytes(sum("received"))} from it, ${format.bytes(sum("sent"))} to it <small>in 31 days, with headers</small>`;
  };
  const session = () => facts([
    ["Last heard", time(told.device.last_heard)],
    ["Connected by", told.session?.transport ?? "—"],
    ["Device OS", told.device.system_firmware_version ?? "—"],
    ["Handshakes", told.session ? counted(told.session) : "—"],
    ["Last full handshake", time(told.device.last_handshake_at)],
    ["Bytes", carried()],
    ["Address", told.device.last_ip_address ?? "—"],
    ["Claimed", time(told.claimed_at, { form: "date" })],
    ["IMEI", told.device.imei ?? undefined],
    ["ICCID", told.device.iccid ?? undefined],
    ["Events it could not take", told.session?.events_dropped ? format.number(told.session.events_dropped) : undefined],
    ["Notes", html`${told.device.notes ? html`<span class="notes">${format.visible(told.device.notes)}</span> ` : nothing}<button type="button" class="link" @click=${notes}>Edit</button>`],
  ]);
  const keys = () => html`<ul class="lines keys"><li><strong>In force</strong>${told.key ? html` <small>SHA-256</small><span class="id wrap">${told.key}</span>
      <small>${told.key_bound_at_first_use ? "bound when it first connected" : "registered"}</small>` : html` none: the device cannot connect`}</li>
    ${told.former_keys.map((key) => html`<li>Replaced ${time(key.replaced_at, { form: "full" })}<span class="id wrap">${key.sha256}</span></li>`)}</ul>`;
  const page = () => html`
    ${heading(told.device.name ?? "Unnamed device", actions(), sub())}
    <div class="columns"><div>
      ${card("Functions", functions.draw(told.device))}
      ${card("Variables", variables.draw(told.device))}
      ${card("Firmware", update.draw())}
    </div><div>
      ${card("Session", session())}
      ${card("Keys", keys())}
      ${card("Vitals", html`<div id="vitals"></div>`, { actions: html`<button type="button" ?disabled=${!told.device.online} @click=${() => attempt(vitals.ask)}>Ask now</button>` })}
      ${card("Data Operations by day", html`<div class="chart" id="usage"></div>`)}
    </div></div>
    ${card("Live events", log.draw(), { actions: log.state() })}`;

  draw();
  vitals.open(root.querySelector("#vitals"));
  usageChart(root.querySelector("#usage"), told.days, signal).then((change) => (redraw = change));
  while (!signal.aborted) {
    await sleep(update.isUnderWay() ? READ_SOON_MS : READ_EACH_MS, signal);
    if (!document.hidden && !signal.aborted) await read().catch(() => {});
  }
}
