// The firmware of one device, and an update on its way to it.

import { ask, get, put } from "./api.js";
import { dialog, facts, format, html, nothing, progressBar, tell, time } from "./ui.js";

const UNDER_WAY = ["waiting", "started", "validating", "restarting"];
const WORDS = {
  waiting: "The update waits", started: "Updating", validating: "The device checks the firmware", restarting: "The device restarts",
  success: "Updated", failed: "The update failed", cancelled: "The update was called off",
};
const REASONS = {
  flash: () => "flashed by hand", lock: ({ version }) => `locked to version ${version}`,
  release: ({ version }) => `release of version ${version}`, safe_mode: () => "it lacks a module and is in safe mode",
};

/** What the device runs, a form to flash it, and the progress of an update. */
export function updateCard({ id, base, changed }) {
  let device = {};
  let run = null;
  const isUnderWay = () => UNDER_WAY.includes(run?.status);

  const flash = async () => {
    const versions = await productVersions(device);
    await dialog({
      title: "Flash a firmware", yes: "Flash", danger: true,
      text: html`<p>The device restarts into it. A binary for another platform is refused.</p>`,
      fields: [
        { name: "file", label: "Firmware binary (.bin)", type: "file", required: !versions.length },
        ...(versions.length ? [{ name: "version", label: "or a version of its product", options: [["", "None: the file above"], ...versions] }] : []),
        ...(device.firmware_updates_enabled === false ? [{ name: "force", label: "Its firmware disables updates",
          options: [["", "Respect that: it waits until it allows them"], ["true", "Flash it all the same"]] }] : []),
      ],
      work: async ({ file, version, force }) => {
        const answer = await send({ base, product: device.product_id, file, version, force });
        run = { status: "started", bytes: 0, size: file?.size || undefined, asked_at: new Date().toISOString() };
        changed();
        tell(answer?.status ?? "Update started");
      },
    });
  };

  const progress = () => run && html`<div class="update ${run.status}">
    <p role="status">${WORDS[run.status] ?? run.status}${run.detail ? `: ${format.visible(run.detail)}` : ""}${isUnderWay() && run.size
      ? html` <strong>${percent(run)} %</strong> of ${format.bytes(run.size)}` : nothing}</p>
    ${isUnderWay() ? progressBar("Progress of the update", percent(run) ?? 0) : nothing}
    ${run.reason ? html`<p class="hint">${REASONS[run.reason.kind]?.(run.reason) ?? run.reason.kind}${run.ended_at ? html`, ${time(run.ended_at)}` : nothing}</p>` : nothing}</div>`;

  return {
    isUnderWay,
    device: (told) => {
      device = told;
      const update = told.firmware_update;
      // The bytes of a transfer are told in its course alone.
      if (update) run = { ...(run && isUnderWay() ? { bytes: run.bytes, size: run.size } : {}), ...withoutNulls(update) };
    },
    event: ({ name, data }) => {
      const text = String(data ?? "").trim();
      if (name === "spark/flash/progress") run = { ...run, status: "started", detail: "", ...parse(text) };
      else if (name === "spark/flash/status") {
        const [status] = text.split(" ");
        run = { ...run, status: status in WORDS ? status : "started", detail: text.slice(status.length).trim() };
      } else return;
      changed();
    },
    draw: () => html`${facts([
      ["Firmware version", device.firmware_version ?? "—"],
      ["Locked to", device.desired_firmware_version ?? undefined],
      ["Released for it", device.targeted_firmware_release_version ?? undefined],
      ["Groups", device.groups?.length ? device.groups.join(", ") : undefined],
      ["Device OS", device.system_firmware_version ?? "—"],
      ["Updates", device.firmware_updates_forced ? "forced" : device.firmware_updates_enabled === false ? "disabled by its firmware" : "enabled"],
    ])}${progress()}<button type="button" data-device=${id} ?disabled=${isUnderWay()} @click=${flash}>Flash…</button>`,
  };
}

/** Asks the device of `base` to take a file, or a version of a product. */
export function send({ base, product, file, version, force }) {
  const forced = force ? { force: true } : {};
  if (version) return put(base, { product_id: product, version: Number(version), ...forced });
  if (!file?.size) throw new Error("Choose a file");
  const form = new FormData();
  form.append("file", file, file.name);
  form.append("file_type", "binary");
  if (force) form.append("force", "true");
  return ask("PUT", base, { body: form });
}

/** Numbers of platforms are no products. */
async function productVersions({ product_id: product }) {
  if (!(product >= 10_000)) return [];
  const all = await get(`/v1/products/${product}/firmware`).catch(() => []);
  return all.map(({ version, title }) => [version, title ? `${version}: ${title}` : `${version}`]);
}

const percent = ({ bytes, size }) => (size ? Math.min(100, Math.floor(((bytes ?? 0) / size) * 100)) : undefined);
const withoutNulls = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value != null));

function parse(text) {
  try {
    const { bytes, size } = JSON.parse(text);
    return { bytes, size };
  } catch {
    return {};
  }
}
