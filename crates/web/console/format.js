// Values as people read them.

const PLATFORMS = {
  0: "Core", 3: "GCC", 6: "Photon", 8: "P1", 10: "Electron", 12: "Argon", 13: "Boron", 14: "Xenon",
  15: "E SoM X", 22: "A SoM", 23: "B SoM", 25: "B5 SoM", 26: "Tracker", 28: "Tracker M",
  32: "Photon 2 / P2", 35: "M-SoM", 37: "Electron 2",
};

/** The vendor's name of a platform number. */
export const platform = (number) => PLATFORMS[number] ?? (number ? `Platform ${number}` : "—");
/** Numbers and names of all platforms. */
export const platforms = Object.entries(PLATFORMS).map(([number, name]) => [Number(number), name]);

const numbers = new Intl.NumberFormat();
/** A number with the reader's separators. */
export const number = (value) => (value == null ? "—" : numbers.format(value));

/** Bytes in a unit that leaves few digits. */
export function bytes(value) {
  if (value == null) return "—";
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (value >= size) return `${(value / size).toFixed(value >= 10 * size ? 0 : 1)} ${unit}`;
  }
  return `${value} B`;
}

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false,
});
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const days = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });

/** Hour, minute and second in the reader's zone. */
export const clockTime = (iso) => clock.format(new Date(iso));
/** Date and time in the reader's zone. */
export const fullTime = (iso) => full.format(new Date(iso));
/** The date in the reader's zone. */
export const date = (iso) => days.format(new Date(iso));
/** The moment in UTC, for the tooltip. */
export const utc = (iso) => `${new Date(iso).toISOString().replace("T", " ").slice(0, 19)} UTC`;

/** How long ago, in one unit. */
export function ago(iso, now = Date.now()) {
  const seconds = (Date.parse(iso) - now) / 1000;
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return Math.abs(seconds) < 5 ? "now" : relative.format(Math.trunc(seconds), "second");
}

/** Event data on one line; what cannot be seen is written out. */
export function visible(text) {
  return String(text ?? "").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** JSON with indentation; any other text as it is. */
export function pretty(text) {
  const first = String(text ?? "").trimStart()[0];
  if (first !== "{" && first !== "[") return visible(text);
  try {
    return visible(JSON.stringify(JSON.parse(text), null, 2));
  } catch {
    return visible(text);
  }
}
