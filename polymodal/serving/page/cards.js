// Cards: one per modality, with a switch between an input and the prediction.

import { make, newId } from "./dom.js";
import * as audio from "./audio.js";
import * as images from "./images.js";
import * as labels from "./labels.js";
import * as numbers from "./numbers.js";
import * as texts from "./texts.js";

const KINDS = {
  image: images,
  label: labels,
  vector: numbers,
  text: texts,
  audio,
  other: { makeInput: texts.makeJsonInput, show: texts.showJson },
};

const describe = (modality) => ({
  image: `image, ${modality.width} × ${modality.height}`,
  label: `label, ${modality.classes?.length} classes`,
  vector: modality.size === 1 ? "number" : `${modality.size} numbers`,
  text: "text",
  audio: `audio, ${modality.seconds?.toFixed(1)} s`,
})[modality.kind] ?? modality.type ?? "custom";

export class Card {
  // `changed()` is called when the switch or the input changes.
  constructor(modality, changed) {
    this.modality = modality;
    this.name = modality.name;
    this.kind = KINDS[modality.kind] ?? KINDS.other;
    this.changed = changed;
    this.prediction = null;
    this.truth = null;
    this.input = this.kind.makeInput(modality, () => this.refresh(true));
    this.problem = make("p", { className: "problem", role: "alert", hidden: true });
    this.output = make("div", { className: "output" });
    this.usePrediction = this.makeUse("Use the prediction", () => this.prediction);
    this.useTruth = this.makeUse("Use the test row's value", () => this.truth);
    this.note = make("span", { className: "quiet", hidden: true }, "Empty, so it is not used.");
    const uses = make("div", { className: "uses" }, this.note, this.usePrediction, this.useTruth);
    this.given = make("div", { className: "input" }, this.input.element, uses);
    const id = newId("card");
    this.element = make("section", { className: "card", "aria-labelledby": id },
      make("header", { className: "card-head" },
        make("div", { className: "card-title" }, make("h2", { id }, this.name), make("p", { className: "quiet" }, describe(modality))),
        this.makeSwitch()),
      this.given, this.output, this.problem);
    this.setGiven(false);
  }

  makeSwitch() {
    const name = newId("switch");
    const radio = (text, isGiven) => {
      const field = make("input", { type: "radio", name, value: text, onchange: () => { this.setGiven(isGiven); this.changed(this); } });
      return [field, make("label", { className: "choice" }, field, make("span", {}, text))];
    };
    const [given, predict] = [radio("Given", true), radio("Predict", false)];
    this.radios = { given: given[0], predict: predict[0] };
    return make("fieldset", { className: "switch" }, make("legend", { className: "visually-hidden" }, `${this.name}: given or predicted`), given[1], predict[1]);
  }

  makeUse(text, value) {
    return make("button", { type: "button", className: "plain", hidden: true, onclick: () => { this.input.write(value()); this.refresh(true); } }, text);
  }

  setGiven(isGiven) {
    this.isGiven = isGiven;
    this.radios.given.checked = isGiven;
    this.radios.predict.checked = !isGiven;
    this.given.hidden = !isGiven;
    this.output.hidden = isGiven;
    this.element.classList.toggle("is-given", isGiven);
    this.refresh(false);
  }

  // The value that the model is given; null if there is none.
  get value() {
    return this.isGiven ? this.input.read() : null;
  }

  write(value) {
    this.input.write(value);
    this.refresh(false);
  }

  refresh(isChange) {
    const isEmpty = this.input.read() === null;
    this.setProblem(this.isGiven ? this.input.problem?.() ?? "" : "");
    this.note.hidden = !isEmpty;
    this.usePrediction.hidden = !isEmpty || this.prediction === null;
    this.useTruth.hidden = !isEmpty || this.truth === null;
    if (isChange) this.changed(this);
  }

  setProblem(message) {
    this.problem.textContent = message;
    this.problem.hidden = !message;
  }

  // Shows a prediction: its value (null for none), details, samples, and the value in the test row (null for none).
  show({ value, detail, samples, truth, from }) {
    this.prediction = value ?? samples?.[0] ?? null;
    this.truth = truth ?? null;
    const parts = [];
    const view = (one, options) => this.kind.show(this.modality, one, options);
    if (value !== null && value !== undefined) {
      const isInside = this.kind.showsTruth?.(this.modality) ?? false;
      const options = { detail, alt: `${this.name}, prediction`, truth: isInside ? this.truth : null };
      parts.push(make("div", { className: "main-value" }, view(value, options)));
      if (this.truth !== null && !isInside) {
        const shown = view(this.truth, { small: true, alt: `${this.name}, value in the test row` });
        parts.push(make("div", { className: "truth" }, make("span", { className: "quiet" }, "In the test row"), shown));
      }
    }
    if (samples?.length) {
      const buttons = samples.map((one, place) => make("button", {
        type: "button", className: "sample", "data-sample": String(place), "aria-pressed": "false",
        "aria-label": `${this.name}, sample ${place + 1}${typeof one === "object" || this.modality.kind === "image" ? "" : `: ${one}`}`,
      }, make("span", { className: "sample-number", "aria-hidden": "true" }, String(place + 1)), view(one, { small: true, alt: "" })));
      parts.push(make("div", { className: `samples of-${this.modality.kind}`, role: "group", "aria-label": `Samples of ${this.name}, ${from}` }, ...buttons));
    }
    const had = document.activeElement?.closest?.("[data-sample]");
    const place = had && this.output.contains(had) ? had.dataset.sample : null;
    this.output.replaceChildren(...(parts.length ? parts : [make("p", { className: "quiet" }, "No prediction yet.")]));
    if (place !== null) this.output.querySelector(`[data-sample="${place}"]`)?.focus();
    this.refresh(false);
  }
}
