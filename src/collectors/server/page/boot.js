/* Sets the colour theme before the first paint; a classic script, because modules run after it. */
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("collectors.theme");
  } catch {
    // Storage may be forbidden; the system's preference then decides.
  }
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
