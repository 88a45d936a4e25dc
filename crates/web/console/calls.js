// Functions to call and variables to read.

import { get, post, sleep } from "./api.js";
import { format, html, nothing, time } from "./ui.js";

const HISTORY_MAX = 10;
const CALLS_MAX = 5;
const WATCH_EACH_MS = 5_000;
const VALUES_MAX = 8;

/** The functions of a device, each with its last arguments and what it returned. */
export function functionsCard({ id, base, changed }) {
  const calls = {};
  const ended = {};
  const key = (name) => `arguments ${id} ${name}`;
  const history = (name) => JSON.parse(sessionStorage.getItem(key(name)) ?? "[]");
  const remember = (name, argument) => {
    const kept = [argument, ...history(name).filter((other) => other !== argument)].slice(0, HISTORY_MAX);
    sessionStorage.setItem(key(name), JSON.stringify(kept));
  };
  const call = async (event, name) => {
    event.preventDefault();
    const argument = new FormData(event.target).get("argument");
    remember(name, argument);
    calls[name] = { busy: true };
    changed();
    const at = new Date().toISOString();
    try {
      const { return_value: value } = await post(`${base}/${encodeURIComponent(name)}`, { arg: argument });
      calls[name] = { value, argument, at };
    } catch (why) {
      calls[name] = { problem: why.message, argument, at };
    }
    ended[name] = [calls[name], ...(ended[name] ?? [])].slice(0, CALLS_MAX);
    changed();
  };
  const again = (event, argument) => {
    event.target.closest("form").elements.argument.value = argument;
  };
  const before = (name) => ended[name]?.length > 1 ? html`<small class="before">before: ${ended[name].slice(1).map((call) => html`
    <button type="button" class="link" title="Write this argument again" @click=${(event) => again(event, call.argument)}>${call.argument || "no argument"}</button>
    ${call.problem ? "failed" : `→ ${call.value}`} `)}</small>` : nothing;
  const line = (name, index, online) => html`<li><form class="call" @submit=${(event) => call(event, name)}>
    <span class="name">${format.visible(name)}</span>
    <input name="argument" aria-label=${`Argument of ${name}`} placeholder="Argument" list=${`history-${index}`} autocomplete="off">
    <datalist id=${`history-${index}`}>${history(name).map((argument) => html`<option value=${argument}></option>`)}</datalist>
    <button ?disabled=${!online || calls[name]?.busy}>${calls[name]?.busy ? "Calling…" : "Call"}</button>
    <output role="status">${outcome(calls[name])}</output>${before(name)}</form></li>`;
  return {
    draw: ({ functions, online }) => functions?.length
      ? html`<ul class="lines">${functions.map((name, index) => line(name, index, online))}</ul>`
      : html`<p class="none">${functions ? "Its firmware has no functions." : "It has not told what it can do."}</p>`,
  };
}

function outcome(call) {
  if (!call || call.busy) return nothing;
  if (call.problem) return html`<span class="problem">${call.problem}</span> ${time(call.at, { form: "clock" })}`;
  return html`<strong>${call.value}</strong> ${time(call.at, { form: "clock" })}`;
}

/** The variables of a device; watched ones are read every few seconds. */
export function variablesCard({ base, signal, changed }) {
  const reads = {};
  const read = async (name) => {
    const one = (reads[name] ??= { values: [] });
    one.busy = true;
    changed();
    try {
      const { result } = await get(`${base}/${encodeURIComponent(name)}`, signal);
      one.values = [{ result, at: new Date().toISOString() }, ...one.values].slice(0, VALUES_MAX);
      one.problem = "";
    } catch (why) {
      one.problem = why.message;
    }
    one.busy = false;
    changed();
  };
  const watch = async (name) => {
    const one = (reads[name] ??= { values: [] });
    one.watched = !one.watched;
    while (one.watched && !signal.aborted) {
      if (!one.busy && !document.hidden) await read(name);
      await sleep(WATCH_EACH_MS, signal);
    }
  };
  const shown = (value) => typeof value === "string" ? format.pretty(value) : String(value);
  const line = ([name, kind], online) => {
    const one = reads[name];
    return html`<li class="variable"><span class="name">${format.visible(name)} <small>${kind}</small></span>
      <output role="status">${one?.problem ? html`<span class="problem">${one.problem}</span>` : one?.values.length
        ? html`<strong>${shown(one.values[0].result)}</strong> ${time(one.values[0].at, { form: "clock" })}` : nothing}</output>
      <button type="button" ?disabled=${!online || one?.busy} @click=${() => read(name)}
        aria-label=${`Read ${name}`}>${one?.busy ? "Reading…" : "Read"}</button>
      <button type="button" ?disabled=${!online} aria-pressed=${one?.watched ?? false} aria-label=${`Watch ${name}`}
        @click=${() => watch(name)}>${one?.watched ? "Stop" : "Watch"}</button>
      ${one?.values.length > 1 ? html`<small class="before">before: ${one.values.slice(1).map((value) => shown(value.result)).join(", ")}</small>` : nothing}</li>`;
  };
  return {
    draw: ({ variables, online }) => variables && Object.keys(variables).length
      ? html`<ul class="lines">${Object.entries(variables).map((pair) => line(pair, online))}</ul>
        <p class="hint">Each read of a variable and each call of a function is a Data Operation; a watched variable is read every 5 s.</p>`
      : html`<p class="none">${variables ? "Its firmware has no variables." : "It has not told what it can do."}</p>`,
  };
}
