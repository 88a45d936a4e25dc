// The way to a device that is connected, step by step.

import { follow, get, post, put } from "./api.js";
import { go, refresh } from "./app.js";
import { attempt, card, command, field, heading, html, nothing, render, tell } from "./ui.js";

/** What to do for each kind of device; the numbers and names of files are the server's. */
const KINDS = {
  udp: { label: "UDP with DTLS: Argon, Boron, Electron, Photon 2 and later", openssl: "ec" },
  tcp: { label: "TCP with RSA: Photon, P1", openssl: "rsa" },
};

/** Shows the steps. */
export async function open(root, { signal }) {
  let waiting = null;
  let problem = "";
  let kind = "udp";
  let host = location.hostname;
  const ports = {};
  const keys = await get("/console/server-keys", signal).catch(() => null);
  if (signal.aborted) return;

  const submit = async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    const id = values.id.trim().toLowerCase();
    problem = "";
    try {
      await post(`/v1/provisioning/${id}`, { deviceID: id, publicKey: values.key, filename: "console" });
      if (values.name) await put(`/v1/devices/${id}`, { name: values.name });
    } catch (why) {
      problem = why.message;
      return draw();
    }
    waiting = id;
    tell("Registered");
    refresh();
    draw();
    wait();
  };
  const wait = async () => {
    const device = await attempt(() => get(`/v1/devices/${waiting}`, signal));
    if (device?.online) return go(`/devices/${waiting}`);
    follow(`/v1/devices/${waiting}/events/spark/status`, {
      signal,
      state: () => {},
      told: (event) => event.data === "online" && !signal.aborted && go(`/devices/${waiting}`),
    });
  };

  const key = () => keys?.[kind];
  const port = () => ports[kind] ?? key()?.port;
  const image = () => `/console/server-keys/${key().name}.image.bin?${new URLSearchParams({ host, port: port() })}`;
  const address = () => html`<div class="inline">
    <label class="field"><span>Address that devices reach this server at</span><input name="host" .value=${host} autocapitalize="off" spellcheck="false"
      @input=${(event) => ((host = event.target.value.trim()), draw())}></label>
    <label class="field"><span>Port</span><input name="port" type="number" min="1" max="65535" .value=${String(port() ?? "")}
      @input=${(event) => ((ports[kind] = event.target.value), draw())}></label></div>
    ${["localhost", "127.0.0.1"].includes(host) ? html`<p class="hint">A device on another machine cannot reach ${host}: write the name or address it can.</p>` : nothing}`;
  const choice = () => html`<fieldset class="choices"><legend class="hidden">Kind of device</legend>${Object.entries(KINDS).map(([name, { label }]) =>
    html`<label><input type="radio" name="kind" value=${name} ?checked=${kind === name} @change=${() => ((kind = name), draw())}> ${label}</label>`)}</fieldset>`;
  const download = () => key() ? html`${address()}
    <div class="downloads"><a class="button primary" data-plain href=${image()}>Download the image</a>
      <a class="button" data-plain href=${`/console/server-keys/${key().name}.pub.der`}>The public key alone</a></div>
    <p class="hint">The image holds the key and this address. SHA-256 of the key: <span class="id wrap">${key().sha256}</span></p>`
    : html`<p>On this server. It says which file is for which kind of device.</p>${command(`cloudchamber keys server --data DATA --host ${host}`)}`;
  const write = () => key() ? html`<p>With the device in DFU mode, on the computer it is plugged into and in the folder with the image:</p>
    ${command(`dfu-util -a 1 -s ${key().dfu_address} -D ${key().name}.image.bin`)}
    <p>or with the vendor's command line, which writes the address itself:</p>
    ${command(`particle keys server ${key().name}.pub.der --protocol ${kind} --host ${host} --port ${port()}`)}`
    : html`${command(`particle keys server server-${kind === "udp" ? "ec" : "rsa"}.pub.der --protocol ${kind} --host ${host}`)}`;

  const draw = () => signal.aborted || render(html`
    ${heading("Add a device", nothing, html`<p>A device needs two things: its public key registered here, and this
      server's key and address on the device.</p>`)}
    <ol class="steps">
      <li>${card("Get the server's key", html`${choice()}${download()}`)}</li>
      <li>${card("Write it to the device", write())}</li>
      <li>${card("Read the device's key", html`<p>Still in DFU mode. The second line writes the public key as PEM.</p>
        ${command("particle keys save device.der")}
        ${command(`openssl ${KINDS[kind].openssl} -inform DER -in device.der -pubout -out device.pub.pem`)}`)}</li>
      <li>${card("Register it", html`<form @submit=${submit}>
        ${field({ name: "id", label: "Device ID", required: true, pattern: "[0-9a-fA-F]{24}", hint: "24 hex digits: particle identify tells it" })}
        ${field({ name: "name", label: "Name", hint: "May stay empty" })}
        ${field({ name: "key", label: "Public key", rows: 5, required: true, placeholder: "-----BEGIN PUBLIC KEY-----" })}
        <p class="problem" role="alert">${problem}</p>
        <button class="primary">Register</button></form>
        ${waiting ? html`<p class="waiting" role="status"><span class="mark off">Waiting for ${waiting} to connect.</span>
          Restart the device now. This page goes on by itself. <a href=${`/devices/${waiting}`}>Go to the device</a></p>` : nothing}`)}</li>
    </ol>
    <p class="note">No hardware at hand? <code>cloudchamber sim --help</code> runs devices that behave as the firmware does.</p>`, root);
  draw();
}
