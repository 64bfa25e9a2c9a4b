/** The bar at the top: where one is, how the server is, and whether what one sees is live. */

import { clip, h, icon, reconcile, setAttr, setText, svg } from "../dom.js";
import { duration, integer } from "../format.js";
import { toggleTheme } from "../theme.js";

/**
 * @param {import("../main.js").App} app
 * @returns {HTMLElement}
 */
export function header(app) {
  const home = h(
    "a",
    {
      class: "brand",
      href: "#",
      "aria-label": "collectors, all tenants",
      onclick: (/** @type {Event} */ event) => open(event, null),
    },
    logo(),
    h("span", {}, "collectors"),
  );
  const switcher = /** @type {HTMLSelectElement} */ (
    h("select", {
      class: "switcher",
      "aria-label": "Tenant",
      onchange: () => app.navigate(tenantRoute(switcher.value)),
    })
  );
  const gateway = pill("Gateway");
  const worker = pill("Worker");
  const connection = connectionPill(app);

  /**
   * @param {Event} event
   * @param {string|null} tenant
   */
  function open(event, tenant) {
    event.preventDefault();
    app.navigate(tenantRoute(tenant));
  }

  app.store.on("overview", (overview) => {
    const server = overview?.server;
    gateway.set(server?.gateway?.up, server ? `up ${duration(server.gateway.uptime_seconds)}` : "");
    const behind = server?.worker?.behind_records;
    worker.set(server?.worker?.up, behind ? `${integer(behind)} behind` : behind === 0 ? "up to date" : "");
    fillSwitcher(overview?.tenants ?? []);
  });
  app.store.on("route", () => fillSwitcher(app.store.state.overview?.tenants ?? []));
  app.store.on("connection", () => {
    switcher.hidden = app.asking;
  });

  /** @param {{id: string}[]} tenants */
  function fillSwitcher(tenants) {
    const present = app.store.state.route.tenant;
    const ids = tenants.map((tenant) => tenant.id).sort();
    if (present && !ids.includes(present)) ids.push(present);
    reconcile(
      switcher,
      ["", ...ids],
      (id) => id,
      (id) => ({
        node: h("option", { value: id }, id ? clip(id, 60) : "All tenants"),
        update() {},
      }),
    );
    switcher.value = present ?? "";
  }

  return h(
    "header",
    { class: "topbar" },
    home,
    h("nav", { "aria-label": "Tenants" }, switcher),
    h("div", { class: "spacer" }),
    h("div", { class: "health", role: "group", "aria-label": "Server health" }, gateway.node, worker.node),
    connection,
    h(
      "button",
      { class: "ghost", type: "button", "aria-label": "Switch between light and dark", onclick: toggleTheme },
      icon("theme"),
    ),
  );
}

/** @param {string|null} tenant */
function tenantRoute(tenant) {
  return { tenant: tenant || null, zoom: null, pins: null };
}

/** @param {string} name */
function pill(name) {
  const dot = h("span", { class: "dot", "aria-hidden": "true" });
  const state = h("span", { class: "pill-note" });
  const node = h("span", { class: "pill" }, dot, h("span", {}, name), state);
  return {
    node,
    /**
     * @param {boolean|undefined} up
     * @param {string} note
     */
    set(up, note) {
      setAttr(node, "data-level", up === undefined ? null : up ? "ok" : "bad");
      setText(state, up === undefined ? "" : up ? note : "down");
    },
  };
}

/** @param {import("../main.js").App} app */
function connectionPill(app) {
  const text = h("span", { class: "connection-text" });
  const retry = h("button", { class: "link", type: "button", onclick: () => app.reconnect() }, "Retry now");
  const node = h("div", { class: "pill connection" }, h("span", { class: "dot", "aria-hidden": "true" }), text, retry);
  const show = () => {
    const { level, label, waiting, error } = app.connection();
    setAttr(node, "data-level", level);
    setAttr(node, "title", error || null);
    setText(text, label);
    retry.hidden = !waiting;
  };
  app.store.on("connection", show);
  app.store.on("route", show);
  show();
  return node;
}

function logo() {
  return svg(
    "svg",
    { class: "logo", viewBox: "0 0 20 20", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: "M3 8v4M7 4v12M11 7v6M15 2.5v15M19 8.5v3" }),
  );
}
