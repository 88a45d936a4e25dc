// The firmware of a product: its versions, and releases on their way through the devices.

import { ask, get, put, remove } from "./api.js";
import { go } from "./app.js";
import { dialog, format, html, nothing, pager, progressBar, table, tell, time } from "./ui.js";
import { send } from "./update.js";

const PAGE = 25;
const STATES = {
  running: ["good", "Running"], paused: ["warn", "Paused"], halted: ["bad", "Halted"], complete: ["good", "Complete"], ended: ["off", "Ended"],
};
const COUNTS = [["updated", "updated"], ["updating", "being updated"], ["waiting", "waiting"], ["failed", "failed, to be tried again"], ["left_alone", "given up"]];
const MEMBERS = { waiting: "Waiting", updating: "Being updated", updated: "Updated", failed: "Failed, to be tried again", left_alone: "Given up" };
const WAITS = { turn: "its turn", online: "it to be online", permission: "its firmware to allow it" };
const STAGES = [["", "As the server is set"], ["10,50,100", "10 %, 50 %, all"], ["1,10,50,100", "1 %, 10 %, 50 %, all"], ["100", "All at once"]];

/** The versions of a product's firmware. `act` asks in a dialog and reads the page again. */
export function firmwareTable({ product, base, firmware, groups, devices, act }) {
  const release = (one) => act({
    title: `Release version ${one.version}?`, yes: "Release", danger: true,
    text: html`<p>It goes from stage to stage while it does well, and halts by itself when too many devices fail. Devices that are offline get it when they connect.</p>`,
    fields: [
      { name: "target", label: "To", options: [["", "All devices (product default)"], ...groups.map(({ name }) => [name, `Group ${name}`])] },
      { name: "stages", label: "In stages of", options: STAGES },
    ],
    work: ({ target, stages }) => put(`${base}/firmware/release`, {
      version: one.version, product_default: !target, groups: target ? [target] : [], ...(stages ? { stages: stages.split(",").map(Number) } : {}),
    }),
  });
  const flash = async (one) => {
    const done = await dialog({
      title: `Flash version ${one.version} to one device`, yes: "Flash", danger: true, text: html`<p>The device restarts into it at once, whatever is released.</p>`,
      fields: [{ name: "device", label: "Device", options: devices.map(({ id, name }) => [id, name ? `${name} (${id})` : id]) }],
      work: ({ device }) => send({ base: `${base}/devices/${device}`, product: product.id, version: one.version }),
    });
    if (done) go(`/devices/${done.id}`);
  };
  const discard = (one) => act({
    title: `Delete version ${one.version}?`, yes: "Delete", danger: true, text: html`<p>A version that was released cannot be deleted.</p>`, work: () => remove(`${base}/firmware/${one.version}`),
  });
  const row = (one) => html`<tr><th scope="row">${one.version}</th><td>${format.visible(one.title)}${one.description ? html` <small>${format.visible(one.description)}</small>` : nothing}</td>
    <td class="number">${format.bytes(one.size)}</td><td>${released(one)}</td><td>${time(one.uploaded_on, { form: "date" })}</td>
    <td class="number"><button type="button" class="quiet" aria-label=${`Release version ${one.version}`} @click=${() => release(one)}>Release</button>
      <button type="button" class="quiet" aria-label=${`Flash version ${one.version}`} ?disabled=${!devices.length} @click=${() => flash(one)}>Flash</button>
      <a class="button quiet" data-plain href=${`${base}/firmware/${one.version}/binary`} aria-label=${`Download version ${one.version}`}>Download</a>
      <button type="button" class="danger quiet" aria-label=${`Delete version ${one.version}`} @click=${() => discard(one)}>Delete</button></td></tr>`;
  return firmware.length ? table("Firmware of the product", ["Version", "Title", "#Size", "Released to", "Uploaded", ""], firmware.map(row))
    : html`<p class="none">No firmware yet. A binary must say this product's ID and the version you give.</p>`;
}

const released = (one) => one.product_default ? html`<span class="mark good">Product default</span>`
  : one.groups?.length ? `Groups: ${one.groups.join(", ")}` : html`<span class="none">Not released</span>`;

/** Asks for a file, and uploads it. */
export const upload = ({ base, act }) => act({
  title: "Upload a firmware", yes: "Upload",
  fields: [{ name: "binary", label: "Binary (.bin)", type: "file", required: true }, { name: "version", label: "Version", type: "number", required: true },
    { name: "title", label: "Title" }, { name: "description", label: "Description", rows: 3 }],
  work: ({ binary, ...fields }) => {
    const form = new FormData();
    form.append("binary", binary, binary.name);
    for (const [key, value] of Object.entries(fields)) form.append(key, value);
    return ask("POST", `${base}/firmware`, { body: form });
  },
});

/** The releases of a product, each with how far it is; one can be opened to look at its devices. */
export function releaseList({ base, signal, act, changed }) {
  let opened = null;
  let members = null;
  const asked = { page: 1, state: "" };

  const readMembers = async () => {
    if (!opened) return;
    const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== ""));
    members = await get(`${base}/releases/${opened}/devices?${query}&per_page=${PAGE}`, signal).catch(() => null);
  };
  const show = async (values) => {
    Object.assign(asked, { page: 1 }, values);
    await readMembers();
    changed();
  };
  const toggle = async (one) => {
    [opened, members] = [opened === one.id ? null : one.id, null];
    await show({ state: "" });
  };
  const pause = (one) => act({
    title: `Pause the release of version ${one.version}?`, yes: "Pause", text: html`<p>No further device begins; what is under way goes on.</p>`,
    work: () => put(`${base}/releases/${one.id}`, { paused: true }),
  });
  const resume = (one) => act({
    title: `Resume the release of version ${one.version}?`, yes: "Resume",
    text: html`<p>${one.why ? html`It halted: ${one.why}. ` : nothing}Devices on which it failed are tried again.</p>`,
    work: () => put(`${base}/releases/${one.id}`, { paused: false }),
  });
  const halt = (one) => act({
    title: `Halt the release of version ${one.version}?`, yes: "Halt", danger: true,
    text: html`<p>The release ends for ${target(one).toLowerCase()}: devices that have version ${one.version} keep it, no other one gets it. It can be released anew.</p>`,
    work: () => ask("DELETE", `${base}/firmware/release`, { body: { version: one.version, groups: one.groups } }).then(() => tell(`Version ${one.version} is withdrawn`)),
  });

  const buttons = (one) => one.state === "ended" ? nothing : html`
    ${one.state === "running" ? html`<button type="button" aria-label=${`Pause version ${one.version}`} @click=${() => pause(one)}>Pause</button>` : nothing}
    ${one.state === "paused" || one.state === "halted" ? html`<button type="button" class="primary" aria-label=${`Resume version ${one.version}`} @click=${() => resume(one)}>Resume</button>` : nothing}
    <button type="button" class="danger quiet" aria-label=${`Halt version ${one.version}`} @click=${() => halt(one)}>Halt</button>`;
  const line = (one) => {
    const [kind, word] = STATES[one.state] ?? ["off", one.state];
    const sum = one.devices;
    return html`<li class="release" data-release=${one.version}>
      <div class="line"><h3>Version ${one.version} <small>${target(one)} · ${time(one.made_at)}</small></h3><span class="mark ${kind}" role="status">${word}</span></div>
      ${one.why ? html`<p class="problem">${one.why}</p>` : nothing}
      ${sum ? html`${progressBar(`Devices with version ${one.version}`, sum.devices ? (sum.updated / sum.devices) * 100 : 0)}
        <p class="hint"><strong>${format.number(sum.updated)} of ${format.number(sum.devices)}</strong> ${COUNTS.filter(([key]) => key === "updated" || sum[key] > 0)
          .map(([key, label]) => key === "updated" ? label : `${format.number(sum[key])} ${label}`).join(" · ")}${one.stage && one.state !== "complete"
          ? ` · stage ${one.stage} of ${one.stages.length}: ${one.stages[one.stage - 1]} % of the devices` : ""}</p>` : html`<p class="hint">Ended ${time(one.ended_at)}</p>`}
      <div class="actions">${buttons(one)}<button type="button" class="quiet" aria-expanded=${opened === one.id} aria-label=${`Devices of version ${one.version}`}
        @click=${() => toggle(one)}>${opened === one.id ? "Hide devices" : "Devices"}</button></div>
      ${opened === one.id && members ? devicesOf(one) : nothing}</li>`;
  };
  const devicesOf = (one) => html`<div class="members"><label class="hidden" for="member-state">State</label>
    <select id="member-state" @change=${(event) => show({ state: event.target.value })}><option value="">Any state</option>
      ${Object.entries(MEMBERS).map(([key, label]) => html`<option value=${key} ?selected=${asked.state === key}>${label}</option>`)}</select>
    ${members.devices.length ? table(`Devices of the release of version ${one.version}`, ["Device", "Stage", "State", "Since", "Why"], members.devices.map((member) => html`<tr>
      <th scope="row"><a class="id" href=${`/devices/${member.id}`}>${member.id}</a></th><td>${member.stage ?? "—"}</td><td>${MEMBERS[member.state] ?? member.state}</td>
      <td>${member.at ? time(member.at) : "—"}</td><td class="wrap">${why(member)}</td></tr>`)) : html`<p class="none">No device is in this state.</p>`}
    ${pager(members.meta, (page) => show({ ...asked, page }))}</div>`;

  return {
    read: readMembers,
    draw: (releases) => releases.length ? html`<ul class="lines">${releases.map(line)}</ul>`
      : html`<p class="none">None yet: release a version, and its devices are updated in stages.</p>`,
  };
}

const target = ({ groups }) => (groups.length ? `Groups ${groups.join(", ")}` : "All devices");

function why(member) {
  if (member.state === "waiting") return `waits for ${WAITS[member.waiting_for] ?? member.waiting_for}`;
  const again = member.again_at ? html`; again ${time(member.again_at)}` : nothing;
  return html`${format.visible(member.reason ?? "")}${again}`;
}
