/**
 * The server's clock as seen from the browser.
 *
 * The browser's own wall clock may be wrong, and what the page shows must not be: every time that the server sends
 * moves the estimate, and the browser's monotonic clock carries it on in between.
 */
export class ServerClock {
  /** @param {() => number} [monotonicMs] */
  constructor(monotonicMs = () => performance.now()) {
    this.monotonicMs = monotonicMs;
    /** @type {number|null} Server time minus the monotonic clock, both in µs. */
    this.offsetUs = null;
    this.setAtMs = 0;
  }

  /**
   * Take in a time that the server just sent. A delayed message makes the server look behind, never ahead, so the
   * largest offset is the truest; it is given up after a minute, in case the server's clock was set back.
   *
   * @param {number} us
   */
  observe(us) {
    if (!Number.isFinite(us) || us <= 0) return;
    const nowMs = this.monotonicMs();
    const offset = us - nowMs * 1000;
    if (this.offsetUs === null || offset > this.offsetUs || nowMs - this.setAtMs > 60_000) {
      this.offsetUs = offset;
      this.setAtMs = nowMs;
    }
  }

  /** @returns {number} Microseconds since the Unix epoch; the browser's own clock until the server has spoken. */
  nowUs() {
    return this.offsetUs === null ? Date.now() * 1000 : Math.round(this.offsetUs + this.monotonicMs() * 1000);
  }
}
