// The firmware of one device, and an update on its way to it.

import { ask } from "./api.js";
import { dialog, facts, format, html, nothing, tell } from "./ui.js";

/** What the device runs, a form to flash it, and the progress of an update. */
export function updateCard({ id, base, changed }) {
  let device = {};
  let run = null;

  const flash = async () => {
    await dialog({
      title: "Flash a firmware", yes: "Flash", danger: true,
      text: html`<p>The device restarts into it. A binary for another platform is refused.</p>`,
      fields: [{ name: "file", label: "Firmware binary (.bin)", type: "file", required: true }],
      work: async ({ file }) => {
        const form = new FormData();
        form.append("file", file, file.name);
        form.append("file_type", "binary");
        const answer = await ask("PUT", base, { body: form });
        run = { state: "started", percent: 0, name: file.name };
        changed();
        tell(answer?.status ?? answer?.message ?? "Update started");
      },
    });
  };
  const progress = () => run && html`<div class="update ${run.state}">
    <p role="status">${run.state === "started" ? "Updating" : run.state === "success" ? "Updated" : "The update failed"}${
      run.name ? ` with ${run.name}` : ""}${run.reason ? `: ${run.reason}` : ""}</p>
    ${run.state === "started" ? html`<progress max="100" .value=${run.percent} aria-label="Progress of the update">${run.percent} %</progress>` : nothing}</div>`;

  return {
    device: (told) => (device = told),
    event: ({ name, data }) => {
      const text = String(data ?? "").trim();
      if (name === "spark/flash/progress") {
        run = { ...run, state: "started", percent: percentOf(text, run?.percent ?? 0) };
      } else if (name === "spark/flash/status") {
        const [state] = text.split(" ");
        run = { ...run, state, reason: text.slice(state.length).trim(), percent: state === "success" ? 100 : run?.percent ?? 0 };
      } else {
        return;
      }
      changed();
    },
    draw: () => html`${facts([
      ["Firmware version", device.firmware_version ?? "—"],
      ["Locked to", device.desired_firmware_version ?? undefined],
      ["Device OS", device.system_firmware_version ?? "—"],
      ["Updates", device.firmware_updates_forced ? "forced" : device.firmware_updates_enabled ? "enabled" : "disabled by its firmware"],
      ["Pending", device.firmware_updates_pending ? "yes" : undefined],
    ])}${progress()}<button type="button" data-device=${id} ?disabled=${run?.state === "started"} @click=${flash}>Flash…</button>`,
  };
}

/** `42`, `42 %`, `42.5`, `1024/4096` or JSON with `bytes` and `size`. */
function percentOf(text, before) {
  try {
    const told = JSON.parse(text);
    if (told?.size) return (told.bytes / told.size) * 100;
    if (typeof told === "number") return told;
  } catch {
    // Not JSON.
  }
  const [done, size] = text.split("/").map(Number.parseFloat);
  if (size) return (done / size) * 100;
  return Number.isFinite(done) ? done : before;
}
