// The page: loads the schema, keeps the state, and asks the server for predictions when something changes.

import { get, keepToken, post, ServerError } from "./api.js";
import { Card } from "./card.js";
import { make, read } from "./elements.js";
import { decodeFragment, encodeFragment } from "./link.js";
import { startThemeSwitch } from "./theme_switch.js";

const DELAY = 150;
const COUNTS = [0, 1, 2, 4, 8];
const NUMBER_SAMPLES = 16;
/** Longest fragment that is put into a link, in characters; longer ones break in mail and chat programs. */
const LONGEST = 30_000;

const find = (id) => document.getElementById(id);
const state = { samples: 0, seed: 0, example: null, actual: null };
let schema = null;
let cards = new Map();
let timer = 0;
let running = null;
let latest = null;
let lastFragment = "";

function showAlert(message, id = "alert") {
  find(id).textContent = message;
  find(id).hidden = message === "";
}

/** Shows a message that stays until a person does something, whatever the next prediction says. */
const showNotice = (message) => showAlert(message, "notice");

/** Joins names as a person would say them. */
function joinNames(names) {
  const shown = names.length > 6 ? [...names.slice(0, 5), `${names.length - 5} more`] : names;
  return shown.length > 1 ? `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}` : shown.join("");
}

/** Returns the given values by name. */
function collectRow() {
  const given = [...cards].filter(([, card]) => card.isGiven && card.value !== null);
  return Object.fromEntries(given.map(([name, card]) => [name, card.value]));
}

function schedule(delay = DELAY) {
  clearTimeout(timer);
  timer = setTimeout(predict, delay);
}

/** Asks for predictions. A request that is still running is given up. */
async function predict() {
  running?.abort();
  const controller = new AbortController();
  running = controller;
  const row = collectRow();
  const given = Object.keys(row);
  const to = [...cards].filter(([, card]) => !card.isGiven).map(([name]) => name);
  writeFragment();
  find("resample").disabled = given.length > 0 && state.samples === 0;
  if (to.length === 0) {
    finish("Everything is given. Set a card to Predict to see its prediction.");
    return;
  }
  find("cards").setAttribute("aria-busy", "true");
  try {
    if (given.length) {
      await translate(row, to, controller.signal);
      finish(`Predicted ${joinNames(to)} from ${joinNames(given)}.${explainSamples()}`);
    } else {
      await sample(to, controller.signal);
      finish(`Nothing is given, so these are unconditional samples from the model.${explainSamples()}`);
    }
    showProblem(null);
  } catch (error) {
    if (error.name !== "AbortError" && running === controller) {
      finish("");
      showProblem(error);
    }
  }
}

const explainSamples = () =>
  state.samples > 1 ? " Samples with the same number belong together: each number is one consistent row." : "";

function finish(message) {
  find("cards").removeAttribute("aria-busy");
  if (find("status").textContent !== message) {
    find("status").textContent = message;
  }
}

async function translate(row, to, signal) {
  const hasNumbers = schema.can_sample && to.some((name) => cards.get(name).modality.kind === "vector");
  // The spread of numbers is that of samples, so some are needed even where none is to be shown.
  const wanted = Math.max(state.samples, hasNumbers ? NUMBER_SAMPLES : 0);
  const count = schema.can_sample ? Math.min(wanted, schema.limits.samples) : 0;
  const request = { rows: [row], to, samples: count || null, seed: state.seed, details: true };
  const answer = await post("/api/translate", request, signal);
  const actual = state.actual;
  for (const name of to) {
    cards.get(name).showPrediction({
      value: read(answer.rows[0], name),
      detail: read(answer.details?.[0], name),
      samples: (answer.samples?.[0] ?? []).slice(0, state.samples).map((one) => read(one, name)),
      actual: actual === null ? undefined : read(actual, name),
    });
  }
}

async function sample(to, signal) {
  const request = { n: Math.max(1, state.samples), to, seed: state.seed };
  const { rows } = await post("/api/sample", request, signal);
  for (const name of to) {
    const samples = rows.map((row) => read(row, name));
    const isOne = samples.length === 1;
    cards.get(name).showPrediction({ value: isOne ? samples[0] : null, detail: null, samples: isOne ? [] : samples });
  }
}

/** Shows an error next to the card that it names, otherwise above the cards; null removes it. */
function showProblem(error) {
  showAlert("");
  if (error === null) {
    return;
  }
  if (error.status === 401) {
    askToken();
    return;
  }
  if (!(error instanceof ServerError)) {
    throw error;
  }
  const match = [...cards.values()].find(({ modality: { name } }) => error.message.startsWith(`row 0, ${name}: `));
  if (match) {
    const text = error.message.slice(`row 0, ${match.modality.name}: `.length);
    match.showError(text.charAt(0).toUpperCase() + text.slice(1));
  } else {
    showAlert(error.message);
  }
}

function askToken() {
  find("token").hidden = false;
  find("tools").hidden = true;
  find("token-text").focus();
}

/** Returns the state as a document for a link. */
function describeState() {
  const given = [...cards].filter(([, card]) => card.isGiven).map(([name]) => name);
  const { samples, seed, example } = state;
  return { given, values: collectRow(), samples, seed, example };
}

async function writeFragment() {
  const document = describeState();
  latest = document;
  const fragment = await encodeFragment(document);
  if (latest !== document) {
    return; // a later state is being written
  }
  lastFragment = fragment.length <= LONGEST ? `#${fragment}` : "";
  if (lastFragment !== location.hash) {
    try {
      history.replaceState(null, "", lastFragment || location.pathname);
    } catch {
      // Browsers refuse many changes within seconds; the next change writes the address again.
    }
  }
}

/** Applies the state of a link. Names that the model does not have are left out. */
async function applyState({ given, values, samples, seed, example }) {
  const isWhole = (number) => Number.isSafeInteger(number) && number >= 0;
  if (!Array.isArray(given) || typeof values !== "object" || values === null) {
    throw new Error("the state is incomplete");
  }
  state.samples = schema.can_sample && COUNTS.includes(samples) ? samples : 0;
  state.seed = isWhole(seed) ? seed : 0;
  state.example = null;
  state.actual = null;
  for (const [name, card] of cards) {
    card.setMode(given.includes(name));
  }
  await Promise.all([...cards].map(([name, card]) => card.setValue(read(values, name))));
  if (isWhole(example) && example < schema.examples) {
    const { row } = await get(`/api/example?index=${example}`);
    state.example = example;
    state.actual = row;
  }
  writeControls();
}

/** Restores the state of the address. Returns whether there was one. */
async function restore() {
  if (location.hash.length < 2) {
    return false;
  }
  try {
    await applyState(await decodeFragment(location.hash.slice(1)));
    return true;
  } catch (error) {
    if (error instanceof ServerError && error.status === 401) {
      throw error;
    }
    showNotice("The link is damaged or belongs to another model, so its state is not restored.");
    return false;
  }
}

/** Fills the given cards with the values of a test row; without one, the first card becomes given. */
async function showExample(index) {
  const { row } = await get(`/api/example?index=${index}`);
  state.example = index;
  state.actual = row;
  if (![...cards.values()].some((card) => card.isGiven)) {
    const first = [...cards.keys()].find((name) => read(row, name) !== null);
    cards.get(first)?.setMode(true);
  }
  const given = [...cards.values()].filter((card) => card.isGiven);
  await Promise.all(given.map((card) => card.setValue(read(row, card.modality.name))));
  writeControls();
}

async function handle(action) {
  showNotice("");
  try {
    await action();
    schedule(0);
  } catch (error) {
    showProblem(error);
  }
}

function writeControls() {
  const { example, samples } = state;
  find("example").textContent = example === null ? "Show a test row" : "Another test row";
  find("example-place").textContent = example === null ? "" : `Test row ${example + 1} of ${schema.examples}`;
  for (const input of find("samples").querySelectorAll("input")) {
    input.checked = Number(input.value) === samples;
  }
}

function changeMode(card, isGiven) {
  card.setMode(isGiven);
  const actual = read(state.actual, card.modality.name);
  if (isGiven && card.value === null && actual !== null) {
    card.setValue(actual).then(() => schedule(0));
  }
  schedule(0);
}

/** A value that differs from the test row's leaves it: the row's other values say nothing about it. */
function leaveExample() {
  state.example = null;
  state.actual = null;
  writeControls();
}

function highlight(place) {
  for (const item of document.querySelectorAll("[data-sample]")) {
    item.classList.toggle("lit", place !== null && item.dataset.sample === String(place));
  }
}

function createCards() {
  cards = new Map();
  for (const modality of schema.modalities) {
    const card = new Card(modality, {
      onmode: (isGiven) => changeMode(card, isGiven),
      onvalue: () => {
        showNotice("");
        leaveExample();
        schedule();
      },
      onsample: highlight,
    });
    cards.set(modality.name, card);
  }
  find("cards").classList.toggle("three", [3, 5, 6, 9].includes(cards.size));
  find("cards").replaceChildren(...[...cards.values()].map((card) => card.element));
}

function createControls() {
  const options = COUNTS.filter((count) => count <= schema.limits.samples).map((count) => {
    const input = make("input", {
      type: "radio",
      name: "samples",
      id: `samples-${count}`,
      value: count,
      onchange: () => {
        state.samples = count;
        schedule(0);
      },
    });
    return make("span", {}, input, make("label", { for: input.id }, count === 0 ? "none" : String(count)));
  });
  find("samples").replaceChildren(make("legend", {}, "Samples"), ...options);
  find("samples").hidden = !schema.can_sample;
  find("resample").hidden = !schema.can_sample;
  find("example").hidden = schema.examples === 0;
  find("tools").hidden = false;
}

async function copyLink() {
  await writeFragment();
  if (!lastFragment) {
    showNotice("The given values are too large for a link.");
    return;
  }
  try {
    await navigator.clipboard.writeText(location.href);
    find("copy").textContent = "Copied";
    setTimeout(() => {
      find("copy").textContent = "Copy link";
    }, 1500);
  } catch {
    find("link").hidden = false;
    find("link-text").value = location.href;
    find("link-text").select();
  }
}

async function start() {
  schema = await get("/api/schema");
  find("token").hidden = true;
  find("name").textContent = schema.name;
  find("model").textContent = `${schema.model}, ${schema.modalities.length} modalities, polymodal ${schema.version}`;
  document.title = `${schema.name} · polymodal`;
  createCards();
  createControls();
  if (!(await restore())) {
    if (schema.examples) {
      await showExample(0);
    } else {
      cards.values().next().value.setMode(true);
    }
  }
  writeControls();
}

find("example").addEventListener("click", () =>
  handle(() => showExample(state.example === null ? 0 : (state.example + 1) % schema.examples)),
);
find("resample").addEventListener("click", () => {
  state.seed += 1;
  schedule(0);
});
find("copy").addEventListener("click", copyLink);
find("token").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(find("token-text").value.trim());
  handle(start);
});
addEventListener("hashchange", () => {
  if (schema && location.hash !== lastFragment) {
    handle(restore);
  }
});
// Files that miss a card would otherwise replace the page.
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => event.preventDefault());
startThemeSwitch(find("theme"));
handle(start);
