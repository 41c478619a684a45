// How predicted values are shown, by the kind of their modality.

import { drawCurve, drawSpectrogram, makeBars } from "./charts.js";
import { formatNumber, formatPercent, make, read } from "./elements.js";

const MANY_NUMBERS = 16;

function showImage(modality, value, title) {
  const isSmall = Math.max(modality.width, modality.height) <= 128;
  return make("img", {
    src: `data:image/png;base64,${value}`,
    alt: title,
    class: isSmall ? "pixels" : null,
    width: modality.width,
    height: modality.height,
  });
}

const unitOf = (modality, place) => modality.units?.[place] ?? "";
const labelOf = (modality, place) => modality.columns?.[place] ?? String(place + 1);

/** Writes an element of a vector: a date as it is, a number with four digits. */
const writeElement = (value) => (typeof value === "number" ? formatNumber(value) : (value ?? "–"));

/** Returns how far values spread, as words; an empty text if it is not known or less than a number's digits show. */
function writeSpread(modality, place, value, spread) {
  const isTiny = typeof value === "number" && spread < 1e-4 * Math.abs(value);
  if (spread === null || !Number.isFinite(spread) || spread <= 0 || isTiny) {
    return "";
  }
  return modality.dates?.[place] ? `± ${formatNumber(spread, 2)} days` : `± ${formatNumber(spread, 2)}`;
}

/** Returns a line over the range of the training rows, with the prediction and its spread; null without a range. */
function makeGauge(modality, place, value, spread, samples) {
  const range = modality.ranges?.[place];
  if (!range || modality.dates?.[place] || !(range[1] > range[0]) || typeof value !== "number") {
    return null;
  }
  const at = (number) => Math.min(100, Math.max(0, (100 * (number - range[0])) / (range[1] - range[0])));
  const gauge = make("div", { class: "gauge", "aria-hidden": "true" });
  const add = (name, left, width = null) => {
    const mark = make("span", { class: name });
    mark.style.setProperty("left", `${left}%`);
    if (width !== null) {
      mark.style.setProperty("width", `${width}%`);
    }
    gauge.append(mark);
  };
  if (Number.isFinite(spread) && spread !== null) {
    add("spread", at(value - spread), at(value + spread) - at(value - spread));
  }
  for (const sample of samples) {
    add("tick", at(sample));
  }
  add("mark", at(value));
  return make(
    "div",
    {},
    gauge,
    make("p", { class: "quiet ends apart" }, make("span", {}, formatNumber(range[0])), make("span", {}, formatNumber(range[1]))),
  );
}

/** Returns the predicted number of a vector of one. */
function showNumber(modality, value, spread, samples) {
  const unit = unitOf(modality, 0);
  return make(
    "div",
    {},
    make(
      "p",
      { class: "large" },
      writeElement(value),
      unit ? ` ${unit} ` : " ",
      make("span", { class: "spread-text" }, writeSpread(modality, 0, value, spread)),
    ),
    makeGauge(modality, 0, value, spread, samples),
  );
}

/** Returns a table of the predicted numbers of a vector, with their spread and the actual numbers where known. */
function showNumbers(modality, values, spreads, actual) {
  const texts = values.map((value, place) => writeSpread(modality, place, value, spreads[place] ?? null));
  const columns = ["Predicted", texts.some(Boolean) ? "Spread" : null, actual ? "Actual" : null].filter(Boolean);
  const rows = values.map((value, place) => {
    const unit = unitOf(modality, place);
    const cells = { Predicted: writeElement(value), Spread: texts[place], Actual: writeElement(actual?.[place] ?? null) };
    const label = unit ? `${labelOf(modality, place)} (${unit})` : labelOf(modality, place);
    return make("tr", {}, make("th", { scope: "row" }, label), ...columns.map((column) => make("td", { class: column }, cells[column])));
  });
  const first = make("td", {}, make("span", { class: "unseen" }, "Element"));
  const head = make("tr", {}, first, ...columns.map((column) => make("th", { scope: "col" }, column)));
  return make("table", { "aria-label": `Predicted ${modality.name}` }, make("thead", {}, head), make("tbody", {}, ...rows));
}

function showVector(modality, value, detail, samples, actual) {
  const spreads = read(detail, "spread") ?? [];
  if (modality.size === 1) {
    return showNumber(modality, value, spreads[0] ?? null, samples);
  }
  return hasTable(modality)
    ? showNumbers(modality, value, spreads, actual)
    : drawCurve([value, ...samples], `The predicted ${modality.size} numbers of ${modality.name}`);
}

/** Whether a modality is shown as a table, which has the actual values too. */
export const hasTable = (modality) => modality.kind === "vector" && modality.size > 1 && modality.size <= MANY_NUMBERS;

function showOther(modality, value) {
  if (modality.shape.length === 1 && modality.shape[0] > MANY_NUMBERS) {
    return drawCurve([value], `The predicted numbers of ${modality.name}`);
  }
  const text = JSON.stringify(value, (_, one) => (typeof one === "number" ? Number(one.toPrecision(4)) : one));
  return make("pre", { tabindex: "0", "aria-label": modality.name }, text.slice(0, 5000));
}

/** Returns a short element for a value: a sample, or the actual value of a test row. */
export function showValue(modality, value, title) {
  if (value === null || value === undefined) {
    return make("p", {}, "missing");
  }
  switch (modality.kind) {
    case "image":
      return showImage(modality, value, title);
    case "audio":
      return Array.isArray(value) ? drawSpectrogram(value, title) : make("p", {}, "audio");
    case "vector": {
      const values = modality.size === 1 ? [value] : value;
      return modality.size > MANY_NUMBERS
        ? drawCurve([values], title)
        : make("p", {}, values.map(writeElement).join(", "));
    }
    case "label":
      return make("p", {}, String(value));
    case "text":
      return make("p", {}, value === "" ? "(empty)" : value);
    default:
      return showOther(modality, value);
  }
}

/**
 * Returns the element of a prediction.
 *
 * `memory` keeps between predictions whether all classes are shown.
 */
export function showPrediction(modality, { value, detail, samples, actual }, memory) {
  const title = `Predicted ${modality.name}`;
  if (modality.kind === "label") {
    const probabilities = read(detail, "probabilities");
    const probability = read(probabilities, String(value));
    return make(
      "div",
      {},
      make(
        "p",
        { class: "large" },
        String(value),
        " ",
        probability === null ? null : make("span", { class: "spread-text" }, formatPercent(probability)),
      ),
      probabilities ? makeBars(probabilities, modality.name, memory.isOpen, (open) => { memory.isOpen = open; }) : null,
    );
  }
  if (modality.kind === "vector") {
    return showVector(modality, value, detail, samples, actual);
  }
  if (modality.kind === "text") {
    return make("p", { class: "text" }, value === "" ? "(empty text)" : value);
  }
  return make("div", { class: "picture" }, showValue(modality, value, title));
}
