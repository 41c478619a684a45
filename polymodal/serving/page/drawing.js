// A drawing pad for small images: strokes on a large canvas, averaged down to the pixels of the image.

import { make, makeButton, makeId } from "./elements.js";

const SIDE = 320;

/** Returns the colours of an image that suit a drawing: that of its corners, and the pixel that differs most. */
function chooseColours(pixels, width, height) {
  const at = (x, y) => [...pixels.subarray(4 * (y * width + x), 4 * (y * width + x) + 3)];
  const corners = [at(0, 0), at(width - 1, 0), at(0, height - 1), at(width - 1, height - 1)];
  const paper = [0, 1, 2].map((part) => corners.map((one) => one[part]).sort((a, b) => a - b)[1]);
  const differ = (one) => one.reduce((sum, part, place) => sum + (part - paper[place]) ** 2, 0);
  let pen = at(0, 0);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (differ(at(x, y)) > differ(pen)) {
        pen = at(x, y);
      }
    }
  }
  return differ(pen) > 900 ? { pen, paper } : { pen: [255, 255, 255], paper: [0, 0, 0] };
}

const toHex = (colour) => `#${colour.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;

function toGrey(hex) {
  const [red, green, blue] = [1, 3, 5].map((start) => Number.parseInt(hex.slice(start, start + 2), 16));
  const grey = 0.299 * red + 0.587 * green + 0.114 * blue;
  return toHex([grey, grey, grey]);
}

/** Loads a PNG or JPEG in base64 as an image. */
export async function loadImage(value) {
  const image = new Image();
  image.src = `data:image/${value.startsWith("/9j/") ? "jpeg" : "png"};base64,${value}`;
  await image.decode();
  return image;
}

/** Returns the content of a canvas as a PNG in base64. */
export const writePng = (canvas) => canvas.toDataURL("image/png").split(",")[1];

/** A drawing pad. `onchange` gets the image as PNG in base64, or null if the pad is empty. */
export class DrawingPad {
  constructor(modality, onchange) {
    this.modality = modality;
    this.onchange = onchange;
    this.cell = Math.max(1, Math.floor(SIDE / Math.max(modality.width, modality.height)));
    this.strokes = [];
    this.base = null;
    this.isPainted = false;
    this.pending = 0;
    const [width, height] = [modality.width * this.cell, modality.height * this.cell];
    this.canvas = make("canvas", {
      width,
      height,
      class: "pad",
      role: "img",
      "aria-label": `Drawing area of ${modality.name}. Draw with mouse or finger; without them, choose a file.`,
    });
    this.canvas.style.setProperty("aspect-ratio", `${width} / ${height}`);
    this.pen = this.makeColour("Pen", "#ffffff");
    this.paper = this.makeColour("Paper", "#000000", () => this.changePaper());
    this.size = make("input", {
      type: "range",
      id: makeId("size"),
      min: 0.5,
      max: Math.max(4, Math.round(Math.max(modality.width, modality.height) / 4)),
      step: 0.25,
      value: Math.max(1, Math.max(modality.width, modality.height) / 7.5),
    });
    this.undo = makeButton("Undo", () => this.removeStroke());
    this.tools = make(
      "div",
      { class: "pad-tools" },
      ...this.pen.parts,
      ...this.paper.parts,
      make("label", { for: this.size.id }, "Size"),
      this.size,
    );
    this.listen();
    this.ready = this.chooseColours(modality.example);
  }

  makeColour(text, value, onchange = null) {
    const input = make("input", { type: "color", id: makeId("colour"), value, oninput: onchange ?? (() => {}) });
    return { input, parts: [make("label", { for: input.id }, text), input] };
  }

  async chooseColours(example) {
    if (typeof example === "string") {
      try {
        const image = await loadImage(example);
        const canvas = make("canvas", { width: this.modality.width, height: this.modality.height });
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0, canvas.width, canvas.height);
        const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
        const { pen, paper } = chooseColours(data, canvas.width, canvas.height);
        this.pen.input.value = toHex(pen);
        this.paper.input.value = toHex(paper);
      } catch {
        // An example that cannot be shown leaves white on black.
      }
    }
    this.paint();
  }

  colour(input) {
    return this.modality.channels === 1 ? toGrey(input.value) : input.value;
  }

  get isEmpty() {
    return this.base === null && !this.isPainted && this.strokes.length === 0;
  }

  listen() {
    const { canvas } = this;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [
        ((event.clientX - box.left) / box.width) * canvas.width,
        ((event.clientY - box.top) / box.height) * canvas.height,
      ];
    };
    let stroke = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || stroke) {
        return;
      }
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      stroke = { colour: this.colour(this.pen.input), width: this.size.value * this.cell, points: [place(event)] };
      this.strokes.push(stroke);
      this.report();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (stroke && canvas.hasPointerCapture(event.pointerId)) {
        const events = event.getCoalescedEvents?.() ?? [];
        stroke.points.push(...(events.length ? events : [event]).map(place));
        this.report();
      }
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => {
        stroke = null;
      });
    }
  }

  /** Reports the drawing at the next frame, once for all movements since the last. */
  report() {
    if (!this.pending) {
      this.pending = requestAnimationFrame(() => {
        this.pending = 0;
        this.paint();
        this.onchange(this.isEmpty ? null : this.write());
      });
    }
  }

  changePaper() {
    if (!this.isEmpty) {
      this.base = null;
      this.isPainted = true;
      this.report();
    } else {
      this.paint();
    }
  }

  removeStroke() {
    this.strokes.pop();
    this.report();
  }

  clear() {
    this.strokes = [];
    this.base = null;
    this.isPainted = false;
    this.report();
  }

  /** Shows an image, on which one can go on drawing; null empties the pad. */
  async show(value) {
    const shown = (this.showing = {});
    const image = value === null ? null : await loadImage(value);
    await this.ready;
    if (this.showing === shown) {
      this.base = image;
      this.strokes = [];
      this.isPainted = false;
      this.paint();
    }
  }

  paint() {
    const { canvas } = this;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = this.colour(this.paper.input);
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (this.base) {
      context.imageSmoothingEnabled = this.base.width > this.modality.width;
      context.drawImage(this.base, 0, 0, canvas.width, canvas.height);
    }
    context.lineCap = "round";
    context.lineJoin = "round";
    for (const { colour, width, points } of this.strokes) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(...points[0]);
      // Curves between the middles of the lines, because quick movements report few points.
      for (const [place, point] of points.entries()) {
        const next = points[place + 1] ?? point;
        context.quadraticCurveTo(...point, (point[0] + next[0]) / 2, (point[1] + next[1]) / 2);
      }
      context.lineTo(...points.at(-1));
      context.stroke();
    }
    canvas.parentElement?.classList.toggle("empty", this.isEmpty);
    this.undo.disabled = this.strokes.length === 0;
  }

  /** Returns the drawing as PNG in base64: each pixel is the mean of its square of the canvas. */
  write() {
    const { width, height } = this.modality;
    const { cell, canvas } = this;
    const { data } = canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, canvas.width, canvas.height);
    const small = make("canvas", { width, height });
    const context = small.getContext("2d");
    const pixels = context.createImageData(width, height);
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        for (let part = 0; part < 4; part += 1) {
          let sum = 0;
          for (let row = y * cell; row < (y + 1) * cell; row += 1) {
            for (let column = x * cell; column < (x + 1) * cell; column += 1) {
              sum += data[4 * (row * canvas.width + column) + part];
            }
          }
          pixels.data[4 * (y * width + x) + part] = Math.round(sum / cell ** 2);
        }
      }
    }
    context.putImageData(pixels, 0, 0);
    return writePng(small);
  }
}
