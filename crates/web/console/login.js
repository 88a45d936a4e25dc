// Log in: user and password, then a one-time password if the account asks for one.

import { post } from "./api.js";
import { html, render } from "./ui.js";

/** Shows the form in `root`; calls `done` once there is a session. */
export function open(root, done) {
  let challenge = null;
  let problem = "";
  let busy = false;

  const submit = async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    busy = true;
    problem = "";
    draw();
    try {
      await post("/console/session", challenge ? { mfa_token: challenge, otp: values.otp } : values);
      return await done();
    } catch (why) {
      if (why.body?.error === "mfa_required") {
        challenge = why.body.mfa_token;
      } else {
        problem = challenge && why.status === 400
          ? "That code is wrong or was used before" : why.message;
      }
    }
    busy = false;
    draw();
    root.querySelector(challenge ? "[name=otp]" : "[name=password]")?.focus();
  };

  const first = () => html`
    <label class="field"><span>E-mail</span><input name="username" type="email" autocomplete="username"
      required autofocus></label>
    <label class="field"><span>Password</span><input name="password" type="password"
      autocomplete="current-password" required></label>`;
  const second = () => html`
    <label class="field"><span>One-time password</span><input name="otp" inputmode="numeric"
      autocomplete="one-time-code" pattern="[0-9 ]{6,7}" required><small>The six digits that your
      authenticator shows</small></label>
    <button type="button" class="link" @click=${() => ((challenge = null), draw())}>Begin again</button>`;

  const draw = () => render(html`<main id="main" class="login" tabindex="-1">
    <form @submit=${submit}>
      <h1><img src=${new URL("icon.svg", import.meta.url).pathname} alt="" width="28" height="28">Cloud Chamber</h1>
      ${challenge ? second() : first()}
      <p class="problem" role="alert">${problem}</p>
      <button class="primary" ?disabled=${busy}>${busy ? "Working…" : "Log in"}</button>
      <p class="hint">Accounts are made by the operator: <code>cloudchamber user add</code></p>
    </form></main>`, root);
  draw();
}
