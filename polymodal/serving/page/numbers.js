// Vectors: fields, a slider where the range is known, or a list of numbers with a curve.

import { make, labelled, formatNumber } from "./dom.js";

const MOST_FIELDS = 16;

const columnName = (modality, place) => modality.columns?.[place] ?? (modality.size === 1 ? modality.name : `Number ${place + 1}`);
const isDate = (modality, place) => Boolean(modality.dates?.[place]);

function describeRange(modality, place) {
  const range = modality.ranges?.[place];
  const unit = modality.units?.[place];
  const text = range ? `${formatNumber(range[0])} to ${formatNumber(range[1])} in training` : "";
  return [unit, text].filter(Boolean).join(", ");
}

export function makeInput(modality, changed) {
  return modality.size > MOST_FIELDS ? makeList(modality, changed) : makeFields(modality, changed);
}

function makeField(modality, place, changed) {
  const range = modality.ranges?.[place];
  const isNumber = !isDate(modality, place);
  const example = modality.size === 1 ? modality.example : modality.example?.[place];
  const field = make("input", {
    type: isNumber ? "number" : "text", step: "any", autocomplete: "off", oninput: () => tell(false),
    placeholder: isNumber ? "empty" : example ?? "2024-01-31",
    "aria-label": modality.size === 1 ? `Value of ${modality.name}` : null,
  });
  const hint = describeRange(modality, place);
  const element = make("div", { className: "number" }, labelled(modality.size === 1 ? "Value" : columnName(modality, place), field));
  let slider = null;
  if (isNumber && range && modality.size === 1 && range[1] > range[0]) {
    slider = make("input", {
      type: "range", min: range[0], max: range[1], step: (range[1] - range[0]) / 200,
      "aria-label": `${columnName(modality, place)}, slider`,
      oninput: () => { field.value = Number(Number(slider.value).toPrecision(4)); tell(true); },
    });
    element.append(slider);
  }
  if (hint) element.append(make("small", {}, hint));
  const tell = (bySlider) => {
    if (slider && !bySlider && field.value !== "") slider.value = field.value;
    changed();
  };
  const read = () => {
    if (field.validity.badInput) return { problem: `${columnName(modality, place)} must be a number.` };
    if (field.value.trim() === "") return { value: null };
    return { value: isNumber ? Number(field.value) : field.value.trim() };
  };
  const write = (value) => {
    field.value = typeof value === "number" ? Number(value.toPrecision(7)) : value ?? ""; // the precision of the model
    if (slider && typeof value === "number") slider.value = value;
  };
  return { element, read, write };
}

function makeFields(modality, changed) {
  const fields = Array.from({ length: modality.size }, (_, place) => makeField(modality, place, changed));
  const element = make("div", { className: modality.size === 1 ? "" : "fields" }, ...fields.map((field) => field.element));
  const problem = () => {
    const results = fields.map((field) => field.read());
    const bad = results.find((result) => result.problem);
    if (bad) return bad.problem;
    const count = results.filter((result) => result.value !== null).length;
    if (count > 0 && count < modality.size && !modality.partial) {
      return `Fill in all ${modality.size} numbers. The model observes them together.`;
    }
    return null;
  };
  const read = () => {
    const values = fields.map((field) => field.read().value ?? null);
    if (problem() || values.every((value) => value === null)) return null;
    return modality.size === 1 ? values[0] : values;
  };
  const write = (value) => {
    fields.forEach((field, place) => field.write(value === null ? null : Array.isArray(value) ? value[place] : place === 0 ? value : null));
  };
  return { element, read, write, problem };
}

function makeList(modality, changed) {
  const curve = make("div", { className: "curve-frame" });
  const field = make("textarea", { rows: 4, spellcheck: false, placeholder: `${modality.size} numbers, separated by commas`, oninput: () => tell() });
  const numbers = () => field.value.split(/[\s,;]+/).filter(Boolean).map((part) => (/^(null|nan)$/i.test(part) ? null : Number(part)));
  const problem = () => {
    const values = numbers();
    if (values.some((value) => value !== null && !Number.isFinite(value))) return "Write only numbers, separated by commas.";
    if (values.length && values.length !== modality.size) return `Enter ${modality.size} numbers. There are ${values.length}.`;
    return null;
  };
  const read = () => (numbers().length && !problem() ? numbers() : null);
  const draw = () => curve.replaceChildren(...(read() ? [makeCurve(read(), `Curve of ${modality.name}`)] : []));
  const tell = () => { draw(); changed(); };
  const write = (value) => {
    field.value = Array.isArray(value) ? value.map((one) => (typeof one === "number" ? Number(one.toPrecision(6)) : one)).join(", ") : "";
    draw();
  };
  return { element: make("div", {}, labelled("Numbers", field), curve), read, write, problem };
}

function makeCurve(values, name) {
  const make = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const known = values.filter((value) => typeof value === "number");
  const low = Math.min(...known);
  const span = Math.max(...known) - low || 1;
  const points = values.map((value, place) => (typeof value === "number" ? `${100 * place / (values.length - 1)},${38 - 36 * (value - low) / span}` : null));
  const svg = make("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", class: "curve", role: "img", "aria-label": name });
  svg.append(make("polyline", { points: points.filter(Boolean).join(" "), "vector-effect": "non-scaling-stroke" }));
  return svg;
}

// Several numbers are shown in the same table as those of the test row.
export const showsTruth = (modality) => modality.size > 1 && modality.size <= MOST_FIELDS;

export function show(modality, value, { detail, small, truth = null }) {
  const values = Array.isArray(value) ? value : [value];
  if (values.length > MOST_FIELDS) return makeCurve(values, `Curve of ${modality.name}`);
  const spread = detail?.spread === undefined || detail.spread === null ? [] : [detail.spread].flat();
  const text = (place) => formatNumber(values[place]);
  if (values.length === 1) {
    if (small) return make("span", { className: "sample-text" }, text(0));
    const notes = [describeSpread(spread[0]), describeRange(modality, 0)].filter(Boolean);
    return make("div", {}, make("p", { className: "large" }, text(0)), ...notes.map((note) => make("small", { className: "note" }, note)));
  }
  const rows = values.map((_, place) => make("div", { className: "pair" }, make("dt", {}, columnName(modality, place)),
    make("dd", {}, text(place), small ? null : makeSpread(spread[place])),
    truth === null ? null : make("dd", { className: "quiet" }, truth[place] === null ? "missing" : formatNumber(truth[place]))));
  if (truth !== null) {
    rows.unshift(make("div", { className: "pair quiet", "aria-hidden": "true" }, make("dt"), make("dd", {}, "Prediction"), make("dd", {}, "Test row")));
  }
  const table = make("dl", { className: small ? "pairs small" : truth === null ? "pairs" : "pairs with-truth" }, ...rows);
  if (small || !spread.some((one) => typeof one === "number")) return table;
  return make("div", {}, table, make("small", { className: "note" }, "± is the standard deviation of the samples."));
}

function makeSpread(spread) {
  if (typeof spread !== "number") return null;
  return make("span", { className: "spread", title: describeSpread(spread) }, ` ± ${formatNumber(spread)}`);
}

// The server measures how much samples differ, which may be much less than the error of a prediction.
const describeSpread = (spread) => (typeof spread === "number" ? `Samples differ by ± ${formatNumber(spread)}` : "");
