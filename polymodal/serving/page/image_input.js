// The input of an image: a file that is dropped or chosen, or a drawing where the image is small.

import { DrawingPad, loadImage, writePng } from "./drawing.js";
import { make, makeButton, makeId } from "./elements.js";

/** Images up to this side can be drawn. */
const SMALL = 64;

/** Reads a file as PNG in base64. Files much larger than the model's images are reduced first. */
async function readImageFile(file, modality) {
  const image = await createImageBitmap(file);
  const factor = Math.min(1, Math.max((4 * modality.width) / image.width, (4 * modality.height) / image.height));
  const canvas = make("canvas", {
    width: Math.max(1, Math.round(image.width * factor)),
    height: Math.max(1, Math.round(image.height * factor)),
  });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return writePng(canvas);
}

/** Makes an element accept dropped files. */
export function acceptDrops(element, onfile) {
  const mark = (isOver) => element.classList.toggle("over", isOver);
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  element.addEventListener("dragleave", () => mark(false));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    const file = event.dataTransfer.files[0];
    if (file) {
      onfile(file);
    }
  });
}

/** Creates a button that opens a file, next to an input that programs and keyboards reach. */
export function makeFileButton(text, accept, name, onfile) {
  const input = make("input", {
    type: "file",
    accept,
    id: makeId("file"),
    class: "file",
    onchange: () => {
      if (input.files[0]) {
        onfile(input.files[0]);
        input.value = "";
      }
    },
  });
  const hidden = make("span", { class: "unseen" }, ` for ${name}`);
  return make("span", { class: "file-button" }, input, make("label", { for: input.id }, text, hidden));
}

/** Creates the input of an image. */
export function createImageInput(modality, onchange) {
  const isSmall = Math.max(modality.width, modality.height) <= SMALL;
  const pad = isSmall ? new DrawingPad(modality, onchange) : null;
  const picture = isSmall ? pad.canvas : make("img", { class: "pad", alt: `Given ${modality.name}`, hidden: true });
  const placeholder = make("p", { class: "placeholder" }, isSmall ? "Draw here, or drop a file" : "Drop a file here");
  const frame = make("div", { class: "pad-frame empty" }, picture, placeholder);

  const set = async (value) => {
    if (isSmall) {
      await pad.show(value);
    } else {
      picture.hidden = value === null;
      frame.classList.toggle("empty", value === null);
      if (value === null) {
        picture.removeAttribute("src");
      } else {
        picture.src = (await loadImage(value)).src;
      }
    }
  };
  const readFile = async (file) => {
    try {
      const value = await readImageFile(file, modality);
      await set(value);
      onchange(value);
    } catch {
      onchange(null, `${file.name} is not an image that this browser can read. Choose a PNG or JPEG file.`);
    }
  };
  const clear = () => {
    if (isSmall) {
      pad.clear();
    } else {
      set(null);
      onchange(null);
    }
  };
  acceptDrops(frame, readFile);
  const actions = make(
    "div",
    { class: "line" },
    makeFileButton("Choose a file", "image/*", modality.name, readFile),
    pad?.undo,
    makeButton("Clear", clear),
  );
  return { element: make("div", { class: "image-input" }, frame, pad?.tools, actions), set };
}
