// The frame around every page: who is signed in, where one is, what one has to know.

import { get, remove } from "./api.js";
import { html, nothing, render, attempt, format } from "./ui.js";

const PAGES = [
  [/^\/$/, "devices", "Devices"],
  [/^\/devices$/, "devices", "Devices"],
  [/^\/devices\/([^/]+)$/, "device", "Device"],
  [/^\/events$/, "events", "Events"],
  [/^\/integrations$/, "integrations", "Integrations"],
  [/^\/integrations\/([^/]+)$/, "integrations", "Integration"],
  [/^\/products$/, "products", "Products"],
  [/^\/products\/([^/]+)$/, "product", "Product"],
  [/^\/billing$/, "billing", "Billing & Usage"],
  [/^\/team$/, "team", "Team & tokens"],
  [/^\/server$/, "server", "Server"],
  [/^\/start$/, "start", "Add a device"],
];
const TABS = [
  ["/devices", "Devices"],
  ["/events", "Events"],
  ["/integrations", "Integrations"],
  ["/products", "Products"],
  ["/billing", "Billing & Usage"],
  ["/team", "Team & tokens"],
  ["/server", "Server"],
];
const SESSION_EACH_MS = 15_000;

let session = null;
let leave = new AbortController();
const app = document.getElementById("app");

document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "system";

/** Goes to a page of the console. */
export function go(path, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", path);
  return open();
}

/** Reads again how the account stands. */
export async function refresh() {
  const told = await get("/console/session");
  if (!told.username) return signedOut();
  session = told;
  frame();
}

async function open() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { pathname, search } = location;
  const [pattern, name, title] = PAGES.find(([path]) => path.test(pathname)) ?? PAGES[0];
  document.title = `${title} · Cloud Chamber`;
  frame();
  refresh().catch(() => {});
  showTab();
  const main = document.getElementById("main");
  const page = document.createElement("div");
  page.className = `page ${name}`;
  main.replaceChildren(page);
  main.setAttribute("aria-busy", "true");
  const params = pathname.match(pattern)?.slice(1).map(decodeURIComponent) ?? [];
  const module = await import(`./${name}.js`);
  if (signal.aborted) return;
  main.removeAttribute("aria-busy");
  scrollTo(0, 0);
  await attempt(() => module.open(page, { params, query: new URLSearchParams(search), session, signal }));
}

function frame() {
  if (!session) return;
  const { pathname } = location;
  const here = (path) => pathname.startsWith(path) || (path === "/devices" && pathname === "/");
  render(html`
    <header class="top">
      <a class="brand" href="/"><img src=${new URL("icon.svg", import.meta.url).pathname} alt="" width="22" height="22">Cloud Chamber</a>
      <nav aria-label="Console">${TABS.map(([path, label]) =>
        html`<a href=${path} aria-current=${here(path) ? "page" : nothing}>${label}</a>`)}</nav>
      <details class="account"><summary>${session.username}</summary><div>
        <label>Appearance <select @change=${(event) => setTheme(event.target.value)}>${
          [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]].map(([key, label]) =>
            html`<option value=${key} ?selected=${document.documentElement.dataset.theme === key}>${label}</option>`)}</select></label>
        <button type="button" @click=${signOut}>Log out</button>
        <small>Version ${session.version} · <a href=${new URL("licences.txt", import.meta.url).pathname} data-plain>Licences</a></small>
      </div></details>
    </header>
    ${banner(session.agreement.attributes)}
    <main id="main" tabindex="-1"></main>`, app);
}

/** On a narrow screen the current tab may lie outside of it. */
function showTab() {
  app.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "nearest", block: "nearest" });
}

const LIMITS = {
  data_operations: "Data Operations", devices: "devices", cellular_bytes: "cellular data",
  tracker_bytes: "tracker cellular data",
};

/** What has to be known on every page: paused, or near a limit. */
function banner({ current_usage_summary: usage, current_billing_period_end: end }) {
  if (usage.paused) {
    return html`<div class="banner bad" role="alert">Service is paused: ${usage.paused.reason}
      <a href="/billing">Billing & Usage</a></div>`;
  }
  const shares = Object.entries(LIMITS).map(([key, label]) => [label, usage[key]?.percent ?? 0]);
  const near = shares.filter(([, percent]) => percent >= 70).sort((a, b) => b[1] - a[1]);
  if (!near.length) return nothing;
  const told = near.map(([label, percent]) => `${percent} % of the ${label}`).join(" and ");
  const grace = usage.grace_ends_at ? ` Service pauses ${format.fullTime(usage.grace_ends_at)}.` : "";
  return html`<div class="banner ${near[0][1] >= 90 ? "bad" : "warn"}" role="alert">${told} in the billing period that
    ends ${format.date(end)} are used.${grace} <a href="/billing">Billing & Usage</a></div>`;
}

function setTheme(theme) {
  localStorage.setItem("theme", theme);
  document.documentElement.dataset.theme = theme;
  dispatchEvent(new Event("theme"));
}

async function signOut() {
  await attempt(() => remove("/console/session"));
  signedOut();
}

async function signedOut() {
  session = null;
  leave.abort();
  document.title = "Log in · Cloud Chamber";
  const login = await import("./login.js");
  login.open(app, begin);
}

async function begin() {
  session = await get("/console/session");
  if (!session.username) return signedOut();
  if (location.pathname === "/login") history.replaceState(null, "", "/");
  if (session.devices === 0 && location.pathname === "/") history.replaceState(null, "", "/start");
  await open();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/']");
  const isPlain = event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0;
  if (!link || isPlain || link.target || "plain" in link.dataset || link.download) return;
  event.preventDefault();
  if (link.pathname + link.search !== location.pathname + location.search) go(link.pathname + link.search);
  app.querySelector("details.account").open = false;
  document.getElementById("main")?.focus();
});
addEventListener("popstate", () => session && open());
addEventListener("signed-out", () => session && signedOut());
setInterval(() => session?.username && !document.hidden && refresh().catch(() => {}), SESSION_EACH_MS);
setInterval(() => {
  for (const shown of document.querySelectorAll("time[data-form=ago]")) {
    shown.textContent = format.ago(shown.dateTime);
  }
}, 10_000);
begin().catch((why) => render(html`<p class="empty" role="alert">${why.message}</p>`, app));
