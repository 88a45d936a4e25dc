// One product: its devices, groups, firmware with releases, and its team.

import { ask, get, post, put, remove, sleep } from "./api.js";
import { card, command, dialog, empty, format, heading, html, nothing, onlineMark, render, tell, time } from "./ui.js";

const PAGE = 25;
const READ_EACH_MS = 5_000;
const ROLES = [["Developer", "Developer"], ["Administrator", "Administrator"], ["Support", "Support"], ["View-only", "View only"]];

/** Shows the product of the path. What this server does not offer is left out. */
export async function open(root, { params: [id], signal }) {
  const base = `/v1/products/${id}`;
  const offered = (path) => get(base + path, signal).catch((why) => {
    if (why.status === 404 || why.status === 403 || why.status === 501) return null;
    throw why;
  });
  let product;
  try {
    ({ product } = await get(base, signal));
  } catch (why) {
    if (why.status !== 404) throw why;
    return render(empty("No such product", "It does not exist, or it belongs to others.", html`<a class="button" href="/products">All products</a>`), root);
  }
  const asked = { page: 1, deviceName: "", groups: "" };
  let devices = null;
  let groups = null;
  let firmware = null;
  let team = null;

  const read = async () => {
    const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== ""));
    [devices, groups, firmware, team] = await Promise.all([
      get(`${base}/devices?${query}&per_page=${PAGE}`, signal), offered("/groups"), offered("/firmware"), offered("/team")]);
    draw();
  };
  const change = async (values) => {
    Object.assign(asked, { page: 1 }, values);
    await read();
  };
  /** Asks in a dialog, then reads everything again. */
  const act = async (options) => {
    const done = await dialog(options);
    if (done) await read();
    return done;
  };

  const add = () => act({
    title: "Add devices", yes: "Add", text: html`<p>Device IDs, one on each line, here or in a file.</p>`,
    fields: [{ name: "ids", label: "Device IDs", rows: 6 }, { name: "file", label: "File", type: "file" }],
    work: async ({ ids, file }) => {
      const lines = `${ids}\n${file?.size ? await file.text() : ""}`.split(/[\s,]+/).filter(Boolean);
      const form = new FormData();
      form.append("file", new Blob([lines.join("\n")]), "devices.txt");
      const { updated, invalidDeviceIds, nonmemberDeviceIds } = await ask("POST", `${base}/devices`, { body: form });
      const left = [...invalidDeviceIds, ...nonmemberDeviceIds];
      tell(`${updated} added${left.length ? `, not added: ${left.slice(0, 5).join(", ")}${left.length > 5 ? "…" : ""}` : ""}`, { bad: left.length > 0 });
    },
  });
  const drop = (device) => act({
    title: "Remove the device from the product?", yes: "Remove", danger: true,
    text: html`<p>${device.name ?? device.id} stays with its owner and gets no more firmware of this product.</p>`,
    work: () => remove(`${base}/devices/${device.id}`),
  });
  const group = () => act({
    title: "New group", yes: "Create", fields: [{ name: "name", label: "Name", required: true }, { name: "description", label: "Description" }],
    work: (values) => post(`${base}/groups`, values),
  });
  const assign = (device) => act({
    title: `Groups of ${device.name ?? device.id}`, yes: "Save",
    fields: [{ name: "groups", label: "Groups", value: (device.groups ?? []).join(", "), hint: "Names, with commas between them" }],
    work: ({ groups }) => put(`${base}/devices/${device.id}`, { groups: groups.split(",").map((name) => name.trim()).filter(Boolean) }),
  });
  const lock = (device) => act({
    title: `Firmware of ${device.name ?? device.id}`, yes: "Save", text: html`<p>A locked device gets this version and no other.</p>`,
    fields: [{ name: "version", label: "Locked to version", type: "number", value: device.desired_firmware_version ?? "", hint: "Empty: it follows the releases" }],
    work: ({ version }) => put(`${base}/devices/${device.id}`, { desired_firmware_version: version === "" ? null : Number(version), flash: version !== "" }),
  });
  const upload = () => act({
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
  const release = (one) => act({
    title: `Release version ${one.version}?`, yes: "Release", danger: true,
    text: html`<p>Devices that are online get it from now on, the others when they connect.</p>`,
    fields: [{ name: "target", label: "To", options: [["", "All devices (product default)"], ...(groups?.groups ?? []).map(({ name }) => [name, `Group ${name}`])] }],
    work: ({ target }) => put(`${base}/firmware/release`, { version: one.version, product_default: !target, groups: target ? [target] : [] }),
  });
  const discard = (one) => act({
    title: `Delete version ${one.version}?`, yes: "Delete", danger: true, work: () => remove(`${base}/firmware/${one.version}`),
  });
  const invite = () => act({
    title: "Add a member", yes: "Add", fields: [{ name: "username", label: "E-mail", type: "email", required: true }, { name: "role", label: "Role", options: ROLES }],
    work: (values) => post(`${base}/team`, values),
  });
  const program = async () => {
    const made = await act({
      title: "New API user", yes: "Create", text: html`<p>A token for a program, good for this product alone.</p>`,
      fields: [{ name: "friendly_name", label: "Name", required: true }, { name: "scopes", label: "Scopes", hint: "Such as devices:list, events:get; empty: all of the product" }],
      work: ({ friendly_name, scopes }) => post(`${base}/team`, { friendly_name, scopes: scopes.split(/[\s,]+/).filter(Boolean) }),
    });
    const token = made?.created?.tokens?.[0]?.token;
    if (token) await dialog({ title: "Token of the API user", yes: "Done", text: html`<p>It is shown this once.</p>${command(token)}` });
  };
  const dismiss = (member) => act({
    title: "Remove from the team?", yes: "Remove", danger: true, text: html`<p>${member.username} can do nothing here any more.</p>`,
    work: () => remove(`${base}/team/${encodeURIComponent(member.username)}`),
  });

  const table = (label, head, rows) => html`<div class="scroll" tabindex="0" role="region" aria-label=${label}><table><thead><tr>${head.map((text) =>
    html`<th scope="col">${text || html`<span class="hidden">Actions</span>`}</th>`)}</tr></thead><tbody>${rows}</tbody></table></div>`;
  const deviceRow = (device) => html`<tr><td>${onlineMark(device.online)}</td><th scope="row"><a href=${`/devices/${device.id}`}>${device.name ?? html`<span class="none">Unnamed</span>`}</a></th>
    <td class="id">${device.id}</td><td>${device.firmware_version ?? "—"}${device.desired_firmware_version != null ? html` <small>locked to ${device.desired_firmware_version}</small>` : nothing}${
      device.targeted_firmware_release_version != null && device.targeted_firmware_release_version !== device.firmware_version ? html` <small>→ ${device.targeted_firmware_release_version}</small>` : nothing}</td>
    ${groups ? html`<td>${(device.groups ?? []).join(", ")}</td>` : nothing}<td>${time(device.last_heard)}</td>
    <td class="number">${groups ? html`<button type="button" class="quiet" aria-label=${`Groups of ${device.id}`} @click=${() => assign(device)}>Groups</button>` : nothing}${
      firmware ? html`<button type="button" class="quiet" aria-label=${`Lock ${device.id}`} @click=${() => lock(device)}>Lock</button>` : nothing}
      <button type="button" class="danger quiet" aria-label=${`Remove ${device.id}`} @click=${() => drop(device)}>Remove</button></td></tr>`;
  const devicesCard = () => {
    const { page, total_pages: pages, total } = devices.meta;
    return html`<form class="filters" role="search" @submit=${(event) => event.preventDefault()}><label><span class="hidden">Search</span>
      <input type="search" placeholder="Search by name" .value=${asked.deviceName} @change=${(event) => change({ deviceName: event.target.value })}></label>
      ${groups?.groups?.length ? html`<label><span class="hidden">Group</span><select @change=${(event) => change({ groups: event.target.value })}><option value="">Any group</option>
        ${groups.groups.map(({ name }) => html`<option value=${name} ?selected=${asked.groups === name}>${name}</option>`)}</select></label>` : nothing}</form>
      ${devices.devices.length ? table("Devices of the product", ["Status", "Name", "Device ID", "Firmware", ...(groups ? ["Groups"] : []), "Last heard", ""], devices.devices.map(deviceRow))
        : html`<p class="none">${asked.deviceName || asked.groups ? "No device matches." : "No devices yet: add them by their IDs, as many as you like at once."}</p>`}
      ${pages > 1 ? html`<nav class="pager" aria-label="Pages"><span>Page ${page} of ${pages}, ${format.number(total)} devices</span>
        <button type="button" ?disabled=${page <= 1} @click=${() => change({ page: page - 1 })}>Previous</button>
        <button type="button" ?disabled=${page >= pages} @click=${() => change({ page: page + 1 })}>Next</button></nav>` : nothing}`;
  };
  const firmwareRow = (one) => html`<tr><th scope="row">${one.version}</th><td>${one.title}</td><td class="number">${format.bytes(one.size)}</td>
    <td>${one.product_default || one.current ? html`<span class="mark good">Product default</span>` : one.groups?.length ? `Groups: ${one.groups.join(", ")}` : html`<span class="none">Not released</span>`}</td>
    <td class="number">${one.device_count != null ? format.number(one.device_count) : ""}</td><td>${time(one.uploaded_on, { form: "date" })}</td>
    <td class="number"><button type="button" class="quiet" aria-label=${`Release version ${one.version}`} @click=${() => release(one)}>Release</button>
      <button type="button" class="danger quiet" aria-label=${`Delete version ${one.version}`} @click=${() => discard(one)}>Delete</button></td></tr>`;
  const memberRow = (member) => html`<tr><th scope="row">${member.friendly_name ?? member.username}</th><td>${member.is_programmatic ? "API user" : member.role?.name ?? member.role ?? ""}</td>
    <td class="number"><button type="button" class="danger quiet" aria-label=${`Remove ${member.username}`} @click=${() => dismiss(member)}>Remove</button></td></tr>`;

  const draw = () => signal.aborted || render(html`
    ${heading(product.name, nothing, html`<p>${format.platform(product.platform_id)} · product ${product.id}${product.description ? ` · ${product.description}` : ""}</p>`)}
    ${card("Devices", devicesCard(), { actions: html`<button type="button" class="primary" @click=${add}>Add devices</button>` })}
    ${firmware ? card("Firmware", firmware.length ? table("Firmware of the product", ["Version", "Title", "Size", "Released to", "Devices", "Uploaded", ""], firmware.map(firmwareRow))
      : html`<p class="none">No firmware yet. A binary must say this product's ID and the version you give.</p>`,
      { actions: html`<button type="button" @click=${upload}>Upload</button>` }) : nothing}
    ${groups ? card("Groups", groups.groups?.length ? html`<ul class="lines">${groups.groups.map((one) => html`<li class="line"><strong>${one.name}</strong><span>${one.description ?? ""}</span></li>`)}</ul>`
      : html`<p class="none">None: releases go to all devices at once.</p>`, { actions: html`<button type="button" @click=${group}>New group</button>` }) : nothing}
    ${team ? card("Team", table("Team of the product", ["Name", "Role", ""], (team.team ?? []).map(memberRow)),
      { actions: html`<button type="button" @click=${invite}>Add a member</button><button type="button" @click=${program}>New API user</button>` }) : nothing}`, root);

  await read();
  while (!signal.aborted) {
    await sleep(READ_EACH_MS, signal);
    if (!document.hidden && !signal.aborted && !document.querySelector("dialog")) await read().catch(() => {});
  }
}
