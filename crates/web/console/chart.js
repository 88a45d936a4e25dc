// Charts over time, drawn by uPlot in the colours of the page.

import uPlot from "./uplot.js";
import { number } from "./format.js";

const HEIGHT = 160;
/** A bar stands for the day that begins at its time. */
const DAY_S = 86_400;
/** The shortest time that a chart shows, but for days. */
const SPAN_MIN_S = 60;

/**
 * Draws a chart into `root`. `times` are seconds, `series` are `{label, values, kind}` with kind `line` or
 * `bars`. A table for those who cannot see it comes with it. Gives a function that draws other data.
 */
export function chart(root, { title, times, series, unit = "", signal, zoneUtc = false, marks = [] }) {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let data = [times, ...series.map(({ values }) => values)];
  let plot = null;

  const options = () => ({
    width: Math.max(200, root.clientWidth),
    height: HEIGHT,
    tzDate: zoneUtc ? (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : undefined,
    cursor: { y: false, drag: { x: false, y: false } },
    legend: { live: true },
    scales: { x: zoneUtc ? { range: (_, min, max) => [min, max + DAY_S] } : { range: (_, min, max) => (max == null ? [0, SPAN_MIN_S] : [Math.min(min, max - SPAN_MIN_S), max]) }, y: { range: (_, min, max) => [Math.min(0, min ?? 0), Math.max(...marks, max ?? 0, 1) * 1.08] } },
    axes: [
      { stroke: colour("--muted"), grid: { show: false }, ticks: { stroke: colour("--line") }, font: "11px system-ui" },
      { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, size: 60,
        font: "11px system-ui", values: (_, values) => values.map((value) => number(value)) },
    ],
    series: [
      { label: "Time" },
      ...series.map(({ label, kind }, index) => ({
        label,
        stroke: colour(`--series-${index + 1}`),
        fill: kind === "bars" ? colour(`--series-${index + 1}`) : undefined,
        width: kind === "bars" ? 0 : 1.5,
        paths: kind === "bars" ? uPlot.paths.bars({ size: [0.7, 40], align: zoneUtc ? 1 : 0 }) : undefined,
        points: { show: kind !== "bars" && times.length < 40, size: 4 },
        value: (_, value) => (value == null ? "—" : `${number(value)}${unit}`),
      })),
    ],
  });
  const draw = () => {
    plot?.destroy();
    root.replaceChildren();
    root.classList.toggle("single", series.length === 1);
    root.setAttribute("role", "img");
    root.setAttribute("aria-label", `${title}: ${summary(data, series, unit)}`);
    plot = new uPlot(options(), data, root);
  };
  const resized = new ResizeObserver(() => plot?.setSize({ width: Math.max(200, root.clientWidth), height: HEIGHT }));
  resized.observe(root);
  addEventListener("theme", draw, { signal });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw, { signal });
  signal.addEventListener("abort", () => (resized.disconnect(), plot?.destroy()), { once: true });
  draw();
  return (newTimes, values) => {
    data = [newTimes, ...values];
    plot.setData(data);
    root.setAttribute("aria-label", `${title}: ${summary(data, series, unit)}`);
  };
}

function summary([times, ...values], series, unit) {
  if (!times.length) return "no data";
  return series.map(({ label }, index) => {
    const known = values[index].filter((value) => value != null);
    if (!known.length) return `${label} unknown`;
    return `${label} last ${number(known.at(-1))}${unit}, lowest ${number(Math.min(...known))}${unit}, highest ${number(Math.max(...known))}${unit}`;
  }).join("; ");
}
