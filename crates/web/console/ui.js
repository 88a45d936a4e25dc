// What pages are made of. Texts go through lit-html, which never reads them as HTML.

import { html, nothing, render, svg } from "./lit-html.js";
import * as format from "./format.js";

export { html, nothing, render, svg, format };

/** A moment: how long ago it was, or when; in the reader's zone, with UTC on hover. */
export function time(iso, { form = "ago" } = {}) {
  if (!iso) return html`<span class="none">never</span>`;
  const shown = { ago: format.ago, clock: format.clockTime, full: format.fullTime, date: format.date };
  const title = form === "full" ? format.utc(iso) : `${format.fullTime(iso)} · ${format.utc(iso)}`;
  return html`<time datetime=${iso} title=${title} data-form=${form} .textContent=${shown[form](iso)}></time>`;
}

/** Whether a device is online, in a word and a dot. */
export const onlineMark = (online) =>
  html`<span class="mark ${online ? "good" : "off"}">${online ? "Online" : "Offline"}</span>`;

/** Four bars. */
export function signalBars(percent) {
  if (percent == null) return html`<span class="none" title="No vitals tell it">—</span>`;
  const shown = Math.round(percent);
  const bars = [0, 1, 2, 3].map((bar) => svg`<rect x=${bar * 5} y=${9 - bar * 3} width="3.5"
    height=${3 + bar * 3} rx="1" class=${percent > bar * 25 ? "lit" : "dim"}></rect>`);
  return html`<svg class="bars" viewBox="0 0 19 12" width="19" height="12" role="img"
    aria-label="Signal ${shown} %"><title>Signal ${shown} %</title>${bars}</svg>`;
}

/** A page's first lines. */
export const heading = (title, actions = nothing, below = nothing) =>
  html`<header class="heading"><div><h1>${title}</h1>${below}</div><div class="actions">${actions}</div></header>`;

/** A box with a title. */
export const card = (title, content, { actions = nothing, id } = {}) =>
  html`<section class="card" aria-labelledby=${`card-${id ?? slug(title)}`}>
    <header><h2 id=${`card-${id ?? slug(title)}`}>${title}</h2><div class="actions">${actions}</div></header>
    ${content}</section>`;

const slug = (title) => title.toLowerCase().replace(/[^a-z]+/g, "-");

/** Nothing here yet, and what to do about it. */
export const empty = (title, text, action = nothing) =>
  html`<div class="empty"><h2>${title}</h2><p>${text}</p>${action}</div>`;

/** Names and values. */
export const facts = (pairs) => html`<dl class="facts">${pairs
  .filter(([, value]) => value !== undefined)
  .map(([name, value]) => html`<div><dt>${name}</dt><dd>${value ?? "—"}</dd></div>`)}</dl>`;

/** Lines to copy into a terminal. */
export const command = (text) => html`<div class="command"><pre tabindex="0">${text}</pre>
  <button type="button" class="quiet" @click=${() => copy(text)}>Copy</button></div>`;

/** Puts a text into the clipboard. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    tell("Copied");
  } catch {
    tell("This browser does not let a page copy here: mark the text and copy it yourself");
  }
}

/** Says something for some seconds. */
export function tell(text, { bad = false } = {}) {
  const toast = document.createElement("p");
  toast.className = bad ? "toast bad" : "toast";
  toast.textContent = text;
  document.getElementById("toasts").append(toast);
  setTimeout(() => toast.remove(), bad ? 10_000 : 4_000);
}

/** Does something, and says what went wrong. Gives what it gave, or undefined. */
export async function attempt(work) {
  try {
    return await work();
  } catch (why) {
    if (why.name !== "AbortError") tell(why.message, { bad: true });
    return undefined;
  }
}

/**
 * Asks in a dialog. `fields` are `{name, label, value, type, hint, options, checks, rows, required, pattern}`;
 * with `checks` (those that are ticked) any of the options can be chosen. Gives the values, or what `work`
 * gave for them, or null when it was left.
 */
export function dialog({ title, text = nothing, fields = [], yes, danger = false, work }) {
  const element = document.createElement("dialog");
  element.setAttribute("aria-labelledby", "dialog-title");
  document.body.append(element);
  const opener = document.activeElement;
  return new Promise((resolve) => {
    let result = null;
    let problem = "";
    let busy = false;
    const submit = async (event) => {
      event.preventDefault();
      const form = new FormData(event.target);
      const values = Object.fromEntries(form);
      for (const { name } of fields.filter(({ checks }) => checks)) values[name] = form.getAll(name);
      if (work) {
        busy = true;
        problem = "";
        draw();
        try {
          result = (await work(values)) ?? values;
        } catch (why) {
          problem = why.message;
        }
        busy = false;
        draw();
        if (problem) return;
      } else {
        result = values;
      }
      element.close();
    };
    const draw = () => render(html`<form @submit=${submit}>
      <h2 id="dialog-title">${title}</h2>
      <div class="text">${text}</div>
      ${fields.map(field)}
      <p class="problem" role="alert">${problem}</p>
      <div class="buttons">
        <button type="button" class="quiet" @click=${() => element.close()}>Cancel</button>
        <button class=${danger ? "danger" : "primary"} ?disabled=${busy}>${busy ? "Working…" : yes}</button>
      </div></form>`, element);
    element.addEventListener("close", () => {
      element.remove();
      opener?.focus?.();
      resolve(result);
    });
    draw();
    element.showModal();
    element.querySelector("input, select, textarea")?.focus();
  });
}

/** Boxes to tick, in a frame of their own. */
const boxes = ({ name, label, options, checks, hint }) => html`<fieldset class="field"><legend>${label}</legend>
  <div class="boxes" tabindex="0" role="group" aria-label=${label}>${options.map(([key, shown]) =>
    html`<label><input type="checkbox" name=${name} value=${key} ?checked=${checks.includes(key)}> ${shown}</label>`)}</div>
  ${hint ? html`<small>${hint}</small>` : nothing}</fieldset>`;

/** One labelled input of a form. */
export function field(of) {
  return of.checks ? boxes(of) : input(of);
}

function input({ name, label, value = "", type = "text", hint, options, rows, required, pattern, placeholder, autocomplete = "off", multiple }) {
  const input = options
    ? html`<select name=${name} ?multiple=${multiple}>${options.map(([key, shown]) =>
        html`<option value=${key} ?selected=${String(key) === String(value)}>${shown}</option>`)}</select>`
    : rows
      ? html`<textarea name=${name} rows=${rows} ?required=${required} placeholder=${placeholder ?? ""} spellcheck="false" .value=${value}></textarea>`
      : type === "file"
        ? html`<input name=${name} type="file" ?required=${required}>`
        : html`<input name=${name} type=${type} .value=${value} ?required=${required} pattern=${pattern ?? nothing}
            placeholder=${placeholder ?? ""} autocomplete=${autocomplete} autocapitalize="off" spellcheck="false">`;
  return html`<label class="field"><span>${label}</span>${input}${hint ? html`<small>${hint}</small>` : nothing}</label>`;
}

/** Rows under headings; one that begins with `#` is above numbers, an empty one above buttons. */
export const table = (label, head, rows) => html`<div class="scroll" tabindex="0" role="region" aria-label=${label}><table><thead><tr>${head.map((text) =>
  html`<th scope="col" class=${text.startsWith("#") ? "number" : ""}>${text.replace("#", "") || html`<span class="hidden">Actions</span>`}</th>`)}</tr></thead><tbody>${rows}</tbody></table></div>`;

/** The way to other pages of a list that has several; `meta` as the API tells it. */
export const pager = ({ page, total_pages: pages, total }, turn) => pages > 1 ? html`<nav class="pager" aria-label="Pages">
  <span role="status">Page ${page} of ${pages}, ${format.number(total)} devices</span>
  <button type="button" ?disabled=${page <= 1} @click=${() => turn(page - 1)}>Previous</button>
  <button type="button" ?disabled=${page >= pages} @click=${() => turn(page + 1)}>Next</button></nav>` : nothing;

/** How far something is. */
export const progressBar = (label, percent) =>
  html`<progress max="100" .value=${percent} aria-label=${label}>${Math.floor(percent)} %</progress>`;

/** Whether a stream is alive. */
export const streamState = ({ word, detail }) =>
  html`<span class="mark ${word === "lost" ? "warn" : word === "live" ? "good" : "off"}" role="status">${
    word === "lost" ? `Connection lost, trying again in ${detail} s` : word === "live" ? "Live" : "Connecting…"}</span>`;

/** One share of an allowance: a bar with marks at 70, 90 and 100 %. */
export function usageBar(label, percent) {
  const width = Math.min(percent ?? 0, 120) / 1.2;
  const kind = percent >= 100 ? "bad" : percent >= 70 ? "warn" : "good";
  const mark = (at) => svg`<line x1=${at / 1.2} x2=${at / 1.2} y1="0" y2="10" class="tick"></line>`;
  return html`<svg class="usage ${kind}" viewBox="0 0 100 10" preserveAspectRatio="none" role="img"
    aria-label=${`${label}: ${percent ?? 0} %`}>
    <rect class="track" width="100" height="10"></rect><rect class="fill" width=${width} height="10"></rect>
    ${[70, 90, 100].map(mark)}</svg>`;
}
