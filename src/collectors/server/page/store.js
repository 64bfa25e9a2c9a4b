/** A value that tells who listens when it changes. */

/** @template {Record<string, any>} S */
export class Store {
  /** @param {S} state */
  constructor(state) {
    this.state = state;
    /** @type {Map<keyof S, Set<(value: any) => void>>} */
    this.listeners = new Map();
  }

  /**
   * Replace one field and tell its listeners.
   *
   * @template {keyof S} K
   * @param {K} field
   * @param {S[K]} value
   */
  set(field, value) {
    this.state[field] = value;
    for (const listener of this.listeners.get(field) ?? []) listener(value);
  }

  /**
   * Call `listener` now and after each change.
   *
   * @template {keyof S} K
   * @param {K} field
   * @param {(value: S[K]) => void} listener
   * @returns {() => void}  Ends it.
   */
  on(field, listener) {
    let set = this.listeners.get(field);
    if (!set) this.listeners.set(field, (set = new Set()));
    set.add(listener);
    listener(this.state[field]);
    return () => set.delete(listener);
  }
}

/** Ends many things at once: what a view began is undone when it is left. */
export class Scope {
  constructor() {
    /** @type {(() => void)[]} */
    this.ends = [];
    this.controller = new AbortController();
  }

  /** Aborted when the scope ends; for requests. */
  get signal() {
    return this.controller.signal;
  }

  /** @param {() => void} end */
  add(end) {
    this.ends.push(end);
  }

  end() {
    this.controller.abort();
    for (const end of this.ends.splice(0)) end();
  }
}
