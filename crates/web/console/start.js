// The way to a device that is connected, step by step.

import { follow, get, post } from "./api.js";
import { go, refresh } from "./app.js";
import { attempt, card, command, field, heading, html, nothing, render, tell } from "./ui.js";

/** Shows the steps; `?id=` waits for that device. */
export function open(root, { signal }) {
  let waiting = null;
  let problem = "";
  const host = location.hostname;

  const submit = async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    const id = values.id.trim().toLowerCase();
    problem = "";
    try {
      await post(`/v1/provisioning/${id}`, { deviceID: id, publicKey: values.key, filename: "console" });
      if (values.name) await post_name(id, values.name);
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
  const post_name = (id, name) => import("./api.js").then(({ put }) => put(`/v1/devices/${id}`, { name }));
  const wait = async () => {
    const device = await attempt(() => get(`/v1/devices/${waiting}`, signal));
    if (device?.online) return go(`/devices/${waiting}`);
    follow(`/v1/devices/${waiting}/events/spark/status`, {
      signal,
      state: () => {},
      told: (event) => event.data === "online" && !signal.aborted && go(`/devices/${waiting}`),
    });
  };

  const draw = () => render(html`
    ${heading("Add a device", nothing, html`<p>A device needs two things: its public key registered here, and this
      server's key and address on the device.</p>`)}
    <ol class="steps">
      <li>${card("Make the server's key image", html`<p>On this server. It writes images for devices with the
        server's address in them, and says which file is for which kind of device.</p>
        ${command(`cloudchamber keys server --data DATA --host ${host}`)}`)}</li>
      <li>${card("Write it to the device", html`<p>With the device in DFU mode, on the computer it is plugged into.
        UDP devices (Device OS on Argon, Boron, Photon 2 and later) take the EC image, TCP devices (Photon, P1,
        Electron before 0.5) the RSA image.</p>
        ${command("particle keys server server-ec.der --protocol udp")}
        ${command("particle keys server server-rsa.der --protocol tcp")}`)}</li>
      <li>${card("Read the device's key", html`<p>Still in DFU mode. The second line writes the public key as PEM.</p>
        ${command("particle keys save device.der")}
        ${command("openssl ec -inform DER -in device.der -pubout -out device.pub.pem")}`)}</li>
      <li>${card("Register it", html`<form @submit=${submit}>
        ${field({ name: "id", label: "Device ID", required: true, pattern: "[0-9a-fA-F]{24}", hint: "24 hex digits: particle identify tells it" })}
        ${field({ name: "name", label: "Name", hint: "May stay empty" })}
        ${field({ name: "key", label: "Public key", rows: 5, required: true, placeholder: "-----BEGIN PUBLIC KEY-----" })}
        <p class="problem" role="alert">${problem}</p>
        <button class="primary">Register</button></form>
        ${waiting ? html`<p class="waiting" role="status"><span class="mark off">Waiting for ${waiting} to connect</span>
          Restart the device now. This page goes on by itself. <a href=${`/devices/${waiting}`}>Go to the device</a></p>` : nothing}`)}</li>
    </ol>
    <p class="note">No hardware at hand? <code>cloudchamber sim --help</code> runs devices that behave as the firmware does.</p>`, root);
  draw();
}
