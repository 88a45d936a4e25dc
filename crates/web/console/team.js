// Who and what may act for the account: tokens, OAuth clients, password and second factor.

import { get, post, put, remove } from "./api.js";
import { refresh } from "./app.js";
import { attempt, card, command, copy, dialog, format, heading, html, nothing, render, tell, time } from "./ui.js";

const LIVES = [["7776000", "90 days"], ["86400", "1 day"], ["604800", "7 days"], ["31536000", "1 year"], ["0", "For ever"]];

/** A text as a QR code, made here: nobody else is told. */
async function qrCode(text) {
  const { generate } = await import("./lean-qr.js");
  const code = generate(text);
  const dark = [];
  for (let y = 0; y < code.size; y += 1) {
    for (let x = 0; x < code.size; x += 1) if (code.get(x, y)) dark.push(`M${x} ${y}h1v1h-1z`);
  }
  return html`<svg class="qr" viewBox=${`-4 -4 ${code.size + 8} ${code.size + 8}`} role="img" aria-label="QR code of the secret" shape-rendering="crispEdges">
    <rect x="-4" y="-4" width=${code.size + 8} height=${code.size + 8}></rect><path d=${dark.join("")}></path></svg>`;
}

/** Shows all of it. */
export async function open(root, { session, signal }) {
  let tokens = [];
  let scopes = [];
  let clients = [];
  let products = [];
  let mfa = session.mfa;

  const read = async () => {
    const [tokensTold, clientsTold, productsTold] = await Promise.all([
      get("/console/tokens", signal), get("/v1/clients", signal), get("/v1/user/products", signal)]);
    [tokens, scopes, clients, products] = [tokensTold.tokens, tokensTold.scopes, clientsTold.clients, productsTold.products];
    draw();
  };
  const create = async () => {
    const made = await dialog({
      title: "New access token", yes: "Create",
      fields: [{ name: "name", label: "Name", required: true, hint: "What it is for" }, { name: "expires_in", label: "Lives for", options: LIVES },
        { name: "scopes", label: "Good for", hint: "None ticked: everything that you may do yourself", options: scopes.map((scope) => [scope, scope]), checks: [] }],
      work: ({ name, expires_in, scopes }) => post("/console/tokens", { name, expires_in: Number(expires_in), scopes }),
    });
    if (!made) return;
    await read();
    await secret("Access token", made.token);
  };
  const secret = (title, text) => dialog({ title, yes: "Done", text: html`<p>It is shown this once: keep it where it is safe.</p>${command(text)}` });
  const revoke = async (token) => {
    const done = await dialog({
      title: "Revoke the token?", yes: "Revoke", danger: true,
      text: html`<p>${token.current ? "This is the session you are in: you will be logged out." : html`Whatever uses <code>${token.prefix}…</code> (${token.client}) is refused from now on.`}</p>`,
      work: () => remove(`/console/tokens/${token.id}`),
    });
    if (done) token.current ? location.assign("/") : await read();
  };
  const newClient = async () => {
    const made = await dialog({
      title: "New OAuth client", yes: "Create", text: html`<p>A program that asks for tokens with its own id and secret.</p>`,
      fields: [{ name: "name", label: "Name", required: true }],
      work: ({ name }) => post("/v1/clients", { name, type: "installed" }),
    });
    if (!made) return;
    await read();
    await secret(`Secret of ${made.client.id}`, made.client.secret);
  };
  const dropClient = async (client) => {
    const done = await dialog({
      title: "Delete the client?", yes: "Delete", danger: true, text: html`<p>${client.name} gets no more tokens.</p>`,
      work: () => remove(`/v1/clients/${client.id}`),
    });
    if (done) await read();
  };
  const password = async () => {
    const done = await dialog({
      title: "Change the password", yes: "Change",
      fields: [{ name: "current_password", label: "Current password", type: "password", required: true, autocomplete: "current-password" },
        { name: "password", label: "New password", type: "password", required: true, autocomplete: "new-password", hint: "8 characters or more" }],
      work: (values) => put("/v1/user", values),
    });
    if (done) tell("The password is changed");
  };
  const enrol = async () => {
    const begun = await attempt(() => get("/v1/user/mfa-enable"));
    if (!begun) return;
    const done = await dialog({
      title: "Two-step log in", yes: "Switch on",
      text: html`<p>Scan this with an authenticator app, then write the code that the app shows.</p>${await qrCode(begun.qr_url)}
        <p>Without a camera: type this secret, or open <a href=${begun.qr_url} data-plain>its link</a> on the device the app is on.</p>${command(begun.secret)}`,
      fields: [{ name: "otp", label: "One-time password", required: true, pattern: "[0-9 ]{6,7}", autocomplete: "one-time-code" }],
      work: ({ otp }) => post("/v1/user/mfa-enable", { mfa_token: begun.mfa_token, otp }),
    });
    if (done) mfa = true;
    refresh();
    draw();
  };
  const leave = async () => {
    const done = await dialog({
      title: "Switch two-step log in off?", yes: "Switch off", danger: true,
      fields: [{ name: "current_password", label: "Current password", type: "password", required: true, autocomplete: "current-password" }],
      work: (values) => put("/v1/user/mfa-disable", values),
    });
    if (done) mfa = false;
    refresh();
    draw();
  };

  const tokenRow = (token) => html`<tr><th scope="row">${format.visible(token.client) || "—"}${token.current ? html` <small>this session</small>` : nothing}</th>
    <td class="id">${token.prefix}…</td><td class="wrap">${token.scopes.length ? token.scopes.join(", ") : "Everything"}</td>
    <td>${time(token.created_at, { form: "date" })}</td><td>${token.expires_at ? time(token.expires_at, { form: "date" }) : "Never"}</td>
    <td class="number"><button type="button" class="danger quiet" aria-label=${`Revoke ${token.client} ${token.prefix}`} @click=${() => revoke(token)}>Revoke</button></td></tr>`;
  const clientRow = (client) => html`<tr><th scope="row">${format.visible(client.name)}</th><td class="id">${client.id} <button type="button" class="link" @click=${() => copy(client.id)}>Copy</button></td>
    <td>${client.scope ?? "Everything"}</td><td class="number"><button type="button" class="danger quiet" aria-label=${`Delete ${client.name}`} @click=${() => dropClient(client)}>Delete</button></td></tr>`;

  const draw = () => signal.aborted || render(html`
    ${heading("Team & tokens")}
    ${card("Access tokens", html`<div class="scroll" tabindex="0" role="region" aria-label="Access tokens"><table><thead><tr><th scope="col">Name</th><th scope="col">Begins with</th>
      <th scope="col">Good for</th><th scope="col">Created</th><th scope="col">Expires</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead><tbody>${tokens.map(tokenRow)}</tbody></table></div>`,
      { actions: html`<button type="button" class="primary" @click=${create}>New token</button>` })}
    ${card("OAuth clients", clients.length ? html`<div class="scroll" tabindex="0" role="region" aria-label="OAuth clients"><table><thead><tr><th scope="col">Name</th><th scope="col">Client ID</th>
      <th scope="col">Good for</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead><tbody>${clients.map(clientRow)}</tbody></table></div>` : html`<p class="none">None. Programs that act for
      themselves rather than with a token of yours need one.</p>`, { actions: html`<button type="button" @click=${newClient}>New client</button>` })}
    ${card("Your account", html`<ul class="lines">
      <li class="line"><span>Password</span><button type="button" @click=${password}>Change…</button></li>
      <li class="line"><span>Two-step log in <span class="mark ${mfa ? "good" : "off"}">${mfa ? "On" : "Off"}</span></span>
        <button type="button" @click=${mfa ? leave : enrol}>${mfa ? "Switch off…" : "Switch on…"}</button></li></ul>`)}
    ${card("Teams", products.length ? html`<p>Each product has a team of its own.</p><ul class="lines">${products.map((product) =>
      html`<li><a href=${`/products/${product.id}`}>${product.name}</a></li>`)}</ul>` : html`<p class="none">Teams belong to products, and there is no product yet.</p>`)}`, root);
  await read();
}
