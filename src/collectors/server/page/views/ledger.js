/** The ledger: what became of every offered event, by type, as exact integers. */

import { data, h, reconcile, setAttr, setText } from "../dom.js";
import { integer } from "../format.js";
import { balanceMark, empty, imbalance, section, skeleton } from "./parts.js";

/** @type {[keyof import("../types.js").LedgerCounts, string, string][]} */
const COUNTS = [
  ["offered", "Offered", "Events that were sent here"],
  ["stored", "Stored", "In the lake, queryable"],
  ["duplicate", "Duplicate", "Sent again; stored once"],
  ["rejected", "Rejected", "In the dead letter, with a reason"],
  ["dropped", "Dropped", "By a named policy"],
  ["in_flight", "In flight", "Acknowledged and on disk, not in the lake yet"],
];

/**
 * @param {import("../live.js").TenantLive} live
 * @param {import("../store.js").Scope} scope
 * @returns {HTMLElement}
 */
export function ledgerView(live, scope) {
  const body = h("tbody");
  const total = countRow(h("th", { scope: "row" }, "All types"));
  const table = h(
    "table",
    { class: "ledger" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col" }, "Event type"),
        ...COUNTS.map(([, name, meaning]) => h("th", { scope: "col", class: "number", title: meaning }, name)),
        h("th", { scope: "col" }, "Balance"),
      ),
    ),
    body,
    h("tfoot", {}, total.node),
  );
  const waiting = skeleton("rows");
  const nothing = h("div");
  const { node, body: inner } = section(
    "Ledger",
    "ledger-card",
    h("span", { class: "muted" }, "offered = stored + duplicate + rejected + dropped + in flight"),
  );
  inner.append(
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Ledger by event type" }, table),
    waiting,
    nothing,
  );

  scope.add(
    live.store.on("ledger", (ledger) => {
      waiting.hidden = Boolean(ledger) || Boolean(live.store.state.error);
      const types = Object.entries(ledger?.types ?? {}).sort(
        ([a, one], [b, other]) =>
          Number(Boolean(imbalance(other))) - Number(Boolean(imbalance(one))) || (a < b ? -1 : 1),
      );
      table.hidden = !types.length;
      nothing.replaceChildren();
      if (!ledger) return;
      if (!types.length) {
        nothing.replaceChildren(
          empty(
            "No events yet.",
            "Post some to ",
            h("code", {}, `v1/tenants/${live.tenant}/events/playback`),
            ", or let ",
            h("code", {}, `collectors simulate --tenant ${live.tenant}`),
            " make them.",
          ),
        );
        return;
      }
      reconcile(
        body,
        types,
        ([type]) => type,
        ([type]) => typeRow(type),
      );
      total.update(ledger.total);
    }),
  );
  scope.add(
    live.store.on("error", (error) => {
      if (error) waiting.hidden = true;
    }),
  );
  return node;
}

/** @param {string} type */
function typeRow(type) {
  const row = countRow(h("th", { scope: "row" }, data(type)));
  return {
    node: row.node,
    /** @param {[string, import("../types.js").LedgerCounts]} entry */
    update: ([, counts]) => row.update(counts),
  };
}

/** @param {HTMLElement} head */
function countRow(head) {
  const cells = COUNTS.map(() => h("td", { class: "number" }));
  const balance = h("td");
  const node = h("tr", {}, head, ...cells, balance);
  return {
    node,
    /** @param {import("../types.js").LedgerCounts} counts */
    update(counts) {
      COUNTS.forEach(([name], index) => {
        setText(cells[index], integer(counts[name]));
        cells[index].classList.toggle("zero", counts[name] === 0);
      });
      const mark = balanceMark(counts);
      if (balance.textContent !== mark.textContent) balance.replaceChildren(mark);
      setAttr(node, "data-level", imbalance(counts) ? "bad" : null);
    },
  };
}
