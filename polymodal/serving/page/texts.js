// Texts, and modalities of a user's own type as JSON.

import { make, labelled } from "./dom.js";

export function makeInput(modality, changed) {
  const field = make("textarea", { rows: 3, placeholder: "Type a text", "aria-label": `Text of ${modality.name}`, oninput: changed });
  const read = () => (field.value.trim() === "" ? null : field.value);
  const write = (value) => { field.value = value ?? ""; };
  return { element: labelled("Text", field), read, write };
}

export function show(modality, value, { small }) {
  if (small) return make("span", { className: "sample-text" }, value || "(empty)");
  return make("p", { className: value ? "large" : "quiet" }, value || "(an empty text)");
}

export function makeJsonInput(modality, changed) {
  const shape = modality.shape.length ? ` of shape ${modality.shape.join(" × ")}` : "";
  const field = make("textarea", { rows: 4, spellcheck: false, className: "code", placeholder: `Numbers${shape} as JSON`, oninput: changed });
  const parse = () => {
    try {
      return { value: field.value.trim() === "" ? null : JSON.parse(field.value) };
    } catch {
      return { value: null, problem: "This is not JSON yet. Write nested lists of numbers, such as [0.5, 1.0]." };
    }
  };
  const write = (value) => { field.value = value === null || value === undefined ? "" : JSON.stringify(value); };
  return { element: labelled(`Value as JSON (${modality.type ?? "other"})`, field), read: () => parse().value, write, problem: () => parse().problem ?? null };
}

export function showJson(modality, value, { small }) {
  return make("pre", { className: small ? "code small" : "code", tabIndex: small ? -1 : 0 }, JSON.stringify(value));
}
