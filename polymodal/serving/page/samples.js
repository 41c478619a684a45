// Samples with the same number belong together: pointing at one highlights its siblings, and a click keeps them.

export function watchSamples(area) {
  const number = (event) => event.target.closest("[data-sample]")?.dataset.sample ?? null;
  const highlight = (place) => {
    for (const one of area.querySelectorAll("[data-sample]")) {
      one.classList.toggle("together", one.dataset.sample === place);
    }
  };
  for (const type of ["pointerover", "focusin"]) area.addEventListener(type, (event) => highlight(number(event)));
  for (const type of ["pointerleave", "focusout"]) area.addEventListener(type, () => highlight(null));
  area.addEventListener("click", (event) => {
    const place = number(event);
    if (place === null) return;
    const isKept = event.target.closest("[data-sample]").getAttribute("aria-pressed") === "true";
    for (const one of area.querySelectorAll("[data-sample]")) {
      one.setAttribute("aria-pressed", String(!isKept && one.dataset.sample === place));
    }
  });
}
