/** Asking for the overview again and again: quickly while someone looks, slowly while nobody does. */

import { backoffMs } from "./sse.js";

const VISIBLE_MS = 5_000;
const HIDDEN_MS = 30_000;

export class OverviewPoller {
  /**
   * @param {import("./api.js").Api} api
   * @param {(overview: import("./types.js").Overview) => void} onOverview
   * @param {(error: Error & {permanent?: boolean}) => void} onError
   */
  constructor(api, onOverview, onError) {
    this.api = api;
    this.onOverview = onOverview;
    this.onError = onError;
    this.failures = 0;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
    /** @type {AbortController|null} */
    this.request = null;
    this.running = false;
    document.addEventListener("visibilitychange", () => {
      if (this.running && !document.hidden) this.now();
    });
  }

  start() {
    this.running = true;
    this.failures = 0;
    this.now();
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
    this.request?.abort();
  }

  /** Ask now instead of when it is due. */
  now() {
    clearTimeout(this.timer);
    this.request?.abort();
    const request = (this.request = new AbortController());
    void this.#ask(request.signal);
  }

  /** @param {AbortSignal} signal */
  async #ask(signal) {
    try {
      const overview = await this.api.get("v1/overview", {}, signal);
      if (signal.aborted) return;
      this.failures = 0;
      this.onOverview(overview);
    } catch (error) {
      if (signal.aborted) return;
      this.failures += 1;
      this.onError(/** @type {Error} */ (error));
    }
    if (!this.running) return;
    const usual = document.hidden ? HIDDEN_MS : VISIBLE_MS;
    const delay = this.failures ? Math.min(HIDDEN_MS, backoffMs(this.failures, Math.random(), 1_000)) : usual;
    this.timer = setTimeout(() => this.now(), delay);
  }
}
