// Images: a drawing area or a file as input, and predictions as pictures.

import { make, labelled } from "./dom.js";
import { makeFileInput } from "./files.js";

const SMALL = 64; // most pixels per side of an image that is drawn by hand and shown with visible pixels
const SHOWN = 176; // pixels of the longer side on the screen

const isSmall = (modality) => Math.max(modality.width, modality.height) <= SMALL;

function setSize(element, modality, longer) {
  const most = Math.max(modality.width, modality.height);
  const scale = most <= longer ? Math.max(1, Math.floor(longer / most)) : longer / most;
  element.style.width = `${modality.width * scale}px`;
  element.style.aspectRatio = `${modality.width} / ${modality.height}`;
}

export function show(modality, value, { alt, small }) {
  const image = make("img", { alt, src: `data:image/png;base64,${value}`, className: "picture", draggable: false });
  image.classList.toggle("pixelated", isSmall(modality));
  setSize(image, modality, small ? 64 : SHOWN);
  return image;
}

export function loadImage(source) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("This file is not an image that the browser can read. Choose a PNG or JPEG file."));
    image.src = source;
  });
}

const toHex = (pixel) => `#${[...pixel].map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;

// The colour of most of an image's border, and the colour that differs most from it.
function findColours(context, width, height) {
  const { data } = context.getImageData(0, 0, width, height);
  const pixel = (x, y) => data.subarray(4 * (y * width + x), 4 * (y * width + x) + 3);
  const border = [];
  for (let x = 0; x < width; x += 1) border.push(pixel(x, 0), pixel(x, height - 1));
  for (let y = 0; y < height; y += 1) border.push(pixel(0, y), pixel(width - 1, y));
  const median = (part) => border.map((one) => one[part]).sort((a, b) => a - b)[border.length >> 1];
  const paper = [median(0), median(1), median(2)];
  const distance = (one) => one.reduce((sum, part, place) => sum + (part - paper[place]) ** 2, 0);
  let pen = pixel(0, 0);
  for (let place = 0; place < width * height; place += 1) {
    const one = data.subarray(4 * place, 4 * place + 3);
    if (distance(one) > distance(pen)) pen = one;
  }
  return { paper: toHex(paper), pen: toHex(pen) };
}

// The mean colour of each block of a large canvas, as a small canvas.
function shrink(canvas, width, height) {
  const scale = canvas.width / width;
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const small = make("canvas", { width, height });
  const context = small.getContext("2d");
  const result = context.createImageData(width, height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const sums = [0, 0, 0, 0];
      for (let dy = 0; dy < scale; dy += 1) {
        let place = 4 * ((y * scale + dy) * canvas.width + x * scale);
        for (let dx = 0; dx < scale; dx += 1) {
          for (let part = 0; part < 4; part += 1) sums[part] += data[place + part];
          place += 4;
        }
      }
      sums.forEach((sum, part) => { result.data[4 * (y * width + x) + part] = Math.round(sum / scale ** 2); });
    }
  }
  context.putImageData(result, 0, 0);
  return small;
}

const toBase64 = (canvas) => canvas.toDataURL("image/png").split(",")[1];

class ImageInput {
  constructor(modality, changed) {
    this.modality = modality;
    this.changed = changed;
    this.value = null;
    this.newest = 0; // only the newest of several loads counts
    this.scale = isSmall(modality) ? Math.max(1, Math.ceil(320 / Math.max(modality.width, modality.height))) : 1;
    this.canvas = make("canvas", {
      width: modality.width * this.scale, height: modality.height * this.scale, className: "picture pad",
      role: "img", "aria-label": `Image given as ${modality.name}`,
    });
    setSize(this.canvas, modality, SHOWN);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    const hint = isSmall(modality) ? "Draw here, or drop a file" : "Drop a file here";
    this.hint = make("span", { className: "pad-hint", "aria-hidden": "true" }, hint);
    const frame = make("div", { className: "pad-frame" }, this.canvas, this.hint);
    this.file = makeFileInput(frame, "Choose an image", "image/*", (file) => this.readFile(file));
    const tools = make("div", { className: "tools" });
    if (isSmall(modality)) tools.append(...this.makeTools());
    tools.append(this.file.element, make("button", { type: "button", className: "plain", onclick: () => this.clear() }, "Clear"));
    this.element = make("div", { className: "side-by-side" }, frame, tools);
  }

  makeTools() {
    const longer = Math.max(this.modality.width, this.modality.height);
    this.pen = make("input", { type: "color", value: "#ffffff" });
    this.paper = make("input", { type: "color", value: "#000000", oninput: () => { if (this.value === null) this.fill(); } });
    this.brush = make("input", { type: "range", min: 1, max: Math.max(4, Math.round(longer / 4)), step: 0.5, value: Math.max(1.5, longer / 6) });
    this.prepareColours();
    this.canvas.classList.add("drawable");
    this.canvas.addEventListener("pointerdown", (event) => this.start(event));
    this.canvas.addEventListener("pointermove", (event) => this.draw(event));
    for (const type of ["pointerup", "pointercancel"]) this.canvas.addEventListener(type, () => this.finish());
    return [make("div", { className: "colours" }, labelled("Pen", this.pen), labelled("Paper", this.paper)), labelled("Brush", this.brush)];
  }

  async prepareColours() {
    if (!this.modality.example) return;
    const image = await loadImage(`data:image/png;base64,${this.modality.example}`).catch(() => null);
    if (!image) return;
    const canvas = make("canvas", { width: image.width, height: image.height });
    canvas.getContext("2d").drawImage(image, 0, 0);
    const { paper, pen } = findColours(canvas.getContext("2d"), image.width, image.height);
    this.paper.value = paper;
    this.pen.value = pen;
    if (this.value === null) this.fill();
  }

  locate(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * this.canvas.width / box.width, (event.clientY - box.top) * this.canvas.height / box.height];
  }

  start(event) {
    if (event.button > 0) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    if (this.value === null) this.fill();
    this.newest += 1;
    this.last = this.locate(event);
    this.draw(event);
  }

  draw(event) {
    if (!this.last) return;
    for (const one of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
      const next = this.locate(one);
      Object.assign(this.context, { lineCap: "round", lineJoin: "round", strokeStyle: this.pen.value, lineWidth: this.brush.value * this.scale });
      this.context.beginPath();
      this.context.moveTo(...this.last);
      this.context.lineTo(next[0] + 0.01, next[1]);
      this.context.stroke();
      this.last = next;
    }
    this.take();
  }

  finish() {
    this.last = null;
  }

  take() {
    this.set(toBase64(shrink(this.canvas, this.modality.width, this.modality.height)));
    this.changed();
  }

  set(value) {
    this.value = value;
    this.hint.hidden = value !== null;
  }

  fill() {
    this.context.fillStyle = this.paper?.value ?? "#8888";
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.paper) this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  clear() {
    this.newest += 1;
    this.fill();
    this.set(null);
    this.changed();
  }

  async readFile(file) {
    const address = URL.createObjectURL(file);
    try {
      await this.paint(await loadImage(address), true);
      this.take();
    } finally {
      URL.revokeObjectURL(address);
    }
  }

  paint(image, isSmooth) {
    const { width, height } = this.canvas;
    this.context.clearRect(0, 0, width, height);
    if (this.modality.channels !== 4) {
      this.context.fillStyle = "#ffffff";
      this.context.fillRect(0, 0, width, height);
    }
    const isOwnSize = image.width <= this.modality.width && image.height <= this.modality.height;
    this.context.imageSmoothingEnabled = isSmooth && !isOwnSize;
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(image, 0, 0, width, height);
  }

  read() {
    return this.value;
  }

  async write(value) {
    this.newest += 1;
    const mine = this.newest;
    if (typeof value !== "string") {
      this.fill();
      this.set(null);
      return;
    }
    this.set(value);
    const image = await loadImage(`data:image/png;base64,${value}`).catch(() => null);
    if (image && mine === this.newest) this.paint(image, false);
  }
}

export const makeInput = (modality, changed) => new ImageInput(modality, changed);
