// One product: its devices, groups, firmware with releases, and its team.

import { ask, get, post, put, remove, sleep } from "./api.js";
import { firmwareTable, releaseList, upload } from "./releases.js";
import { card, command, dialog, empty, format, heading, html, nothing, onlineMark, pager, render, table, tell, time } from "./ui.js";

const PAGE = 25;
const READ_EACH_MS = 5_000;
/** While a release is on its way. */
const READ_SOON_MS = 1_500;
const ROLES = ["Developer", "Administrator", "Support", "View-only"].map((role) => [role, role]);

/** Shows the product of the path. What the reader may not see is left out. */
export async function open(root, { params: [id], signal }) {
  const base = `/v1/products/${id}`;
  const offered = (path) => get(base + path, signal).catch((why) => {
    if ([403, 404, 501].includes(why.status)) return null;
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
  let releases = null;
  let team = null;

  const read = async () => {
    const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== ""));
    [devices, groups, firmware, releases, team] = await Promise.all([
      get(`${base}/devices?${query}&per_page=${PAGE}`, signal), offered("/groups"), offered("/firmware"), offered("/releases"), offered("/team"), onItsWay.read()]);
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
  const onItsWay = releaseList({ base, signal, act, changed: () => draw() });

  const add = () => act({
    title: "Add devices", yes: "Add", text: html`<p>One device on each line, here or in a file: its ID, and behind a comma its serial number if you like.</p>`,
    fields: [{ name: "ids", label: "Device IDs", rows: 6 }, { name: "file", label: "File", type: "file" }],
    work: async ({ ids, file }) => {
      const form = new FormData();
      form.append("file", new Blob([ids, "\n", file?.size ? await file.text() : ""]), "devices.txt");
      const { updated, invalidDeviceIds: left } = await ask("POST", `${base}/devices`, { body: form });
      const shown = left.slice(0, 5).map(format.visible).join(", ");
      tell(`${updated} added${left.length ? `, ${left.length} not added: ${shown}${left.length > 5 ? "…" : ""}` : ""}`, { bad: left.length > 0 });
    },
  });
  const drop = (device) => act({
    title: "Remove the device from the product?", yes: "Remove", danger: true,
    text: html`<p>${device.name ?? device.id} stays with its owner and gets no more firmware of this product.</p>`,
    work: () => remove(`${base}/devices/${device.id}`),
  });
  const group = () => act({
    title: "New group", yes: "Create", fields: [{ name: "name", label: "Name", required: true, hint: "Letters, digits, dashes, dots and underscores" }, { name: "description", label: "Description" }],
    work: (values) => post(`${base}/groups`, values),
  });
  const editGroup = (one) => act({
    title: `Group ${one.name}`, yes: "Save", fields: [{ name: "name", label: "Name", value: one.name, required: true }, { name: "description", label: "Description", value: one.description }],
    work: (values) => put(`${base}/groups/${encodeURIComponent(one.name)}`, values),
  });
  const dropGroup = (one) => act({
    title: `Delete the group ${one.name}?`, yes: "Delete", danger: true, text: html`<p>Its devices stay in the product.</p>`,
    work: () => remove(`${base}/groups/${encodeURIComponent(one.name)}`),
  });
  const assign = (device) => act({
    title: `Groups of ${device.name ?? device.id}`, yes: "Save",
    fields: [{ name: "groups", label: "Groups", options: groups.groups.map(({ name }) => [name, name]), checks: device.groups ?? [] }],
    work: ({ groups }) => put(`${base}/devices/${device.id}`, { groups }),
  });
  const lock = (device) => act({
    title: `Firmware of ${device.name ?? device.id}`, yes: "Save", text: html`<p>A locked device gets this version and no other.</p>`,
    fields: [{ name: "version", label: "Locked to version", value: device.desired_firmware_version ?? "", options: [["", "None: it follows the releases"], ...firmware.map(({ version, title }) => [version, `${version} ${title}`])] }],
    work: ({ version }) => put(`${base}/devices/${device.id}`, { desired_firmware_version: version === "" ? null : Number(version), flash: version !== "" }),
  });
  const invite = () => act({
    title: "Add a member", yes: "Add", fields: [{ name: "username", label: "E-mail", type: "email", required: true }, { name: "role", label: "Role", options: ROLES }],
    work: (values) => post(`${base}/team`, values),
  });
  const role = (member) => act({
    title: `Role of ${member.username}`, yes: "Save", fields: [{ name: "role", label: "Role", value: member.role, options: ROLES }],
    work: (values) => put(`${base}/team/${encodeURIComponent(member.username)}`, values),
  });
  const secret = (token) => token && dialog({ title: "Token of the API user", yes: "Done", text: html`<p>It is shown this once: keep it where it is safe.</p>${command(token)}` });
  const program = async () => {
    const { scopes } = await get("/console/tokens", signal);
    const made = await act({
      title: "New API user", yes: "Create", text: html`<p>A token for a program, good for this product alone.</p>`,
      fields: [{ name: "friendly_name", label: "Name", required: true }, { name: "scopes", label: "Scopes", hint: "At least one", options: scopes.map((scope) => [scope, scope]), checks: [] }],
      work: (values) => post(`${base}/team`, values),
    });
    await secret(made?.created?.tokens?.[0]?.token);
  };
  const renew = async (member) => {
    const made = await act({
      title: `New token for ${member.username}?`, yes: "Make it", danger: true, text: html`<p>The one it has is refused from now on.</p>`,
      work: () => put(`${base}/team/${encodeURIComponent(member.username)}/token`),
    });
    await secret(made?.updated?.tokens?.[0]?.token);
  };
  const dismiss = (member) => act({
    title: "Remove from the team?", yes: "Remove", danger: true, text: html`<p>${member.username} can do nothing here any more.</p>`,
    work: () => remove(`${base}/team/${encodeURIComponent(member.username)}`),
  });

  const version = (device) => html`${device.firmware_version ?? "—"}${device.desired_firmware_version != null ? html` <small>locked to ${device.desired_firmware_version}</small>` : nothing}${
    device.targeted_firmware_release_version != null && device.targeted_firmware_release_version !== device.firmware_version ? html` <small>→ ${device.targeted_firmware_release_version}</small>` : nothing}`;
  const deviceRow = (device) => html`<tr><td>${onlineMark(device.online)}</td><th scope="row"><a href=${`/devices/${device.id}`}>${device.name ?? html`<span class="none">Unnamed</span>`}</a></th>
    <td class="id">${device.id}</td><td>${version(device)}</td>${groups ? html`<td>${(device.groups ?? []).join(", ")}</td>` : nothing}<td>${time(device.last_heard)}</td>
    <td class="number">${groups?.groups.length ? html`<button type="button" class="quiet" aria-label=${`Groups of ${device.id}`} @click=${() => assign(device)}>Groups</button>` : nothing}${
      firmware?.length ? html`<button type="button" class="quiet" aria-label=${`Lock ${device.id}`} @click=${() => lock(device)}>Lock</button>` : nothing}
      <button type="button" class="danger quiet" aria-label=${`Remove ${device.id}`} @click=${() => drop(device)}>Remove</button></td></tr>`;
  const devicesCard = () => html`<form class="filters" role="search" @submit=${(event) => event.preventDefault()}><label><span class="hidden">Search</span>
      <input type="search" placeholder="Search by name" .value=${asked.deviceName} @change=${(event) => change({ deviceName: event.target.value })}></label>
      ${groups?.groups?.length ? html`<label><span class="hidden">Group</span><select @change=${(event) => change({ groups: event.target.value })}><option value="">Any group</option>
        ${groups.groups.map(({ name }) => html`<option value=${name} ?selected=${asked.groups === name}>${name}</option>`)}</select></label>` : nothing}</form>
    ${devices.devices.length ? table("Devices of the product", ["Status", "Name", "Device ID", "Firmware", ...(groups ? ["Groups"] : []), "Last heard", ""], devices.devices.map(deviceRow))
      : html`<p class="none">${asked.deviceName || asked.groups ? "No device matches." : "No devices yet: add them by their IDs, as many as you like at once."}</p>`}
    ${pager(devices.meta, (page) => change({ page }))}`;
  const groupRow = (one) => html`<tr><th scope="row">${one.name}</th><td>${one.description}</td><td class="number">${format.number(one.device_count)}</td>
    <td class="number"><button type="button" class="quiet" aria-label=${`Edit ${one.name}`} @click=${() => editGroup(one)}>Edit</button>
      <button type="button" class="danger quiet" aria-label=${`Delete ${one.name}`} @click=${() => dropGroup(one)}>Delete</button></td></tr>`;
  const memberRow = (member) => html`<tr><th scope="row">${member.username}</th><td>${member.is_programmatic ? "API user" : member.role}</td>
    <td class="number">${member.is_programmatic ? html`<button type="button" class="quiet" aria-label=${`New token for ${member.username}`} @click=${() => renew(member)}>New token</button>`
      : html`<button type="button" class="quiet" aria-label=${`Role of ${member.username}`} @click=${() => role(member)}>Role</button>`}
      <button type="button" class="danger quiet" aria-label=${`Remove ${member.username}`} @click=${() => dismiss(member)}>Remove</button></td></tr>`;

  const draw = () => signal.aborted || render(html`
    ${heading(product.name, nothing, html`<p>${format.platform(product.platform_id)} · product ${product.id}${product.description ? ` · ${product.description}` : ""}</p>`)}
    ${releases ? card("Releases", onItsWay.draw(releases.releases)) : nothing}
    ${firmware ? card("Firmware", firmwareTable({ product, base, firmware, groups: groups?.groups ?? [], devices: devices.devices, act }),
      { actions: html`<button type="button" @click=${() => upload({ base, act })}>Upload</button>` }) : nothing}
    ${card("Devices", devicesCard(), { actions: html`<button type="button" class="primary" @click=${add}>Add devices</button>` })}
    ${groups ? card("Groups", groups.groups.length ? table("Groups of the product", ["Name", "Description", "#Devices", ""], groups.groups.map(groupRow))
      : html`<p class="none">None: releases go to all devices.</p>`, { actions: html`<button type="button" @click=${group}>New group</button>` }) : nothing}
    ${team ? card("Team", team.team.length ? table("Team of the product", ["Name", "Role", ""], team.team.map(memberRow)) : html`<p class="none">Nobody but the owner.</p>`,
      { actions: html`<button type="button" @click=${invite}>Add a member</button><button type="button" @click=${program}>New API user</button>` }) : nothing}`, root);

  await read();
  while (!signal.aborted) {
    const isOnItsWay = releases?.releases.some(({ state }) => state === "running");
    await sleep(isOnItsWay ? READ_SOON_MS : READ_EACH_MS, signal);
    if (!document.hidden && !signal.aborted && !document.querySelector("dialog")) await read().catch(() => {});
  }
}
