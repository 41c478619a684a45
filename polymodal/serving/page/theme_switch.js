// The button that switches between the light and the dark theme.

const KEY = "polymodal-theme";

/** Makes a button switch the theme. Without a choice, the theme is that of the system. */
export function startThemeSwitch(button) {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (query.matches ? "dark" : "light")) === "dark";
  const write = () => {
    button.textContent = isDark() ? "Light theme" : "Dark theme";
  };
  button.addEventListener("click", () => {
    const chosen = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    try {
      localStorage.setItem(KEY, chosen);
    } catch {
      // Storage may be forbidden; the choice then lasts until the page is left.
    }
    write();
  });
  query.addEventListener("change", write);
  write();
}
