// Requests to the API: one of each kind at a time, a key where one is needed, one kind of failure.

const KEY = "sextant-key";
const SAYABLE = /^[\x21-\x7e]+$/;

/** What went wrong, as people can read it. */
export class Failure extends Error {
  /** @param {{status: number, title: string, detail?: string, request?: string, after?: number}} facts */
  constructor({ status, title, detail = "", request = "", after = 0 }) {
    super(detail || title);
    Object.assign(this, { status, title, detail, request, after });
  }

  /** Whether the server was not reached at all. */
  get unreached() {
    return this.status === 0;
  }
}

export class Api {
  /** @param {function(boolean): Promise<?string>} askKey Told whether a key was refused. */
  constructor(askKey) {
    this.askKey = askKey;
    this.running = new Map();
    this.asking = null;
  }

  get hasKey() {
    return this.key() !== null;
  }

  key() {
    try {
      return sessionStorage.getItem(KEY) ?? this.kept ?? null;
    } catch {
      return this.kept ?? null;
    }
  }

  keepKey(key) {
    this.kept = key;
    try {
      if (key === null) sessionStorage.removeItem(KEY);
      else sessionStorage.setItem(KEY, key);
    } catch {
      // it is kept until the page is closed
    }
  }

  /** Ends the request of a kind that is under way. */
  abort(kind) {
    this.running.get(kind)?.abort();
    this.running.delete(kind);
  }

  /**
   * One answer; the request of the same kind before it is aborted.
   *
   * @param {string} kind Such as `search`.
   * @param {string} path Relative to the page, `v1/...`.
   * @param {?Object} body Posted as JSON; null: the request is a GET.
   * @throws {Failure} Whatever went wrong, other than
   * @throws {DOMException} `AbortError`: a newer request took its place.
   */
  async ask(kind, path, body = null) {
    this.abort(kind);
    const controller = new AbortController();
    this.running.set(kind, controller);
    try {
      for (;;) {
        const used = this.key();
        const answer = await this.send(path, body, used, controller.signal);
        if (answer.status !== 401) return await read(answer);
        const failure = await failureOf(answer);
        controller.signal.throwIfAborted();
        if (this.key() !== used) continue; // another request has asked meanwhile
        if (!(await this.newKey(used !== null))) throw failure;
        controller.signal.throwIfAborted();
      }
    } finally {
      if (this.running.get(kind) === controller) this.running.delete(kind);
    }
  }

  async send(path, body, key, signal) {
    const headers = { Accept: "application/json, application/problem+json" };
    if (key !== null) headers.Authorization = `Bearer ${key}`;
    if (body !== null) headers["Content-Type"] = "application/json";
    try {
      return await fetch(path, {
        method: body === null ? "GET" : "POST",
        headers,
        body: body === null ? null : JSON.stringify(body),
        signal,
        credentials: "omit",
        cache: "no-store",
        redirect: "error",
        referrerPolicy: "no-referrer",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure({
        status: 0,
        title: navigator.onLine ? "The server cannot be reached" : "You are offline",
        detail: navigator.onLine
          ? "It may have stopped, or the connection failed."
          : "This device has no connection just now.",
      });
    }
  }

  /** Asks for a key, once however many requests need one; false: there is none. */
  async newKey(refused) {
    this.asking ??= this.askKey(refused).finally(() => { this.asking = null; });
    const key = await this.asking;
    if (key === null) return false;
    this.keepKey(key);
    return true;
  }
}

/** Whether a key can be one at all: it goes into a header. */
export function isKey(text) {
  return SAYABLE.test(text);
}

async function read(answer) {
  if (!answer.ok) throw await failureOf(answer);
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure({
      status: answer.status,
      title: "The answer cannot be read",
      detail: "It is not JSON, or it broke off.",
      request: answer.headers.get("X-Request-ID") ?? "",
    });
  }
}

async function failureOf(answer) {
  let told = {};
  try {
    const body = await answer.json();
    if (body && typeof body === "object") told = body;
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  const text = (value) => (typeof value === "string" ? value : "");
  return new Failure({
    status: answer.status,
    title: text(told.title) || `The server answered ${answer.status}`,
    detail: text(told.detail),
    request: text(told.request_id) || (answer.headers.get("X-Request-ID") ?? ""),
    after: Number(answer.headers.get("Retry-After")) || 0,
  });
}
