// The live event stream, and the form that publishes.

import { follow, post } from "./api.js";
import { attempt, card, copy, empty, field, format, heading, html, nothing, render, streamState, tell, time } from "./ui.js";

const KEPT_MAX = 500;

/** The list of events of a stream, with its tools; used here and on a device's page. */
export function eventLog({ path, signal, changed, told = () => {}, showsDevice = true }) {
  const log = { events: [], shown: null, filter: "", paused: false, missed: "", state: { word: "" }, opened: null };
  const draw = throttled(changed);
  follow(path, {
    signal,
    state: (word, detail) => {
      if (word === "missed") log.missed = detail;
      else log.state = { word, detail };
      draw();
    },
    told: (event) => {
      told(event);
      log.events.unshift(event);
      if (log.events.length > KEPT_MAX) log.events.length = KEPT_MAX;
      if (!log.paused) draw();
    },
  });
  const matching = () => {
    const words = log.filter.toLowerCase().split(" ").filter(Boolean);
    const all = log.paused ? log.shown : log.events;
    return all.filter((event) => words.every((word) =>
      `${event.name} ${event.data ?? ""} ${event.coreid}`.toLowerCase().includes(word)));
  };
  const pause = () => {
    log.paused = !log.paused;
    log.shown = log.paused ? [...log.events] : null;
    changed();
  };
  const save = () => {
    const lines = matching().map((event) => JSON.stringify(event)).join("\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines, "\n"], { type: "application/x-ndjson" }));
    link.download = `events-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.ndjson`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const row = (event) => html`<tr class=${log.opened === event ? "opened" : ""}>
    <td class="time">${time(event.published_at, { form: "clock" })}</td>
    <th scope="row"><button type="button" class="link" aria-expanded=${log.opened === event}
      @click=${() => ((log.opened = log.opened === event ? null : event), changed())}>${format.visible(event.name)}</button></th>
    <td class="data">${event.data == null ? html`<span class="none">no data</span>` : format.visible(event.data)}</td>
    ${showsDevice ? html`<td class="id">${device(event.coreid)}</td>` : nothing}</tr>
    ${log.opened === event ? html`<tr class="detail"><td colspan="4"><pre>${format.pretty(event.data)}</pre>
      <p>${time(event.published_at, { form: "full" })}${event.id ? ` · id ${event.id}` : ""} · lives ${event.ttl} s
      <button type="button" class="quiet" @click=${() => copy(event.data ?? "")}>Copy data</button></p></td></tr>` : nothing}`;
  const device = (id) => /^[0-9a-f]{24}$/.test(id) ? html`<a href=${`/devices/${id}`}>${id}</a>` : id;

  return {
    state: () => streamState(log.state),
    draw: () => {
      const events = matching();
      return html`<div class="filters">
          <label><span class="hidden">Filter events</span><input type="search" placeholder="Filter by name, data or device"
            .value=${log.filter} @input=${(event) => ((log.filter = event.target.value), changed())}></label>
          <button type="button" aria-pressed=${log.paused} @click=${pause}>${log.paused ? "Go on" : "Pause"}</button>
          <button type="button" ?disabled=${!events.length} @click=${save}>Export</button>
          <button type="button" ?disabled=${!log.events.length} @click=${() => ((log.events = []), (log.shown = []), changed())}>Clear</button>
        </div>
        ${log.missed ? html`<p class="note" role="status">Missed: ${log.missed}</p>` : nothing}
        ${events.length ? html`<div class="scroll" tabindex="0" role="region" aria-label="Events"><table class="events">
          <thead><tr><th scope="col" class="time">Time</th><th scope="col">Event</th><th scope="col">Data</th>
            ${showsDevice ? html`<th scope="col">Published by</th>` : nothing}</tr></thead>
          <tbody>${events.slice(0, 200).map(row)}</tbody></table></div>`
          : empty(log.events.length ? "No event matches" : "Waiting for events",
              log.events.length ? "Other words may find some." : "They appear here the moment they are published.")}`;
    },
  };
}

/** At most ten drawings a second, the last one always. */
function throttled(draw) {
  let timer = null;
  return () => (timer ??= setTimeout(() => ((timer = null), draw()), 100));
}

/** The form that publishes an event. */
export const publishForm = () => html`<form class="inline" @submit=${publish}>
  ${field({ name: "name", label: "Event name", required: true })}
  ${field({ name: "data", label: "Data" })}
  <button class="primary">Publish</button></form>`;

async function publish(event) {
  event.preventDefault();
  const { name, data } = Object.fromEntries(new FormData(event.target));
  const done = await attempt(() => post("/v1/devices/events", { name, data, private: true }));
  if (done) tell(`Published ${name}`);
}

/** Shows the account's stream. */
export function open(root, { query, signal }) {
  const prefix = query.get("prefix") ?? "";
  const log = eventLog({
    path: `/v1/devices/events/${encodeURIComponent(prefix)}`, signal, changed: () => draw(),
  });
  const draw = () => signal.aborted || render(html`
    ${heading("Events", log.state(), html`<p>What devices and the API publish, as it happens</p>`)}
    ${card("Publish an event", publishForm())}
    ${card("Live events", log.draw())}`, root);
  draw();
}
