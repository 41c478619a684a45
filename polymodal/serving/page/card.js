// The card of a modality: a switch between "given" and "predict", the input, and the prediction.

import { createAudioInput } from "./audio_input.js";
import { breakName, make, makeButton, makeId } from "./elements.js";
import { createImageInput } from "./image_input.js";
import { hasTable, showPrediction, showValue } from "./predictions.js";
import { createLabelInput, createOtherInput, createTextInput, createVectorInput } from "./value_inputs.js";

const INPUTS = {
  image: createImageInput,
  label: createLabelInput,
  vector: createVectorInput,
  text: createTextInput,
  audio: createAudioInput,
};

/** Describes a modality in a few words. */
function describe(modality) {
  switch (modality.kind) {
    case "image":
      return `${modality.channels === 1 ? "grey image" : "image"}, ${modality.width}\u00a0×\u00a0${modality.height}`;
    case "label":
      return `label, ${modality.classes.length} classes`;
    case "vector":
      return modality.size === 1 ? (modality.dates?.[0] ? "date" : "number") : `${modality.size} numbers`;
    case "text":
      return "text";
    case "audio":
      return `audio, ${Number(modality.seconds.toPrecision(2))} s`;
    default:
      return `${modality.type}, ${modality.shape.join("\u00a0×\u00a0")}`;
  }
}

/** A card. `onmode` and `onvalue` are called when a person changes the switch or the value. */
export class Card {
  constructor(modality, { onmode, onvalue, onsample }) {
    this.modality = modality;
    this.isGiven = false;
    this.value = null;
    this.prediction = null;
    this.memory = { isOpen: false };
    this.onsample = onsample;
    const title = makeId("title");
    this.modes = ["given", "predict"].map((mode) =>
      make("input", { type: "radio", name: title, value: mode, id: makeId(mode), onchange: () => onmode(mode === "given") }),
    );
    this.note = make("p", { class: "note quiet" });
    this.error = make("p", { class: "error", role: "alert", hidden: true });
    this.input = (INPUTS[modality.kind] ?? createOtherInput)(modality, (value, problem = "", isQuiet = false) => {
      this.value = value;
      this.showError(isQuiet ? "" : problem);
      this.hint = isQuiet ? problem : "";
      this.writeNote();
      onvalue();
    });
    this.use = makeButton("Use the prediction", async () => {
      await this.setValue(this.prediction);
      onvalue();
    });
    this.line = make("div", { class: "line" }, this.note, this.use);
    this.inputPart = make("div", { class: "input" }, this.input.element, this.line);
    this.outputPart = make("div", { class: "output" });
    const legend = make("legend", { class: "unseen" }, `${modality.name}: given or predict`);
    const options = this.modes.map((input, place) =>
      make("span", {}, input, make("label", { for: input.id }, place === 0 ? "Given" : "Predict")),
    );
    this.element = make(
      "section",
      { class: `card kind-${modality.kind}`, "aria-labelledby": title },
      make(
        "header",
        {},
        make(
          "div",
          {},
          make("h2", { id: title, title: modality.name }, ...breakName(modality.name)),
          make("p", { class: "quiet" }, describe(modality)),
        ),
        make("fieldset", { class: "switch" }, legend, ...options),
      ),
      this.inputPart,
      this.outputPart,
      this.error,
    );
    this.setMode(false);
  }

  setMode(isGiven) {
    this.isGiven = isGiven;
    this.modes[isGiven ? 0 : 1].checked = true;
    this.element.classList.toggle("given", isGiven);
    this.inputPart.hidden = !isGiven;
    this.outputPart.hidden = isGiven;
    this.showError("");
    this.writeNote();
  }

  /** Puts a value into the input; null empties it. */
  async setValue(value) {
    this.value = value;
    this.hint = "";
    this.showError("");
    this.writeNote();
    try {
      await this.input.set(value);
    } catch {
      this.value = null;
      await this.input.set(null);
      this.showError("The value could not be read.");
      this.writeNote();
    }
  }

  writeNote() {
    const isEmpty = this.value === null;
    this.note.textContent = this.hint || (isEmpty ? "Empty, so it counts as missing." : "");
    this.use.hidden = !isEmpty || this.prediction === null;
    this.line.hidden = this.note.textContent === "" && this.use.hidden;
  }

  showError(message) {
    this.error.textContent = message;
    this.error.hidden = message === "";
  }

  /**
   * Shows a prediction.
   *
   * `value` is the point prediction, null where only samples exist; `actual` is the value of the test row, undefined
   * where it is not known.
   */
  showPrediction(result) {
    const { modality } = this;
    const { value, samples, actual } = result;
    this.prediction = value ?? samples[0] ?? null;
    const parts = [];
    if (value !== null) {
      const shown = make("div", { class: "shown" }, showPrediction(modality, result, this.memory));
      if (actual !== undefined && actual !== null && !hasTable(modality)) {
        shown.append(
          make("div", { class: "actual" }, make("p", { class: "quiet" }, "Actual"), showValue(modality, actual, `Actual ${modality.name}`)),
        );
      }
      parts.push(shown);
    }
    if (samples.length) {
      parts.push(this.makeSamples(samples));
    }
    this.outputPart.replaceChildren(...parts);
    this.writeNote();
  }

  /** Returns the list of samples. One of them is in the tab order; arrow keys go to the others. */
  makeSamples(samples) {
    const { modality } = this;
    const items = samples.map((value, place) => {
      const title = `Sample ${place + 1} of ${modality.name}`;
      return make(
        "li",
        {
          tabindex: place === 0 ? 0 : -1,
          "data-sample": place,
          onmouseenter: () => this.onsample(place),
          onmouseleave: () => this.onsample(null),
          onfocus: () => this.onsample(place),
          onblur: () => this.onsample(null),
        },
        make("span", { class: "place" }, String(place + 1)),
        showValue(modality, value, title),
      );
    });
    const list = make("ol", { class: hasTable(modality) ? "samples tall" : "samples", "aria-label": `Samples of ${modality.name}` }, ...items);
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const next = step && items[items.indexOf(document.activeElement) + step];
      if (next) {
        event.preventDefault();
        items.forEach((item) => item.setAttribute("tabindex", item === next ? 0 : -1));
        next.focus();
      }
    });
    return list;
  }
}
