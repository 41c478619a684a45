// Inputs of labels, numbers, texts and of values of user-defined modalities.

import { drawCurve } from "./charts.js";
import { formatNumber, make, makeId } from "./elements.js";

const MANY_CLASSES = 30;
const MANY_NUMBERS = 16;

/** Creates the input of a label: a list, with a search where there are many classes. */
export function createLabelInput(modality, onchange) {
  const classes = new Map(modality.classes.map((one) => [String(one), one]));
  if (classes.size > MANY_CLASSES) {
    return createSearch(modality, classes, onchange);
  }
  const select = make(
    "select",
    {
      "aria-label": modality.name,
      onchange: () => onchange(select.value === "" ? null : modality.classes[Number(select.value)]),
    },
    make("option", { value: "" }, "Choose a class"),
    ...modality.classes.map((one, place) => make("option", { value: place }, String(one))),
  );
  const set = (value) => {
    const place = modality.classes.findIndex((one) => String(one) === String(value));
    select.value = value === null || place < 0 ? "" : String(place);
  };
  return { element: select, set };
}

function createSearch(modality, classes, onchange) {
  const list = make("datalist", { id: makeId("classes") }, ...[...classes.keys()].map((value) => make("option", { value })));
  const read = () => {
    const text = input.value.trim();
    if (text === "") {
      onchange(null);
    } else if (classes.has(text)) {
      onchange(classes.get(text));
    } else {
      onchange(null, "Choose one of the classes in the list.", true);
    }
  };
  const input = make("input", {
    type: "text",
    list: list.id,
    placeholder: `Search ${classes.size} classes`,
    "aria-label": modality.name,
    autocomplete: "off",
    oninput: read,
  });
  const set = (value) => {
    input.value = value === null ? "" : String(value);
  };
  return { element: make("div", {}, input, list), set };
}

/** Creates the field of one number, with a slider where its range is known. */
function createField(label, range, isDate, isHidden, onchange) {
  const id = makeId("number");
  const field = make("input", {
    id,
    type: isDate ? (String(range?.[0] ?? "").includes("T") ? "datetime-local" : "date") : "number",
    step: "any",
    inputmode: isDate ? null : "decimal",
    placeholder: isDate ? null : "a number",
    oninput: () => {
      follow();
      onchange();
    },
  });
  const hasSlider = !isDate && range && range[1] > range[0];
  const slider = hasSlider
    ? make("input", {
        type: "range",
        min: range[0],
        max: range[1],
        step: "any",
        "aria-label": `${label}, slider`,
        class: "unset",
        oninput: () => {
          field.value = String(Number(Number(slider.value).toPrecision(4)));
          slider.classList.remove("unset");
          onchange();
        },
      })
    : null;
  const follow = () => {
    if (slider) {
      slider.classList.toggle("unset", field.value === "");
      slider.value = field.value === "" ? (range[0] + range[1]) / 2 : field.value;
    }
  };
  follow();
  const ends = isDate ? range : range?.map((end) => formatNumber(end));
  const element = make(
    "div",
    { class: "field" },
    make("label", { for: id, class: isHidden ? "unseen" : null }, label),
    field,
    slider,
    ends ? make("p", { class: "quiet ends" }, `In the training rows: ${ends[0]} to ${ends[1]}`) : null,
  );
  const get = () => {
    if (field.value === "") {
      return field.validity.badInput ? undefined : null;
    }
    return isDate ? field.value : Number(field.value);
  };
  const set = (value) => {
    field.value = value === null ? "" : isDate ? String(value) : String(Number(Number(value).toPrecision(7)));
    follow();
  };
  return { element, get, set };
}

/** Creates the input of a vector. */
export function createVectorInput(modality, onchange) {
  if (modality.size > MANY_NUMBERS) {
    return createLongInput(modality, onchange);
  }
  const fields = Array.from({ length: modality.size }, (_, place) => {
    const label = modality.size === 1 ? modality.name : (modality.columns?.[place] ?? `${modality.name} ${place + 1}`);
    const unit = modality.units?.[place];
    const text = unit ? `${label} (${unit})` : label;
    return createField(text, modality.ranges?.[place] ?? null, modality.dates?.[place], modality.size === 1, read);
  });
  function read() {
    const numbers = fields.map((field) => field.get());
    const missing = numbers.filter((number) => number === null).length;
    if (numbers.includes(undefined)) {
      onchange(null, "Enter a number.", true);
    } else if (missing === numbers.length) {
      onchange(null);
    } else if (missing && !modality.partial) {
      onchange(null, `Enter all ${numbers.length} numbers; until then the value counts as missing.`, true);
    } else {
      onchange(modality.size === 1 ? numbers[0] : numbers);
    }
  }
  const set = (value) => {
    for (const [place, field] of fields.entries()) {
      field.set(value === null ? null : modality.size === 1 ? value : (value[place] ?? null));
    }
  };
  return { element: make("div", { class: "fields" }, ...fields.map((field) => field.element)), set };
}

function createLongInput(modality, onchange) {
  const curve = make("div", { class: "curve" });
  const area = make("textarea", {
    rows: 4,
    "aria-label": `${modality.name}, ${modality.size} numbers`,
    placeholder: `${modality.size} numbers, separated by commas`,
    spellcheck: "false",
    oninput: () => {
      const parts = area.value.split(/[\s,;]+/).filter((part) => part !== "");
      const numbers = parts.map((part) => (modality.partial && part === "null" ? null : Number(part)));
      const isRight = numbers.every((number) => number === null || Number.isFinite(number));
      curve.replaceChildren();
      if (parts.length === 0) {
        onchange(null);
      } else if (!isRight || numbers.length !== modality.size) {
        const found = isRight ? `there are ${numbers.length}` : "one of them is not a number";
        onchange(null, `Enter ${modality.size} numbers; ${found}.`, true);
      } else {
        curve.append(drawCurve([numbers], `The given numbers of ${modality.name}`));
        onchange(numbers);
      }
    },
  });
  const set = (value) => {
    area.value = value === null ? "" : value.map((one) => (one === null ? "null" : Number(one.toPrecision(6)))).join(", ");
    curve.replaceChildren(...(value === null ? [] : [drawCurve([value], `The given numbers of ${modality.name}`)]));
  };
  return { element: make("div", { class: "fields" }, area, curve), set };
}

/** Creates the input of a text. */
export function createTextInput(modality, onchange) {
  const area = make("textarea", {
    rows: 3,
    "aria-label": modality.name,
    placeholder: typeof modality.example === "string" && modality.example ? `for example: ${modality.example}` : "a text",
    oninput: () => onchange(area.value.trim() === "" ? null : area.value),
  });
  const set = (value) => {
    area.value = value ?? "";
  };
  return { element: area, set };
}

/** Creates the input of a value of a user-defined modality: nested lists of numbers as JSON. */
export function createOtherInput(modality, onchange) {
  const area = make("textarea", {
    rows: 4,
    "aria-label": `${modality.name} as JSON`,
    placeholder: `nested lists of numbers of shape ${modality.shape.join(" × ")}, as JSON`,
    spellcheck: "false",
    oninput: () => {
      if (area.value.trim() === "") {
        onchange(null);
        return;
      }
      try {
        onchange(JSON.parse(area.value));
      } catch {
        onchange(null, "This is not JSON yet. Write lists such as [1, 2, 3].", true);
      }
    },
  });
  const set = (value) => {
    area.value = value === null ? "" : JSON.stringify(value);
  };
  return { element: area, set };
}
