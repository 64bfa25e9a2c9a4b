/** One chart: its heading, newest value, lines and legend. */

import { Chart, MAX_LINES } from "../charts.js";
import { clip, h, setAttr, setText } from "../dom.js";
import { dateTime, quantity } from "../format.js";
import { columns, SeriesSet } from "../series.js";
import { Scope } from "../store.js";
import { empty } from "./parts.js";
import { legend } from "./legend.js";
import { panelNodes } from "./panel_nodes.js";

const HEIGHT = 176;
const TALL = 340;

/** Live samples that may wait for the history to arrive. */
const MAX_PENDING = 5_000;

/** Charts are drawn at most this often, however fast samples come. */
const DRAW_MS = 250;

/** After about this long a chart whose history could not be had asks again. */
const RETRY_MS = 6_000;

/**
 * @typedef {object} PanelOptions
 * @property {() => {from: number, to: number}} window  The time span to show, in seconds by the server's clock.
 * @property {() => boolean} live  Whether the span ends now, so that live samples belong to it.
 * @property {(from: number, to: number) => void} onSelect
 * @property {(() => void)|null} onUnpin  Null if the panel always stays.
 */

export class Panel {
  /**
   * @param {import("./sources.js").Source} source
   * @param {PanelOptions} options
   */
  constructor(source, options) {
    this.source = source;
    this.options = options;
    this.scope = new Scope();
    /** @type {AbortController|null} */
    this.request = null;
    /** @type {import("../types.js").Sample[]|null} Live samples that came while the history was under way. */
    this.pending = null;
    this.set = new SeriesSet(1, source.counter);
    /** @type {Map<string, number>} The colour slot of each series that is drawn. */
    this.slots = new Map();
    /** Whether the user has chosen the series, so that the page does not choose others. */
    this.chosen = false;
    /** @type {any} */
    this.columns = [[]];
    /** @type {{index: number, time: number}|null} Where the pointer is. */
    this.cursor = null;
    /** @type {import("../series.js").Series[]} All kept series, largest first. */
    this.ranked = [];
    /** @type {import("../series.js").Series[]} Those that are drawn, in the order of the columns. */
    this.shown = [];
    this.drawnMs = 0;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.retryTimer = undefined;
    this.tall = false;
    this.legend = legend((key) => this.#toggle(key));
    this.nodes = panelNodes(source, this.legend.node, {
      onEnlarge: () => this.#enlarge(),
      onUnpin: options.onUnpin,
    });
    this.chart = this.#createChart();
    this.scope.add(source.listen((sample) => this.#take(sample)));
  }

  #createChart() {
    return new Chart(this.nodes.box, {
      unit: this.source.unit,
      rate: this.source.counter,
      height: this.tall ? TALL : HEIGHT,
      window: this.options.window,
      onCursor: (index, time) => {
        this.cursor = index === null ? null : { index, time };
        this.#showValues();
      },
      onSelect: this.options.onSelect,
    });
  }

  /** @returns {HTMLElement} */
  get node() {
    return this.nodes.root;
  }

  /** Fetch the history of the present time span anew. */
  async load() {
    clearTimeout(this.retryTimer);
    this.request?.abort();
    const request = (this.request = new AbortController());
    const window = this.options.window();
    this.pending ??= [];
    try {
      const history = await this.source.load(window, request.signal);
      if (request.signal.aborted) return;
      const set = new SeriesSet(window.to - window.from, this.source.counter);
      set.load(history);
      if (this.options.live()) for (const sample of this.pending) set.add(sample);
      this.pending = null;
      this.set = set;
      this.#rank();
      this.#draw();
    } catch (error) {
      if (request.signal.aborted) return;
      this.#showState("error", /** @type {Error} */ (error).message);
      this.retryTimer = setTimeout(() => void this.load(), RETRY_MS * (0.5 + Math.random()));
    }
  }

  /** Let time pass: the span that ends now has moved on. */
  tick() {
    const { from, to } = this.options.window();
    if (this.options.live() && performance.now() - this.drawnMs > ((to - from) * 1000) / 800) this.#schedule();
  }

  destroy() {
    clearTimeout(this.timer);
    clearTimeout(this.retryTimer);
    this.request?.abort();
    this.scope.end();
    this.chart.destroy();
    this.node.remove();
  }

  /** @param {import("../types.js").Sample} sample */
  #take(sample) {
    if (this.pending) {
      if (this.pending.length < MAX_PENDING) this.pending.push(sample);
    } else if (this.options.live()) {
      this.set.add(sample);
      this.#schedule();
    }
  }

  #schedule() {
    if (this.timer !== undefined || document.hidden) return;
    const wait = Math.max(0, DRAW_MS - (performance.now() - this.drawnMs));
    this.timer = setTimeout(() => {
      this.timer = undefined;
      if (!this.pending) this.#draw();
    }, wait);
  }

  #draw() {
    this.drawnMs = performance.now();
    if (this.ranked.length !== this.set.series.size) this.#rank();
    this.columns = columns(this.shown);
    const [times, ...tracks] = this.columns;
    const defined = tracks.some((/** @type {any[]} */ track) => track.some((value) => typeof value === "number"));
    this.#showState(defined ? "ready" : times.length ? "undefined" : "empty");
    this.chart.show(
      this.columns,
      this.shown.map((series) => this.slots.get(series.key) ?? 0),
    );
    this.#showValues();
    void this.#showReason();
  }

  /**
   * Order the series and choose those to draw. Not done for every sample: a legend whose rows change places cannot
   * be read.
   */
  #rank() {
    this.ranked = this.set.ranked();
    const kept = (/** @type {string} */ key) => this.set.series.has(key);
    const chosen = this.chosen && [...this.slots.keys()].some(kept);
    const wanted = chosen ? [...this.slots.keys()].filter(kept) : this.ranked.slice(0, MAX_LINES).map(({ key }) => key);
    for (const key of this.slots.keys()) if (!wanted.includes(key)) this.slots.delete(key);
    // A series keeps its colour for as long as it is drawn.
    for (const key of wanted) if (!this.slots.has(key)) this.slots.set(key, this.#freeSlot());
    this.shown = this.ranked.filter(({ key }) => this.slots.has(key));
  }

  #freeSlot() {
    const taken = new Set(this.slots.values());
    return Array.from({ length: MAX_LINES }, (_, slot) => slot).find((slot) => !taken.has(slot)) ?? 0;
  }

  /** @param {string} key */
  #toggle(key) {
    this.chosen = true;
    if (this.slots.has(key)) {
      this.slots.delete(key);
    } else {
      if (this.slots.size >= MAX_LINES) this.slots.delete([...this.slots.keys()][this.slots.size - 1]);
      this.slots.set(key, this.#freeSlot());
    }
    this.shown = this.ranked.filter((series) => this.slots.has(series.key));
    this.#draw();
  }

  #enlarge() {
    this.tall = !this.tall;
    this.node.classList.toggle("tall", this.tall);
    setAttr(this.nodes.enlarge, "aria-pressed", String(this.tall));
    this.chart.destroy();
    this.chart = this.#createChart();
    this.#draw();
  }

  /** Show the values under the pointer, or else the newest. */
  #showValues() {
    const { shown, ranked, source, nodes } = this;
    const { cursor } = this;
    const { newest } = this.set;
    const value = (/** @type {import("../series.js").Series} */ series) => {
      const place = shown.indexOf(series);
      if (!cursor) return series.last(newest);
      return place < 0 ? null : this.#valueAt(this.columns[place + 1], cursor);
    };
    const text = (/** @type {import("../series.js").Series} */ series) =>
      quantity(value(series), source.unit, source.counter);
    this.legend.show(ranked, this.slots, text, this.set.hidden);
    const values = (cursor ? shown : ranked).map(value).filter((one) => one !== null);
    const highest = values.length ? Math.max(...values) : null;
    setText(nodes.value, quantity(highest, source.unit, source.counter));
    const count = ranked.length + this.set.hidden;
    if (cursor) setText(nodes.caption, dateTime(cursor.time * 1e6));
    else setText(nodes.caption, count > 1 ? `highest of ${count}` : count ? "latest" : "");
  }

  /**
   * @param {(number|null|undefined)[]} column
   * @param {{index: number, time: number}} cursor
   * @returns {number|null}
   */
  #valueAt(column, { index, time }) {
    const times = this.columns[0];
    const { from, to } = this.options.window();
    const margin = (to - from) / 50;
    if (time < times[0] - margin || time > times[times.length - 1] + margin) return null;
    return nearest(column, index);
  }

  /** If the newest value is undefined, let its reason be read on hover and focus. */
  async #showReason() {
    const [first] = this.ranked;
    const { latest, reason: tip } = this.nodes;
    if (!first?.undefinedNow) {
      latest.removeAttribute("tabindex");
      latest.removeAttribute("aria-describedby");
      setText(tip, "");
      return;
    }
    setAttr(latest, "tabindex", "0");
    setAttr(latest, "aria-describedby", tip.id);
    if (!tip.textContent) setText(tip, "No value now.");
    const reason = clip(first.reason || (await this.source.reason(first.labels)));
    if (!reason || !latest.hasAttribute("tabindex")) return;
    setText(tip, `No value: ${reason}`);
    if (this.node.dataset.state === "undefined") this.nodes.message.replaceChildren(empty("No value.", reason));
  }

  /**
   * @param {"ready"|"empty"|"undefined"|"error"} state
   * @param {string} [message]
   */
  #showState(state, message = "") {
    if (state !== "error" && this.node.dataset.state === state) return;
    setAttr(this.node, "data-state", state);
    const { message: box } = this.nodes;
    if (state === "ready") box.replaceChildren();
    else if (state === "undefined") box.replaceChildren(empty("No value.", "It is undefined in this time range."));
    else if (state === "empty")
      box.replaceChildren(empty("No samples in this time range.", "Choose a longer one, or wait for the next sample."));
    else {
      const retry = h("button", { type: "button", onclick: () => void this.load() }, "Try again");
      box.replaceChildren(empty(message, "The page tries again by itself."), retry);
    }
  }
}

/**
 * The value of a line at a column, or at the next one before that the line has a point at.
 *
 * @param {(number|null|undefined)[]} column
 * @param {number} at
 * @returns {number|null}
 */
function nearest(column, at) {
  for (let i = at; i >= 0; i--) if (column[i] !== undefined) return /** @type {number|null} */ (column[i]);
  return null;
}
