/**
 * Server-Sent Events over `fetch`, because `EventSource` cannot send an `Authorization` header.
 */

/** @typedef {{event: string, data: string, id: string}} ServerEvent */

/** Longest line that is buffered, in characters; more than that is not a stream of events. */
const MAX_LINE = 16 * 1024 * 1024;

/** A server sends at least a comment each 15 s; after three missed ones the connection is taken for dead. */
const SILENCE_MS = 45_000;

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 30_000;

/** Turns chunks of text into events, by the rules of the HTML standard's event stream format. */
export class SseParser {
  constructor() {
    this.buffer = "";
    this.started = false;
    this.event = "";
    /** @type {string[]} */
    this.data = [];
    this.id = "";
    /** @type {number|null} What a `retry` field asked for. */
    this.retryMs = null;
  }

  /**
   * @param {string} chunk
   * @returns {ServerEvent[]}  The events that this chunk completed.
   */
  push(chunk) {
    this.buffer += chunk;
    if (!this.started && this.buffer) {
      this.started = true;
      if (this.buffer.startsWith("\uFEFF")) this.buffer = this.buffer.slice(1);
    }
    const events = [];
    const lineEnd = /\r\n|\n|\r/g;
    let start = 0;
    for (let match = lineEnd.exec(this.buffer); match; match = lineEnd.exec(this.buffer)) {
      // A carriage return at the very end may be half of a CRLF whose other half is still to come.
      if (match[0] === "\r" && lineEnd.lastIndex === this.buffer.length) break;
      const event = this.#line(this.buffer.slice(start, match.index));
      if (event) events.push(event);
      start = lineEnd.lastIndex;
    }
    this.buffer = this.buffer.slice(start);
    if (this.buffer.length > MAX_LINE) throw new Error("a line of the event stream is too long");
    return events;
  }

  /**
   * @param {string} line
   * @returns {ServerEvent|null}
   */
  #line(line) {
    if (line === "") {
      const { event, data, id } = this;
      this.event = "";
      this.data = [];
      return data.length ? { event: event || "message", data: data.join("\n"), id } : null;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.event = value;
    else if (name === "data") this.data.push(value);
    else if (name === "id" && !value.includes("\0")) this.id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retryMs = Number(value);
    return null;
  }
}

/**
 * How long to wait before the next attempt: exponential, capped, with jitter so that a thousand pages do not
 * return in the same moment.
 *
 * @param {number} attempt  Failures so far, from 1.
 * @param {number} random  In [0, 1).
 * @param {number} [firstMs]
 * @returns {number}  Milliseconds.
 */
export function backoffMs(attempt, random, firstMs = FIRST_DELAY_MS) {
  const ceiling = Math.min(MAX_DELAY_MS, firstMs * 2 ** Math.min(attempt - 1, 16));
  return Math.round(ceiling * (0.5 + random / 2));
}

/**
 * @typedef {object} StreamState
 * @property {"connecting"|"live"|"waiting"|"stopped"} phase
 * @property {number} retryAtMs  When the next attempt is due, by `performance.now()`; only while waiting.
 * @property {string} error  Why the last connection ended.
 */

/** A stream of events that comes back by itself after every interruption. */
export class EventStream {
  /**
   * @param {(lastId: string, signal: AbortSignal) => Promise<Response>} connect  Rejects if the server refuses; an
   *   error with `retryAfterMs` sets the next delay, one with `permanent` ends the stream.
   * @param {object} hooks
   * @param {(event: ServerEvent) => void} hooks.onEvent
   * @param {(state: StreamState) => void} hooks.onState
   * @param {(resumed: boolean) => void} hooks.onOpen  Called for every connection; `resumed` after the first.
   */
  constructor(connect, { onEvent, onState, onOpen }) {
    this.connect = connect;
    this.onEvent = onEvent;
    this.onState = onState;
    this.onOpen = onOpen;
    this.lastId = "";
    this.opened = 0;
    /** The first delay; the server may ask for another. */
    this.firstDelayMs = FIRST_DELAY_MS;
    /** @type {AbortController|null} Ends the whole stream. */
    this.controller = null;
    /** @type {(() => void)|null} Cuts the present wait short. */
    this.wake = null;
  }

  start() {
    if (this.controller) return;
    this.controller = new AbortController();
    void this.#run(this.controller.signal);
  }

  stop() {
    this.controller?.abort();
    this.controller = null;
    this.onState({ phase: "stopped", retryAtMs: 0, error: "" });
  }

  /** Try again now instead of when the wait is over. */
  retryNow() {
    this.wake?.();
  }

  /** @param {AbortSignal} signal */
  async #run(signal) {
    let attempt = 0;
    while (!signal.aborted) {
      this.onState({ phase: "connecting", retryAtMs: 0, error: "" });
      let error = "the server closed the connection";
      let delay = null;
      try {
        await this.#read(signal, () => {
          attempt = 0;
        });
      } catch (cause) {
        const failure = /** @type {any} */ (cause);
        error = String(failure?.message ?? failure);
        if (failure?.permanent) {
          if (!signal.aborted) this.onState({ phase: "stopped", retryAtMs: 0, error });
          return;
        }
        delay = failure?.retryAfterMs ?? null;
      }
      if (signal.aborted) return;
      attempt += 1;
      const waitMs = Math.max(delay ?? 0, backoffMs(attempt, Math.random(), this.firstDelayMs));
      this.onState({ phase: "waiting", retryAtMs: performance.now() + waitMs, error });
      await this.#wait(waitMs, signal);
    }
  }

  /**
   * @param {AbortSignal} signal
   * @param {() => void} onProgress
   */
  async #read(signal, onProgress) {
    const connection = new AbortController();
    const end = () => connection.abort(signal.reason);
    signal.addEventListener("abort", end);
    const expire = () => connection.abort(new Error("the server fell silent"));
    let watchdog = setTimeout(expire, SILENCE_MS);
    try {
      const response = await this.connect(this.lastId, connection.signal);
      if (!response.body) throw new Error("the stream has no body");
      if (signal.aborted) return;
      this.onState({ phase: "live", retryAtMs: 0, error: "" });
      this.onOpen(this.opened > 0);
      this.opened += 1;
      const parser = new SseParser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || signal.aborted) return;
        clearTimeout(watchdog);
        watchdog = setTimeout(expire, SILENCE_MS);
        onProgress();
        const events = parser.push(value);
        this.firstDelayMs = parser.retryMs ?? this.firstDelayMs;
        for (const event of events) {
          if (event.id) this.lastId = event.id;
          this.onEvent(event);
        }
      }
    } finally {
      clearTimeout(watchdog);
      signal.removeEventListener("abort", end);
      connection.abort();
    }
  }

  /**
   * @param {number} ms
   * @param {AbortSignal} signal
   */
  #wait(ms, signal) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        removeEventListener("online", done);
        signal.removeEventListener("abort", done);
        this.wake = null;
        resolve(undefined);
      };
      const timer = setTimeout(done, ms);
      addEventListener("online", done);
      signal.addEventListener("abort", done);
      this.wake = done;
    });
  }
}
