// What a device tells of its health, over time.

import { get, post } from "./api.js";
import { format, html, render, tell, time } from "./ui.js";

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

/** The charts of those vitals that there are, and the newest values of all. */
export function vitalsCard({ path, signal }) {
  let root = null;
  let reports = [];
  let charts = [];
  let drawn = [];

  const read = async () => {
    const { diagnostics } = await get(path, signal).catch(() => ({ diagnostics: [] }));
    if (signal.aborted || !root) return;
    reports = diagnostics.map((report) => ({ at: report.updated_at, values: flat(report.payload?.device ?? {}) })).reverse();
    await draw();
  };
  const draw = async () => {
    const newest = reports.at(-1);
    if (!newest) {
      render(html`<p class="none">It has told no vitals yet: devices tell them after they connect, if their firmware asks for it, and when they are asked.</p>`, root);
      return;
    }
    const names = Object.keys(newest.values);
    const wanted = Object.keys(SHOWN).filter((name) => names.includes(name)).slice(0, CHARTS_MAX);
    render(html`${wanted.map((name) => html`<h3>${SHOWN[name][0]} <strong>${format.number(scaled(name, newest.values[name]))}${SHOWN[name][1]}</strong></h3>
        <div class="chart" data-vital=${name}></div>`)}
      <details><summary>All vitals</summary><dl class="facts">${names.map((name) =>
        html`<div><dt>${SHOWN[name]?.[0] ?? name}</dt><dd>${format.visible(scaled(name, newest.values[name]))}${SHOWN[name]?.[1] ?? ""}</dd></div>`)}</dl></details>
      <p class="hint">Told ${time(newest.at)}, ${reports.length === 1 ? "once" : `${format.number(reports.length)} times`} so far</p>`, root);
    const { chart } = await import("./chart.js");
    if (signal.aborted) return;
    const times = reports.map((report) => Date.parse(report.at) / 1000);
    const values = (name) => reports.map((report) => (report.values[name] == null ? null : scaled(name, report.values[name])));
    if (wanted.join() === drawn.join()) {
      charts.forEach((change, index) => change(times, [values(wanted[index])]));
      return;
    }
    drawn = wanted;
    charts = wanted.map((name) => chart(root.querySelector(`[data-vital="${name}"]`), {
      title: SHOWN[name][0], signal, unit: SHOWN[name][1], times,
      series: [{ label: SHOWN[name][0], kind: "line", values: values(name) }],
    }));
  };

  return {
    /** An event with what it told a moment ago. */
    event: async ({ data, published_at: at }) => {
      if (!root) return;
      reports.push({ at, values: flat(JSON.parse(data).device ?? {}) });
      await draw();
    },
    /** Asks the device for them; what it tells is an event. */
    ask: async () => {
      await post(`${path}/update`);
      tell("Asked: it answers within seconds");
    },
    open: (element) => {
      root = element;
      return read();
    },
  };
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

/** Data Operations of the last days as bars; days are UTC days. Gives a function that draws others. */
export async function usageChart(root, days, signal) {
  const { chart } = await import("./chart.js");
  if (signal.aborted || !root) return () => {};
  const [times, values] = lastDays(days);
  const change = chart(root, {
    title: "Data Operations by day (UTC)", signal, zoneUtc: true, times, series: [{ label: "Data Operations", kind: "bars", values }],
  });
  return (days) => {
    const [times, values] = lastDays(days);
    change(times, [values]);
  };
}

function lastDays(days) {
  const today = Date.parse(new Date().toISOString().slice(0, 10));
  const sums = new Map(days.map(({ date, operations }) => [date, operations]));
  const dates = [...Array(31)].map((_, back) => new Date(today - (30 - back) * 86_400_000).toISOString().slice(0, 10));
  return [dates.map((date) => Date.parse(date) / 1000), dates.map((date) => sums.get(date) ?? 0)];
}
