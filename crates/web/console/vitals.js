// What a device tells of its health, over time.

import { get } from "./api.js";
import { format, html, render, time } from "./ui.js";

// Percents and dBm come in 256ths from the device.
const SHOWN = {
  "net:sigstr": ["Signal strength", " %", 256],
  "net:sigqual": ["Signal quality", " %", 256],
  "net:rssi": ["RSSI", " dBm", 256],
  "batt:soc": ["Battery", " %", 256],
  "mem:free": ["Free memory", " B", 1],
  "sys:uptime": ["Uptime", " s", 1],
  "coap:roundtrip": ["Round trip", " ms", 1],
  "coap:retransmit": ["Retransmissions", "", 1],
  "cloud:dconn": ["Disconnections", "", 1],
  "pub:throttle": ["Throttled publishes", "", 1],
};
const CHARTS_MAX = 4;

/** Draws the charts of those vitals that there are, and the newest values of all. */
export async function vitalsCard(root, { id, signal }) {
  let told;
  try {
    ({ diagnostics: told } = await get(`/v1/diagnostics/${id}`, signal));
  } catch {
    told = [];
  }
  if (signal.aborted) return;
  const reports = told.map((report) => ({ at: report.updated_at, values: flat(report.payload?.device ?? {}) })).reverse();
  const newest = reports.at(-1);
  if (!newest) {
    render(html`<p class="none">It has told no vitals yet: devices tell them after they connect, if their firmware asks for it.</p>`, root);
    return;
  }
  const names = Object.keys(newest.values);
  const drawn = Object.keys(SHOWN).filter((name) => names.includes(name)).slice(0, CHARTS_MAX);
  const value = (name, raw) => raw == null ? null : scaled(name, raw);
  render(html`${drawn.map((name) => html`<h3>${SHOWN[name][0]} <strong>${format.number(value(name, newest.values[name]))}${SHOWN[name][1]}</strong></h3>
      <div class="chart" data-vital=${name}></div>`)}
    <details><summary>All vitals</summary><dl class="facts">${names.map((name) =>
      html`<div><dt>${SHOWN[name]?.[0] ?? name}</dt><dd>${format.visible(value(name, newest.values[name]))}${SHOWN[name]?.[1] ?? ""}</dd></div>`)}</dl></details>
    <p class="hint">Told ${time(newest.at)}</p>`, root);
  const { chart } = await import("./chart.js");
  if (signal.aborted) return;
  for (const name of drawn) {
    chart(root.querySelector(`[data-vital="${name}"]`), {
      title: SHOWN[name][0], signal, unit: SHOWN[name][1],
      times: reports.map((report) => Date.parse(report.at) / 1000),
      series: [{ label: SHOWN[name][0], kind: "line", values: reports.map((report) => value(name, report.values[name])) }],
    });
  }
}

function scaled(name, raw) {
  if (typeof raw !== "number") return raw;
  const parts = SHOWN[name]?.[2] ?? 1;
  return Math.round((raw / parts) * 10) / 10;
}

/** Names as the firmware writes them, whether or not the values are nested. */
function flat(object, prefix = "") {
  return Object.entries(object).reduce((all, [key, value]) => value && typeof value === "object"
    ? { ...all, ...flat(value, `${prefix}${key}:`) } : { ...all, [prefix + key]: value }, {});
}

/** Data Operations of the last days as bars; days are UTC days. */
export async function usageChart(root, days, signal) {
  const { chart } = await import("./chart.js");
  if (signal.aborted || !root) return;
  const today = new Date().toISOString().slice(0, 10);
  const sums = new Map(days.map(({ date, operations }) => [date, operations]));
  const dates = [...Array(31)].map((_, back) =>
    new Date(Date.parse(today) - (30 - back) * 86_400_000).toISOString().slice(0, 10));
  chart(root, {
    title: "Data Operations by day (UTC)", signal, zoneUtc: true,
    times: dates.map((date) => Date.parse(date) / 1000),
    series: [{ label: "Data Operations", kind: "bars", values: dates.map((date) => sums.get(date) ?? 0) }],
  });
}
