// Charts: bars of probabilities, curves of long vectors, and spectrograms.

import { formatPercent, make, makeButton } from "./elements.js";

const SVG = "http://www.w3.org/2000/svg";
const FEW = 5;
/** Colours of a spectrogram from quiet to loud, close to matplotlib's magma. */
const MAGMA = [
  [0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122],
  [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191],
];

function makeSvg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  return element;
}

/** Draws lists of numbers as curves over their place; the first is drawn strongest. */
export function drawCurve(lines, title) {
  const numbers = lines.flat().filter((number) => number !== null);
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const svg = makeSvg("svg", { viewBox: "0 0 200 64", preserveAspectRatio: "none", role: "img", class: "chart" });
  svg.setAttribute("aria-label", title);
  for (const [place, line] of [...lines.entries()].reverse()) {
    const points = line
      .map((number, x) => [(200 * x) / Math.max(1, line.length - 1), 60 - (56 * (number - low)) / (high - low || 1)])
      .filter((_, x) => line[x] !== null)
      .map((point) => point.map((part) => part.toFixed(2)).join(","));
    svg.append(makeSvg("polyline", { points: points.join(" "), class: place ? "faint" : "strong" }));
  }
  return svg;
}

/** Returns a table of classes with bars of their probabilities: the most probable first, all on demand. */
export function makeBars(probabilities, name, isOpen = false, onopen = () => {}) {
  const sorted = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
  const list = make("ul", { class: "bars", "aria-label": `Probabilities of ${name}` });
  const fill = (count) => {
    list.replaceChildren(
      ...sorted.slice(0, count).map(([text, probability]) => {
        const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("span"));
        bar.firstChild.style.setProperty("width", `${100 * probability}%`);
        return make(
          "li",
          {},
          make("span", { class: "class", title: text }, text),
          bar,
          make("span", { class: "percent" }, formatPercent(probability)),
        );
      }),
    );
  };
  fill(isOpen ? sorted.length : FEW);
  if (sorted.length <= FEW) {
    return make("div", {}, list);
  }
  let open = isOpen;
  const write = () => (open ? "Show fewer" : `Show all ${sorted.length}`);
  const button = makeButton(write(), () => {
    open = !open;
    onopen(open);
    fill(open ? sorted.length : FEW);
    button.textContent = write();
    button.setAttribute("aria-expanded", String(open));
  }, { class: "plain", "aria-expanded": String(open) });
  return make("div", {}, list, button);
}

function pickColour(loudness) {
  const place = Math.min(1, Math.max(0, loudness)) * (MAGMA.length - 1);
  const lower = Math.min(MAGMA.length - 2, Math.floor(place));
  return MAGMA[lower].map((part, index) => part + (place - lower) * (MAGMA[lower + 1][index] - part));
}

/** Draws a spectrogram, frames of loudness in [0, 1]: time from left to right, low frequencies at the bottom. */
export function drawSpectrogram(frames, title) {
  const [width, height] = [frames.length, frames[0].length];
  const canvas = make("canvas", { width, height, class: "spectrogram", role: "img", "aria-label": title });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let x = 0; x < width; x += 1) {
    for (let y = 0; y < height; y += 1) {
      pixels.data.set([...pickColour(frames[x][height - 1 - y]), 255], 4 * (y * width + x));
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
