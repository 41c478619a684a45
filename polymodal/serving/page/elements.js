// Small helpers that create elements. Texts are set as text only, so that names of data cannot become markup.

let count = 0;

/** Returns an id that no other element has. */
export function makeId(prefix) {
  count += 1;
  return `${prefix}-${count}`;
}

/**
 * Creates an element.
 *
 * Functions become event listeners (`onclick`), null and false leave an attribute out, true sets an empty one, and
 * all else becomes an attribute. Children are elements or texts; null is left out.
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), value);
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Creates a button. */
export function makeButton(text, onclick, attributes = {}) {
  return make("button", { type: "button", onclick, ...attributes }, text);
}

/** Returns an own property of an object from JSON, null if it has none of this name. */
export function read(object, name) {
  return object && Object.hasOwn(object, name) ? object[name] : null;
}

/** Writes a number with about `digits` significant digits, without an exponent where that is short. */
export function formatNumber(number, digits = 4) {
  if (number === null || !Number.isFinite(number)) {
    return "–";
  }
  if (number !== 0 && (Math.abs(number) < 1e-4 || Math.abs(number) >= 1e9)) {
    return number.toExponential(2).replace("-", "−");
  }
  const whole = Math.floor(Math.log10(Math.abs(number) || 1)) + 1;
  const decimals = Math.min(8, Math.max(0, digits - whole));
  const text = number.toLocaleString("en", { maximumFractionDigits: decimals, useGrouping: Math.abs(number) >= 1e4 });
  return text.replace("-", "−");
}

/** Writes a probability in percent. */
export function formatPercent(probability) {
  const percent = 100 * probability;
  if (percent > 0 && percent < 0.1) {
    return "< 0.1 %";
  }
  return `${percent.toFixed(percent < 10 && percent > 0 ? 1 : percent > 99 && percent < 99.95 ? 1 : 0)} %`;
}

/** Returns the parts of a name with places where a line may break, after "_", "-" and ".". */
export function breakName(name) {
  return name.split(/(?<=[_.-])/).flatMap((part, place) => (place ? [make("wbr"), part] : [part]));
}
