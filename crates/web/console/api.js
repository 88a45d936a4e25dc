// The HTTP API as the signed-in browser reaches it: the cookie holds the session, scripts never see it.

/** A refused request; `message` is what the server said. */
export class Refused extends Error {
  constructor(status, body) {
    super(text(body) || `The server answered ${status}`);
    this.status = status;
    this.body = body;
  }
}

function text(body) {
  const [first] = body?.errors ?? [];
  return body?.error_description ?? first?.message ?? first ?? body?.info ?? body?.error;
}

/** Asks the API; gives the JSON of the answer, or throws `Refused`. */
export async function ask(method, path, { body, signal } = {}) {
  const headers = { "x-console": "1" };
  const isFile = body instanceof FormData;
  if (body !== undefined && !isFile) headers["content-type"] = "application/json";
  let response;
  try {
    const sent = isFile || body === undefined ? body : JSON.stringify(body);
    response = await fetch(path, { method, headers, body: sent, signal, credentials: "same-origin" });
  } catch (why) {
    if (why.name === "AbortError") throw why;
    throw new Refused(0, { error: "The server does not answer; trying again may help" });
  }
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const isOwn = path.startsWith("/console/session") && method === "POST";
  if (response.status === 401 || (response.status === 400 && answer?.error === "invalid_request")) {
    if (!isOwn) dispatchEvent(new Event("signed-out"));
  }
  throw new Refused(response.status, answer);
}

export const get = (path, signal) => ask("GET", path, { signal });
export const post = (path, body) => ask("POST", path, { body: body ?? {} });
export const put = (path, body) => ask("PUT", path, { body: body ?? {} });
export const remove = (path, body) => ask("DELETE", path, { body });

const PATIENCE_MS = 20_000;
const PAUSE_MS = 1_000;
const PAUSE_MS_MAX = 15_000;

/**
 * Follows an event stream until `signal` is aborted, and comes back behind the last event seen.
 * `told(event)` gets `{name, id, data, ttl, published_at, coreid}`; `state(word, detail)` gets `live`,
 * `lost` (with the seconds until the next attempt) or `missed` (with how many events).
 */
export async function follow(path, { told, state, signal }) {
  let last = "";
  let pause = PAUSE_MS;
  while (!signal.aborted) {
    let wait;
    try {
      await followOnce(path, last, signal, (event) => {
        last = event.id ?? last;
        told(event);
      }, (word, detail) => {
        pause = PAUSE_MS;
        state(word, detail);
      });
    } catch (why) {
      wait = why.retryAfter;
    }
    if (signal.aborted) return;
    wait ??= pause;
    pause = Math.min(pause * 2, PAUSE_MS_MAX);
    state("lost", Math.ceil(wait / 1000));
    await sleep(wait, signal);
  }
}

async function followOnce(path, last, signal, told, state) {
  const silence = new AbortController();
  const stop = () => silence.abort();
  signal.addEventListener("abort", stop, { once: true });
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(stop, PATIENCE_MS);
  };
  try {
    heard();
    const headers = { "x-console": "1", "last-event-id": last };
    const response = await fetch(path, { headers, signal: silence.signal, cache: "no-store" });
    if (response.status === 401) dispatchEvent(new Event("signed-out"));
    if (!response.ok) {
      throw { retryAfter: Number(response.headers.get("retry-after") ?? 0) * 1000 || undefined };
    }
    state("live");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) readBlock(block, told, state);
    }
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

function readBlock(block, told, state) {
  const event = {};
  for (const line of block.split("\n")) {
    const at = line.indexOf(": ");
    const key = line.slice(0, at);
    if (line.startsWith(":missed")) state("missed", line.slice(7).trim());
    if (key === "event") event.name = line.slice(at + 2);
    if (key === "id") event.id = line.slice(at + 2);
    if (key === "data") Object.assign(event, JSON.parse(line.slice(at + 2)));
  }
  if (event.name) told(event);
}

/** Waits, or less long if the signal is aborted. */
export function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
