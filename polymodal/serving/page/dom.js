// Elements of the page. Texts that come from the model or the user only ever become text nodes.

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

let count = 0;

export function newId(prefix) {
  count += 1;
  return `${prefix}-${count}`;
}

// A number with at most four significant digits, without an exponent where it is readable.
export function formatNumber(value) {
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(2);
  if (size >= 1000) return String(Math.round(value * 10) / 10);
  return String(Number(value.toPrecision(4)));
}

export function formatShare(share) {
  const percent = 100 * share;
  return `${percent > 99.95 || percent < 0.05 ? percent.toFixed(0) : percent.toFixed(1)} %`;
}

// The label above a field, with the field inside.
export function labelled(text, field, className = "field") {
  return make("label", { className }, make("span", { className: "field-name" }, text), field);
}
