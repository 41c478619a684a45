// Labels: a list of classes as input, and probabilities as bars.

import { make, newId, labelled, formatShare } from "./dom.js";

const MOST_OPTIONS = 30;
const FIRST = 5;

export function makeInput(modality, changed) {
  const classes = modality.classes.map(String);
  let field;
  let list = null;
  if (classes.length <= MOST_OPTIONS) {
    field = make("select", { onchange: changed, "aria-label": `Class of ${modality.name}` }, make("option", { value: "" }, "Choose a class"));
    field.append(...classes.map((name, place) => make("option", { value: String(place) }, name)));
  } else {
    list = make("datalist", { id: newId("classes") }, ...classes.map((name) => make("option", { value: name })));
    field = make("input", { type: "text", list: list.id, autocomplete: "off", "aria-label": `Class of ${modality.name}`, placeholder: "Type to search the classes", oninput: changed });
  }
  const read = () => {
    if (field.value === "") return null;
    if (!list) return modality.classes[Number(field.value)];
    return modality.classes[classes.indexOf(field.value.trim())] ?? null;
  };
  const problem = () => {
    const text = field.value.trim();
    const isStart = !list || classes.some((name) => name.toLowerCase().includes(text.toLowerCase()));
    return isStart ? null : `No class is called “${text}”. Choose one from the list.`;
  };
  const write = (value) => {
    const place = value === null || value === undefined ? -1 : classes.indexOf(String(value));
    field.value = list ? value ?? "" : place < 0 ? "" : String(place);
  };
  return { element: make("div", {}, labelled("Class", field), list), read, write, problem };
}

export function show(modality, value, { detail, small }) {
  if (small) return make("span", { className: "sample-text" }, String(value));
  const result = make("div", {}, make("p", { className: "large" }, String(value)));
  if (detail?.probabilities) result.append(...makeBars(modality, detail.probabilities));
  return result;
}

function makeBars(modality, probabilities) {
  const rows = modality.classes.map((name) => [String(name), probabilities[name] ?? 0]).sort((a, b) => b[1] - a[1]);
  const list = make("ul", { className: "bars", "aria-label": "Probabilities of the classes" });
  const fill = (most) => list.replaceChildren(...rows.slice(0, most).map(([name, share]) => {
    const bar = make("span", { className: "bar-value" });
    bar.style.width = `${100 * share}%`;
    return make("li", {}, make("span", { className: "bar-name", title: name }, name),
      make("span", { className: "bar", "aria-hidden": "true" }, bar),
      make("span", { className: "bar-share" }, formatShare(share)));
  }));
  fill(FIRST);
  if (rows.length <= FIRST) return [list];
  const more = make("button", {
    type: "button", className: "plain", "aria-expanded": "false",
    onclick: () => {
      const isOpen = more.getAttribute("aria-expanded") === "true";
      fill(isOpen ? FIRST : rows.length);
      more.setAttribute("aria-expanded", String(!isOpen));
      more.textContent = isOpen ? `Show all ${rows.length} classes` : "Show fewer classes";
    },
  }, `Show all ${rows.length} classes`);
  return [list, more];
}
