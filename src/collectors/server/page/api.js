/** Talking to the server: one place for the address, the access key, time limits and errors. */

const TIMEOUT_MS = 20_000;

/** Browsers open six connections to a server; one is the stream's, one is left for what the user does next. */
const MAX_PARALLEL = 4;

/** What went wrong with a request, in words a user can act on. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, retryAfterMs?: number|null, permanent?: boolean}} [facts]
   */
  constructor(message, { status = 0, retryAfterMs = null, permanent = false } = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.retryAfterMs = retryAfterMs;
    this.permanent = permanent;
  }
}

export class Api {
  /**
   * @param {() => string|null} getKey
   * @param {() => void} onUnauthorized  Called whenever the server does not accept the key.
   */
  constructor(getKey, onUnauthorized) {
    this.getKey = getKey;
    this.onUnauthorized = onUnauthorized;
    this.running = 0;
    /** @type {(() => void)[]} */
    this.queue = [];
  }

  /**
   * @param {string} path  Below the address of the page, such as `v1/overview`.
   * @param {Record<string, string|number>} [params]
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}  The decoded answer.
   */
  async get(path, params = {}, signal) {
    await this.#enter();
    try {
      const limit = AbortSignal.timeout(TIMEOUT_MS);
      const response = await this.#fetch(path, params, {
        headers: { Accept: "application/json" },
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
      });
      return await response.json();
    } catch (cause) {
      throw explain(cause, signal);
    } finally {
      this.#leave();
    }
  }

  /**
   * @param {string} path
   * @param {string} lastId  Id of the last event that was seen, empty if none was.
   * @param {AbortSignal} signal
   * @returns {Promise<Response>}  An open event stream.
   */
  async stream(path, lastId, signal) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream" };
    if (lastId) headers["Last-Event-ID"] = lastId;
    try {
      return await this.#fetch(path, {}, { headers, signal });
    } catch (cause) {
      throw explain(cause, signal);
    }
  }

  /**
   * @param {string} path
   * @param {Record<string, string|number>} params
   * @param {{headers: Record<string, string>, signal: AbortSignal}} options
   * @returns {Promise<Response>}
   */
  async #fetch(path, params, { headers, signal }) {
    const url = new URL(path, document.baseURI);
    for (const [name, value] of Object.entries(params)) url.searchParams.set(name, String(value));
    const key = this.getKey();
    if (key) headers.Authorization = `Bearer ${key}`;
    const response = await fetch(url, { headers, signal, cache: "no-store", credentials: "omit", redirect: "error" });
    if (response.ok) return response;
    if (response.status === 401) this.onUnauthorized();
    throw await refusal(response);
  }

  /** @returns {Promise<void>} */
  async #enter() {
    if (this.running >= MAX_PARALLEL) {
      await new Promise((resolve) => this.queue.push(() => resolve(undefined)));
    } else {
      this.running += 1;
    }
  }

  #leave() {
    const next = this.queue.shift();
    if (next) next();
    else this.running -= 1;
  }
}

/**
 * The path of something that belongs to a tenant.
 *
 * @param {string} tenant
 * @param {string} what
 * @returns {string}
 */
export function tenantPath(tenant, what) {
  return `v1/tenants/${encodeURIComponent(tenant)}/${what}`;
}

/**
 * @param {Response} response
 * @returns {Promise<ApiError>}
 */
async function refusal(response) {
  let message = "";
  try {
    message = String((await response.json()).error.message);
  } catch {
    // An answer from a proxy in between has no such body; the status says enough.
  }
  const known = {
    401: "The server does not accept this access key.",
    403: "This access key may not see that.",
    404: "The server does not know that.",
    429: "The server asks to slow down.",
    503: "The server is not ready.",
  };
  const { status } = response;
  const seconds = Number(response.headers.get("Retry-After"));
  return new ApiError(
    message || known[/** @type {keyof typeof known} */ (status)] || `The server answered ${status}.`,
    {
      status,
      retryAfterMs: seconds > 0 ? Math.min(seconds, 300) * 1000 : null,
      permanent: status === 401 || status === 403,
    },
  );
}

/**
 * @param {any} cause
 * @param {AbortSignal} [signal]
 * @returns {Error}
 */
function explain(cause, signal) {
  if (cause instanceof ApiError || signal?.aborted) return cause;
  if (cause?.name === "TimeoutError") return new ApiError("The server did not answer in time.");
  if (cause instanceof SyntaxError) return new ApiError("The server's answer was not JSON.");
  return new ApiError("The server cannot be reached.");
}
