// Integrations: webhooks with their counters, made from templates.

import { get, post, put, remove, sleep } from "./api.js";
import { go } from "./app.js";
import { card, dialog, empty, facts, field, format, heading, html, nothing, render, tell, time } from "./ui.js";

const READ_EACH_MS = 5_000;
const DELIVERIES_SHOWN = 25;
const OUTCOMES = { success: "Succeeded", error: "Failed", skipped: "Skipped", discarded: "Discarded" };
const TEMPLATES = {
  json: ["Webhook with JSON", { requestType: "POST", json: { event: "{{{PARTICLE_EVENT_NAME}}}", data: "{{{PARTICLE_EVENT_VALUE}}}", device: "{{{PARTICLE_DEVICE_ID}}}", at: "{{{PARTICLE_PUBLISHED_AT}}}" }, noDefaults: true }],
  form: ["Webhook with a form", { requestType: "POST" }],
  get: ["Request with a query", { requestType: "GET", query: { value: "{{{PARTICLE_EVENT_VALUE}}}" }, noDefaults: true }],
  influx: ["InfluxDB", { requestType: "POST", headers: { Authorization: "Token YOUR-TOKEN" }, body: "{{{PARTICLE_EVENT_NAME}}},device={{{PARTICLE_DEVICE_ID}}} value={{{PARTICLE_EVENT_VALUE}}}", noDefaults: true }],
  slack: ["Slack-like chat", { requestType: "POST", json: { text: "{{{PARTICLE_EVENT_NAME}}}: {{{PARTICLE_EVENT_VALUE}}}" }, noDefaults: true }],
};
const OURS = ["id", "created_at", "updated_at", "hookUrl", "logs", "errors", "counters", "product_id", "ok"];

const base = (hook) => `/v1${hook.product_id ? `/products/${hook.product_id}` : ""}/integrations`;
const sum = (hook, key) => hook.counters.reduce((sum, day) => sum + (day[key] ?? 0), 0);
const title = (hook) => hook.name || hook.event;

/** Shows the list, or with an id in the path one integration. */
export async function open(root, { params: [id], signal }) {
  let hooks = [];
  const history = { deliveries: [], outcome: "" };
  const read = async () => {
    ({ integrations: hooks } = await get("/console/integrations", signal));
    const one = id && hooks.find((hook) => hook.id === id);
    if (one) {
      const query = new URLSearchParams({ limit: DELIVERIES_SHOWN, ...(history.outcome ? { outcome: history.outcome } : {}) });
      ({ deliveries: history.deliveries } = await get(`${base(one)}/${id}/deliveries?${query}`, signal));
    }
    if (!signal.aborted) draw();
  };
  const draw = () => {
    const one = id && hooks.find((hook) => hook.id === id);
    if (id && !one) return render(empty("No such integration", "It may have been deleted.", html`<a class="button" href="/integrations">All integrations</a>`), root);
    render(one ? detail(one, history, read) : list(hooks), root);
  };
  await read();
  while (!signal.aborted) {
    await sleep(READ_EACH_MS, signal);
    if (!document.hidden && !signal.aborted && !document.querySelector("dialog")) await read().catch(() => {});
  }
}

const list = (hooks) => html`
  ${heading("Integrations", html`<button type="button" class="primary" @click=${create}>New integration</button>`,
    html`<p>Requests to other servers, caused by events</p>`)}
  ${hooks.length ? html`<div class="scroll" tabindex="0" role="region" aria-label="Integrations"><table>
    <thead><tr><th scope="col">Name</th><th scope="col">Event</th><th scope="col">Target</th><th scope="col">State</th>
      <th scope="col" class="number">Succeeded</th><th scope="col" class="number">Failed</th><th scope="col" class="number">Skipped</th><th scope="col" class="number">Discarded</th></tr></thead>
    <tbody>${hooks.map((hook) => html`<tr><th scope="row"><a href=${`/integrations/${hook.id}`}>${title(hook)}</a></th>
      <td>${format.visible(hook.event)}</td><td class="wrap">${format.visible(hook.url)}</td><td>${state(hook)}</td>
      ${["success", "error", "sleep", "discarded"].map((key) => html`<td class="number">${format.number(sum(hook, key))}</td>`)}</tr>`)}</tbody></table></div>
    <p class="hint">Counted over the last 30 days</p>`
    : empty("No integrations yet", "A webhook sends each event with a name you choose to a server you choose.",
        html`<button type="button" class="primary" @click=${create}>New integration</button>`)}`;

function state(hook) {
  if (hook.disabled) return html`<span class="mark off">Disabled</span>`;
  const [last] = hook.logs;
  if (!last) return html`<span class="mark off">Not used yet</span>`;
  return hook.errors[0] && JSON.stringify(hook.errors[0]) === JSON.stringify(last)
    ? html`<span class="mark bad">Last one failed</span>` : html`<span class="mark good">Works</span>`;
}

async function create() {
  const chosen = await dialog({
    title: "New integration", yes: "Go on", text: html`<p>Begin with a template; everything can be changed later.</p>`,
    fields: [{ name: "template", label: "Template", options: Object.entries(TEMPLATES).map(([key, [label]]) => [key, label]) }],
  });
  if (!chosen) return;
  const [label, definition] = TEMPLATES[chosen.template];
  const made = await dialog({
    title: label, yes: "Create",
    fields: [
      { name: "event", label: "Event name begins with", required: true },
      { name: "url", label: "URL", type: "url", required: true, placeholder: "https://" },
      { name: "name", label: "Name", hint: "For this list alone" },
      { name: "more", label: "Everything else, as JSON", rows: 9, value: JSON.stringify(definition, null, 2) },
    ],
    work: ({ event, url, name, more }) => post("/v1/integrations", { integration_type: "Webhook", ...parse(more), event, url, ...(name ? { name } : {}) }),
  });
  if (made) go(`/integrations/${made.id}`);
}

function parse(text) {
  try {
    return JSON.parse(text || "{}");
  } catch (why) {
    throw new Error(`This is no JSON: ${why.message}`);
  }
}

function detail(hook, history, read) {
  const path = `${base(hook)}/${hook.id}`;
  const definition = Object.fromEntries(Object.entries(hook).filter(([key, value]) => !OURS.includes(key) && value !== null));
  const edit = async () => {
    const done = await dialog({
      title: "Edit the integration", yes: "Save", fields: [{ name: "text", label: "Definition, as JSON", rows: 16, value: JSON.stringify(definition, null, 2) }],
      work: ({ text }) => put(path, parse(text)),
    });
    if (done) await read();
  };
  const toggle = async () => {
    await put(path, { ...definition, disabled: !hook.disabled });
    await read();
  };
  const test = async () => {
    const done = await dialog({
      title: "Test the integration", yes: "Send", text: html`<p>Sends one request as if the event had been published.</p>`,
      fields: [{ name: "data", label: "Event data", rows: 4 }, { name: "device_id", label: "Device ID", hint: "May stay empty: then the API published it" }],
      work: ({ data, device_id }) => post(`${path}/test`, { data, ...(device_id ? { device_id } : {}) }),
    });
    if (!done) return;
    tell("Sent");
    await sleep(700);
    await read();
  };
  const discard = async () => {
    const done = await dialog({
      title: "Delete the integration?", yes: "Delete", danger: true, text: html`<p>${title(hook)} and its counters go for good.</p>`,
      work: () => remove(path),
    });
    if (done) go("/integrations");
  };
  const again = async (delivery) => {
    const done = await dialog({
      title: "Send it again?", yes: "Send", text: html`<p>The event as it was, to the integration as it is now.</p>`,
      work: () => post(`${path}/deliveries/${delivery.id}/replay`),
    });
    if (!done) return;
    tell("Sent");
    await sleep(700);
    await read();
  };
  const choose = (event) => {
    history.outcome = event.target.value;
    read();
  };
  const delivery = (one) => html`<details class="log"><summary><span class="mark ${one.outcome === "success" ? "good" : "bad"}">${OUTCOMES[one.outcome] ?? one.outcome}</span>
    ${time(one.time, { form: "full" })} ${format.visible(one.event)} <span class="id">${one.coreid}</span></summary>
    <pre>${format.pretty(JSON.stringify(one.details))}</pre><button type="button" @click=${() => again(one)}>Send again</button></details>`;
  const request = (log) => html`<details class="log"><summary>${summary(log)}</summary><pre>${format.pretty(JSON.stringify(log))}</pre></details>`;
  return html`
    ${heading(title(hook), html`<button type="button" class="primary" @click=${test}>Test</button>
      <button type="button" @click=${edit}>Edit</button><button type="button" @click=${toggle}>${hook.disabled ? "Enable" : "Disable"}</button>
      <button type="button" class="danger quiet" @click=${discard}>Delete</button>`,
      html`<p>${state(hook)} · <span class="id">${hook.id}</span></p>`)}
    <div class="columns"><div>
      ${card("Definition", html`${facts([["Event begins with", format.visible(hook.event)], ["URL", format.visible(hook.url)], ["Method", hook.requestType ?? "POST"],
        ["Product", hook.product_id], ["Device", hook.deviceID], ["Created", time(hook.created_at, { form: "full" })]])}
        <details><summary>As JSON</summary><pre class="wrap">${format.visible(JSON.stringify(definition, null, 2))}</pre></details>`)}
      ${card("Counters", html`<div class="counters">${[["success", "Succeeded"], ["error", "Failed"], ["sleep", "Skipped"], ["discarded", "Discarded"]].map(([key, label]) =>
        html`<div><strong data-counter=${key}>${format.number(sum(hook, key))}</strong><span>${label}</span></div>`)}</div>
        <p class="hint">Of the last 30 days. Skipped: the target failed too often and rests. Discarded: given up after all attempts.</p>`)}
    </div><div>
      ${card("Last errors", hook.errors.length ? hook.errors.map(request) : html`<p class="none">None.</p>`)}
    </div></div>
    ${card("Deliveries", html`<label><span class="hidden">Outcome</span><select @change=${choose}><option value="">Any outcome</option>${Object.entries(OUTCOMES).map(([key, label]) =>
      html`<option value=${key} ?selected=${history.outcome === key}>${label}</option>`)}</select></label>
      ${history.deliveries.length ? history.deliveries.map(delivery) : html`<p class="none">None. Deliveries are kept for 30 days.</p>`}`)}`;
}

function summary(log) {
  const at = log.at ?? log.created_at ?? log.time ?? log.date;
  const status = log.response?.status ?? log.status ?? log.response?.statusCode ?? log.error ?? log.type ?? "";
  return html`${at ? time(at, { form: "full" }) : nothing} ${format.visible(log.event_name ?? log.event?.name ?? log.event ?? "")} ${format.visible(status)}`;
}
