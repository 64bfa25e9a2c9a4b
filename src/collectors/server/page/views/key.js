/** Asking for the access key. */

import { h, icon } from "../dom.js";

/**
 * @param {HTMLElement} root
 * @param {{refused: boolean, onKey: (key: string) => void}} options  `refused` if a key was given and not accepted.
 * @returns {void}
 */
export function keyView(root, { refused, onKey }) {
  const input = /** @type {HTMLInputElement} */ (
    h("input", {
      id: "key",
      type: "password",
      required: true,
      autocomplete: "off",
      spellcheck: "false",
      "aria-describedby": refused ? "key-error key-help" : "key-help",
      "aria-invalid": refused ? "true" : null,
    })
  );
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const key = input.value.trim();
    if (key) onKey(key);
  };
  root.replaceChildren(
    h(
      "form",
      { class: "card key-form", onsubmit: submit },
      h("h1", {}, icon("key"), "Access key"),
      refused
        ? h("p", { class: "error", id: "key-error", role: "alert" }, "The server does not accept this key.")
        : null,
      h("label", { for: "key" }, "Key of this server or tenant"),
      input,
      h(
        "p",
        { class: "muted", id: "key-help" },
        "It stays in this browser tab and is sent to this server only. A link may bring it along: ",
        h("code", {}, "#key=…"),
      ),
      h("button", { class: "primary", type: "submit" }, "Open"),
    ),
  );
  input.focus();
}
