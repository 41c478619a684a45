// Applies the chosen theme before the page is shown. It is a classic script, because modules run too late for that.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("polymodal-theme");
  } catch {
    // Storage may be forbidden; the theme then follows the system.
  }
  if (chosen === "light" || chosen === "dark") {
    document.documentElement.dataset.theme = chosen;
  }
})();
