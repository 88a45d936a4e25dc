// Billing & Usage: the limits, where the period will end, what it was used for, and the calculator.

import { get, put, sleep } from "./api.js";
import { refresh } from "./app.js";
import { card, dialog, facts, field, format, heading, html, nothing, render, tell, time, usageBar } from "./ui.js";

const LIMITS = [
  ["data_operations", "Data Operations", format.number],
  ["devices", "Devices", format.number],
  ["cellular_bytes", "Cellular data", format.bytes],
  ["tracker_bytes", "Cellular data of Trackers", format.bytes],
];
const FORECASTS = { data_operations: ["data_operations", "operations"], devices: ["devices"], cellular_bytes: ["cellular_bytes"], tracker_bytes: ["tracker_bytes"] };
const KINDS = {
  publish: "Publishes", delivery: "Deliveries to devices", function_call: "Function calls",
  variable_request: "Variable requests", ping: "Pings", stored_point: "Stored points",
  publish_copy: "Copies of publishes", webhook_answer: "Webhook answers",
};
const READ_EACH_MS = 15_000;

/** Shows how the account stands. */
export async function open(root, { signal }) {
  let told = null;
  let notices = [];
  let estimate = null;
  let problem = "";

  const read = async () => {
    told = await get("/console/usage", signal);
    const { data } = await get("/v1/user/service_agreements/1/notifications", signal);
    notices = data.map(({ attributes }) => attributes);
    draw();
  };
  const calculate = async (event) => {
    event.preventDefault();
    const asked = [...new FormData(event.target)].filter(([, value]) => value !== "");
    problem = "";
    try {
      ({ data: estimate } = await get(`/v1/user/usage/estimate?${new URLSearchParams(asked)}`, signal));
    } catch (why) {
      [estimate, problem] = [null, why.message];
    }
    draw();
  };

  const change = async () => {
    const { plan, blocks } = told.agreement.attributes.pricing_terms;
    const done = await dialog({
      title: "Change the plan", yes: "Change",
      text: html`<p>More takes effect at once, for this period and the next ones: more blocks give more Data Operations, devices and cellular data.
        Less takes effect when a period ends that needed no more blocks than it had.</p>`,
      fields: [
        { name: "plan", label: "Plan", value: plan, options: [["free", "Free"], ["growth", "Growth"]] },
        { name: "blocks", label: "Blocks of the Growth plan", type: "number", value: String(blocks ?? 1), hint: "The Free plan has none" },
      ],
      work: ({ plan, blocks }) => put("/v1/user/service_agreements/1", plan === "growth" ? { plan, blocks: Number(blocks) } : { plan }),
    });
    if (!done) return;
    tell("The plan is changed");
    await Promise.all([read(), refresh()]);
  };
  const isOwn = () => ["free", "growth"].includes(told.agreement.attributes.pricing_terms.plan);

  const limit = ([key, label, shown]) => {
    const share = told.agreement.attributes.current_usage_summary[key];
    if (!share || (key === "tracker_bytes" && !share.used && !share.limit)) return nothing;
    const [name] = (FORECASTS[key] ?? []).filter((name) => told.forecast?.[name] !== undefined);
    const forecast = told.forecast?.[name];
    const over = share.limit && forecast > share.limit;
    return html`<div class="limit"><div class="line"><h3>${label}</h3><span>${shown(share.used)}${
      share.limit ? html` of ${shown(share.limit)} · <strong>${share.percent} %</strong>` : html`, no limit`}</span></div>
      ${share.limit ? usageBar(label, share.percent) : nothing}
      ${forecast === undefined || key === "devices" ? nothing : html`<p class=${over ? "hint problem" : "hint"}>At this pace
        ${shown(forecast)}${share.limit ? ` (${format.number(Math.round((forecast / share.limit) * 100))} %)` : ""} when the period ends</p>`}</div>`;
  };
  const named = ({ plan, blocks }) => `${plan[0].toUpperCase()}${plan.slice(1)}${blocks ? `, ${blocks} ${blocks === 1 ? "block" : "blocks"}` : ""}`;
  const plan = ({ attributes: { pricing_terms: terms, ...attributes } }) => facts([
    ["Plan", named(terms)],
    ["Next plan", terms.next ? html`${named(terms.next)} from ${time(terms.next.from, { form: "date" })}` : undefined],
    ["Catalogue", terms.catalogue],
    ["Period", html`${time(attributes.current_billing_period_start, { form: "date" })} – ${time(attributes.current_billing_period_end, { form: "date" })}`],
    ["State", html`<span class="mark ${attributes.state === "paused" ? "bad" : "good"}">${attributes.state === "paused" ? "Paused" : "Active"}</span>`],
    ["Grace ends", attributes.current_usage_summary.grace_ends_at ? time(attributes.current_usage_summary.grace_ends_at, { form: "full" }) : undefined],
  ]);
  const kinds = () => {
    const all = Object.entries(told.kinds).sort((a, b) => b[1] - a[1]);
    const sum = all.reduce((sum, [, count]) => sum + count, 0);
    return all.length ? html`<table class="plain"><tbody>${all.map(([kind, count]) => html`<tr><th scope="row">${KINDS[kind] ?? kind}</th>
      <td class="number">${format.number(count)}</td><td class="number">${Math.round((count / sum) * 100)} %</td></tr>`)}</tbody></table>`
      : html`<p class="none">Nothing was counted in this period.</p>`;
  };
  const busiest = () => told.busiest.length ? html`<table class="plain"><tbody>${told.busiest.map((device) => html`<tr>
    <th scope="row"><a href=${`/devices/${device.id}`}>${device.name ?? device.id}</a></th><td class="number">${format.number(device.operations)}</td></tr>`)}</tbody></table>`
    : html`<p class="none">No device used any.</p>`;
  const notice = (one) => html`<li><div class="line"><strong>${one.subject}</strong> ${time(one.created_at, { form: "full" })}</div>
    <p class="hint">${one.message}</p></li>`;
  const calculator = () => html`<form class="calculator" @submit=${calculate}>
    ${field({ name: "devices", label: "Devices", type: "number", value: "100", required: true })}
    ${field({ name: "every", label: "Each publishes every", placeholder: "10m", hint: "30s, 10m, 1h30m, 1d; or leave it empty and fill in messages a day" })}
    ${[["publishes", "Publishes a day"], ["deliveries", "Deliveries a day"], ["functions", "Function calls a day"], ["variables", "Variable reads a day"]]
      .map(([name, label]) => field({ name, label, type: "number" }))}
    ${field({ name: "payload", label: "Bytes of an event", type: "number", value: "100" })}
    ${field({ name: "connected", label: "Connected by", options: [["wifi", "Wi-Fi or Ethernet"], ["cellular", "Cellular"], ["tracker", "Cellular, as Trackers"]] })}
    ${field({ name: "catalogue", label: "Catalogue", value: told.agreement.attributes.pricing_terms.catalogue, options: told.catalogues.map((name) => [name, name]) })}
    <div class="wide"><button>Calculate</button> <output role="status">${problem ? html`<span class="problem">${problem}</span>` : estimate
      ? html`<strong>${format.number(estimate.operations_per_month)}</strong> Data Operations a month${estimate.cellular_bytes_per_month
        ? html`, about ${format.bytes(estimate.cellular_bytes_per_month)} of cellular data` : nothing}:
        plan <strong>${estimate.plan}</strong>${estimate.plan === "growth" ? `, ${estimate.growth_blocks} ${estimate.growth_blocks === 1 ? "block" : "blocks"}` : ""}` : nothing}</output></div></form>`;

  const draw = () => signal.aborted || render(html`
    ${heading("Billing & Usage")}
    <div class="columns"><div>
      ${card("This period", html`${LIMITS.map(limit)}`)}
      ${card("Plan", html`${plan(told.agreement)}${isOwn() ? nothing : html`<p class="hint">The operator gave it to you, and changes it:
        <code>cloudchamber plan set</code></p>`}`, { actions: isOwn() ? html`<button type="button" @click=${change}>Change…</button>` : nothing })}
    </div><div>
      ${card("By kind", kinds())}
      ${card("Devices that used most", busiest())}
    </div></div>
    ${card("Data Operations by day (UTC)", html`<div class="chart" id="days"></div>`)}
    ${card("Notices", notices.length ? html`<ul class="lines">${notices.map(notice)}</ul>`
      : html`<p class="none">None yet: they come at 70, 90 and 100 % of a limit.</p>`)}
    ${card("Calculator", calculator())}`, root);

  await read();
  const { chart } = await import("./chart.js");
  if (signal.aborted) return;
  drawDays(chart, root.querySelector("#days"), told, signal);
  while (!signal.aborted) {
    await sleep(READ_EACH_MS, signal);
    if (!document.hidden && !signal.aborted) await read().catch(() => {});
  }
}

function drawDays(chart, root, { agreement, days }, signal) {
  const { current_billing_period_start: start, current_billing_period_end: end } = agreement.attributes;
  const dates = [];
  for (let at = Date.parse(start.slice(0, 10)); at < Date.parse(end); at += 86_400_000) {
    dates.push(new Date(at).toISOString().slice(0, 10));
  }
  const by = new Map(days.map(({ date, kinds }) => [date, Object.values(kinds).reduce((a, b) => a + b, 0)]));
  chart(root, {
    title: "Data Operations by day", signal, zoneUtc: true,
    times: dates.map((date) => Date.parse(date) / 1000),
    series: [{ label: "Data Operations", kind: "bars", values: dates.map((date) => by.get(date) ?? (Date.parse(date) > Date.now() ? null : 0)) }],
  });
}

