/** The colour theme: the system's preference until the user chooses one. */

const STORAGE_KEY = "collectors.theme";

/** @returns {"light"|"dark"} */
export function currentTheme() {
  return document.documentElement.dataset.theme === "dark" ? "dark" : "light";
}

/** @param {"light"|"dark"} theme */
function apply(theme) {
  document.documentElement.dataset.theme = theme;
  document.dispatchEvent(new CustomEvent("themechange"));
}

/** Switch between light and dark, and remember the choice. */
export function toggleTheme() {
  const theme = currentTheme() === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(STORAGE_KEY, theme);
  } catch {
    // Without storage the choice lasts until the page is closed.
  }
  apply(theme);
}

/** Follow the system's preference as long as the user has not chosen. */
export function followSystem() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
    let chosen = null;
    try {
      chosen = localStorage.getItem(STORAGE_KEY);
    } catch {
      // As above.
    }
    if (!chosen) apply(event.matches ? "dark" : "light");
  });
}
