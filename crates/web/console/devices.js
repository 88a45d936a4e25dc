// The list of devices: searched, filtered, sorted and paged by the server.

import { follow, get, sleep } from "./api.js";
import { go } from "./app.js";
import { empty, format, heading, html, nothing, onlineMark, render, signalBars, time } from "./ui.js";

const PAGE = 50;
const COLUMNS = [
  ["online", "Status"],
  ["name", "Name"],
  [null, "Device ID"],
  ["platform_id", "Type"],
  ["product_id", "Product"],
  ["firmware_version", "Firmware", "number"],
  ["system_firmware_version", "Device OS", "number"],
  ["", "Signal"],
  ["last_heard", "Last heard", "number"],
];
const TYPING_MS = 250;
const READ_EACH_MS = 10_000;

/** Shows the list; what is asked for is kept in the address. */
export async function open(root, { query, signal }) {
  const asked = {
    q: query.get("q") ?? "",
    online: query.get("online") ?? "",
    product: query.get("product") ?? "",
    group: query.get("group") ?? "",
    sort: query.get("sort") ?? "last_heard",
    dir: query.get("dir") ?? (query.get("sort") ? "" : "desc"),
    page: Number(query.get("page") ?? 1),
  };
  let list = null;
  let typing;
  let reading = new AbortController();

  const read = async () => {
    reading.abort();
    reading = new AbortController();
    const mine = reading;
    const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== ""));
    try {
      list = await get(`/console/devices?${query}&per_page=${PAGE}`, mine.signal);
    } catch (why) {
      if (why.name === "AbortError") return;
      throw why;
    }
    if (!signal.aborted && mine === reading) draw();
  };
  const change = (values) => {
    Object.assign(asked, { page: 1 }, values);
    const kept = Object.entries(asked).filter(([key, value]) =>
      value !== "" && !(key === "page" && value === 1));
    history.replaceState(null, "", `/devices?${new URLSearchParams(kept)}`);
    read().catch(() => {});
  };
  const type = (event) => {
    clearTimeout(typing);
    const q = event.target.value;
    typing = setTimeout(() => change({ q }), TYPING_MS);
  };
  const sortBy = (key) => {
    const downFirst = key === "last_heard";
    const again = asked.sort === key;
    change({ sort: key, dir: again === (asked.dir === "desc") ? (again ? "" : downFirst ? "desc" : "") : "desc" });
  };

  const head = ([key, label, kind]) => {
    const sorted = asked.sort === key ? (asked.dir === "desc" ? "descending" : "ascending") : nothing;
    return html`<th scope="col" class=${kind ?? ""} aria-sort=${sorted}>${key
      ? html`<button type="button" @click=${() => sortBy(key)}>${label}<span aria-hidden="true">${
          sorted === nothing ? "" : sorted === "descending" ? " ↓" : " ↑"}</span></button>` : label}</th>`;
  };
  const row = (device) => html`<tr>
    <td>${onlineMark(device.online)}</td>
    <th scope="row"><a href=${`/devices/${device.id}`}>${device.name ?? html`<span class="none">Unnamed</span>`}</a></th>
    <td class="id">${device.id}</td>
    <td>${format.platform(device.platform_id)}</td>
    <td>${list.products[device.product_id] ?? html`<span class="none">—</span>`}</td>
    <td class="number">${device.firmware_version ?? "—"}</td>
    <td class="number">${device.system_firmware_version ?? "—"}</td>
    <td>${signalBars(device.signal)}</td>
    <td class="number">${time(device.last_heard)}</td></tr>`;

  const pager = () => {
    const pages = Math.max(1, Math.ceil(list.matching / PAGE));
    const first = list.matching ? (list.page - 1) * PAGE + 1 : 0;
    return html`<nav class="pager" aria-label="Pages">
      <span role="status">${format.number(first)}–${format.number(Math.min(list.page * PAGE, list.matching))}
        of ${format.number(list.matching)}</span>
      <button type="button" ?disabled=${list.page <= 1} @click=${() => change({ page: list.page - 1 })}>Previous</button>
      <button type="button" ?disabled=${list.page >= pages} @click=${() => change({ page: list.page + 1 })}>Next</button></nav>`;
  };
  const filters = () => html`<form class="filters" role="search" @submit=${(event) => event.preventDefault()}>
    <label><span class="hidden">Search</span><input type="search" name="q" placeholder="Search name or device ID"
      .value=${asked.q} @input=${type}></label>
    <label><span class="hidden">Status</span><select name="online" @change=${(event) => change({ online: event.target.value })}>
      ${[["", "Any status"], ["true", "Online"], ["false", "Offline"]].map(([key, label]) =>
        html`<option value=${key} ?selected=${asked.online === key}>${label}</option>`)}</select></label>
    <label><span class="hidden">Product</span><select name="product" @change=${(event) => change({ product: event.target.value, group: "" })}>
      <option value="">Any product</option>${Object.entries(list.products).map(([id, name]) =>
        html`<option value=${id} ?selected=${asked.product === id}>${name}</option>`)}</select></label>
    ${list.groups.length ? html`<label><span class="hidden">Group</span><select name="group" @change=${(event) => change({ group: event.target.value })}>
      <option value="">Any group</option>${list.groups.map((name) => html`<option value=${name} ?selected=${asked.group === name}>${name}</option>`)}</select></label>` : nothing}</form>`;
  const nothingHere = () => list.total === 0
    ? empty("No devices yet", "Register a device's public key, and it may connect.",
        html`<a class="button primary" href="/start">Add a device</a>`)
    : empty("No device matches", "Other words or filters may find it.",
        html`<button type="button" @click=${() => go("/devices")}>Show all devices</button>`);

  const draw = () => render(html`
    ${heading("Devices", html`<a class="button primary" href="/start">Add a device</a>`,
      html`<p>${format.number(list.total)} ${list.total === 1 ? "device" : "devices"}, ${format.number(list.online)} online</p>`)}
    ${list.total ? filters() : nothing}
    ${list.matching === 0 ? nothingHere() : html`<div class="scroll" tabindex="0" role="region" aria-label="List of devices"><table class="devices">
      <thead><tr>${COLUMNS.map(head)}</tr></thead><tbody>${list.devices.map(row)}</tbody></table></div>${pager()}`}`, root);

  await read();
  const soon = { due: false };
  follow("/v1/devices/events/spark/status", {
    signal,
    state: () => {},
    told: () => (soon.due = true),
  });
  for (let waited = 0; !signal.aborted; waited += 1000) {
    await sleep(1000, signal);
    if (document.hidden || signal.aborted || !(soon.due || waited >= READ_EACH_MS)) continue;
    soon.due = false;
    waited = 0;
    await read().catch(() => {});
  }
}
