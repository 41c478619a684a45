// The page: reads the schema, keeps the state, and asks for predictions when an input changes.

import { make } from "./dom.js";
import { request, onUnauthorized } from "./api.js";
import { Card } from "./cards.js";
import { decodeState, encodeState } from "./link.js";
import { watchSamples } from "./samples.js";
import { prepareTheme } from "./theme.js";

const WAIT = 150; // milliseconds after the last change before a request
const COUNTS = [0, 1, 2, 4, 8];
const find = (id) => document.getElementById(id);

const page = {
  schema: null,
  cards: [],
  samples: 0,
  seed: 0,
  row: null, // index of the test row that the given values come from
  truth: null, // its values
  timer: 0,
  controller: null,
  fragment: "", // fragment that this page has written itself
};

function tell(message, isError = false) {
  const [shown, other] = isError ? [find("alert"), find("status")] : [find("status"), find("alert")];
  shown.textContent = message;
  if (!isError) other.textContent = "";
  find("alert").hidden = find("alert").textContent === "";
}

function askForToken(message) {
  const dialog = find("token");
  find("token-problem").textContent = message;
  find("token-problem").hidden = !message;
  find("token-field").value = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    find("token-form").onsubmit = (event) => {
      event.preventDefault();
      dialog.close();
      resolve(find("token-field").value.trim());
    };
  });
}

const getState = () => ({
  given: page.cards.filter((card) => card.isGiven).map((card) => card.name),
  values: Object.fromEntries(page.cards.filter((card) => card.value !== null).map((card) => [card.name, card.value])),
  samples: page.samples,
  seed: page.seed,
  row: page.row,
});

async function setState(state) {
  page.samples = COUNTS.includes(state.samples) && page.schema.can_sample ? state.samples : 0;
  page.seed = Number.isSafeInteger(state.seed) && state.seed >= 0 ? state.seed : 0;
  for (const card of page.cards) {
    await card.write(Object.hasOwn(state.values, card.name) ? state.values[card.name] : null);
    card.setGiven(state.given.includes(card.name));
  }
  page.row = null;
  page.truth = null;
  if (Number.isSafeInteger(state.row) && state.row >= 0 && state.row < page.schema.examples) {
    page.truth = (await request(`/api/example?index=${state.row}`)).row;
    page.row = state.row;
  }
  showControls();
}

async function restore() {
  try {
    const state = await decodeState(location.hash);
    if (state === null) return false;
    await setState(state);
    return true;
  } catch (error) {
    if (error.status !== undefined) throw error;
    tell("The link is damaged, so it is ignored. Ask for the link again.", true);
    return false;
  }
}

function showControls() {
  for (const field of document.querySelectorAll("input[name=samples]")) field.checked = Number(field.value) === page.samples;
  find("again").hidden = page.samples === 0 && page.cards.some((card) => card.value !== null);
}

function schedule(card = null) {
  if (card && page.row !== null && card.value !== null && !Object.is(card.value, page.truth[card.name])
    && JSON.stringify(card.value) !== JSON.stringify(page.truth[card.name])) {
    page.row = null;
    page.truth = null;
  }
  clearTimeout(page.timer);
  page.timer = setTimeout(predict, WAIT);
}

async function predict() {
  page.controller?.abort();
  const controller = new AbortController();
  page.controller = controller;
  const state = getState();
  const busy = setTimeout(() => { find("cards").setAttribute("aria-busy", "true"); }, 200);
  try {
    page.fragment = await encodeState(state);
    if (controller.signal.aborted) return;
    history.replaceState(null, "", page.fragment);
    find("link-row").hidden = true;
    await (Object.keys(state.values).length ? translate(state, controller.signal) : sample(state, controller.signal));
    showControls();
  } catch (error) {
    if (error.name !== "AbortError") showError(error);
  } finally {
    clearTimeout(busy);
    if (page.controller === controller) find("cards").removeAttribute("aria-busy");
  }
}

async function translate(state, signal) {
  const asked = page.cards.filter((card) => card.value === null);
  for (const card of page.cards) if (card.value !== null) card.show({ truth: page.truth?.[card.name] });
  if (!asked.length) {
    tell("Everything is given. Switch a card to “Predict” to see a prediction.");
    return;
  }
  const answer = await request("/api/translate", {
    rows: [state.values], to: asked.map((card) => card.name), samples: page.samples || null, seed: page.seed, details: true,
  }, signal);
  for (const card of asked) {
    card.show({
      value: answer.rows[0][card.name],
      detail: answer.details?.[0]?.[card.name],
      samples: answer.samples?.[0].map((one) => one[card.name]),
      truth: page.truth?.[card.name],
      from: "given the values above",
    });
  }
  const names = Object.keys(state.values);
  const given = `Predicted given ${names.length > 4 ? `${names.length} modalities` : names.join(", ")}`;
  const together = page.samples > 1 ? " Samples with the same number belong together." : "";
  tell(`${given}${page.row === null ? "" : ` of test row ${page.row}`}.${together}`);
}

async function sample(state, signal) {
  const answer = await request("/api/sample", { n: page.samples || 1, seed: page.seed }, signal);
  for (const card of page.cards) {
    card.show({ samples: answer.rows.map((row) => row[card.name]), truth: page.truth?.[card.name], from: "given nothing" });
  }
  const together = page.samples > 1 ? " Samples with the same number belong together." : "";
  tell(`Nothing is given, so you see unconditional samples: rows that the model makes up.${together}`);
}

function showError(error) {
  const card = page.cards.find((one) => error.message.startsWith(`row 0, ${one.name}: `));
  if (card) {
    card.setProblem(error.message.slice(`row 0, ${card.name}: `.length));
    tell("");
    find("status").textContent = `${card.name} cannot be used as it is.`;
  } else tell(error.message, true);
}

async function takeTestRow() {
  const index = page.row === null ? 0 : (page.row + 1) % page.schema.examples;
  await useTestRow(index);
}

async function useTestRow(index) {
  try {
    const { row } = await request(`/api/example?index=${index}`);
    const has = page.cards.filter((card) => (row[card.name] ?? null) !== null);
    if (!has.some((card) => card.isGiven)) chooseGiven(has).forEach((card) => card.setGiven(true));
    page.row = index;
    page.truth = row;
    await Promise.all(page.cards.map((card) => card.write(card.isGiven ? row[card.name] ?? null : null)));
    schedule();
  } catch (error) {
    showError(error);
  }
}

// What a test row gives at first: the first half of the columns of a table, else the first modality.
function chooseGiven(cards) {
  const isTable = page.cards.length > 1 && page.cards.every((card) => ["label", "vector"].includes(card.modality.kind));
  return cards.slice(0, isTable ? Math.ceil(cards.length / 2) : 1);
}

async function copyLink() {
  page.fragment = await encodeState(getState());
  history.replaceState(null, "", page.fragment);
  const field = find("link");
  field.value = location.href;
  const size = field.value.length > 30000 ? " It is long, and some programs cut long links." : "";
  try {
    await navigator.clipboard.writeText(field.value);
    tell(`The link is copied. It holds all given values.${size}`);
  } catch {
    find("link-row").hidden = false;
    field.select();
    tell(`Copy the link from the field. It holds all given values.${size}`);
  }
}

function prepareControls() {
  find("row").hidden = !page.schema.examples;
  find("row").addEventListener("click", takeTestRow);
  find("copy").addEventListener("click", copyLink);
  find("again").addEventListener("click", () => { page.seed += 1; schedule(); });
  const most = page.schema.limits?.samples ?? Infinity;
  find("samples").hidden = !page.schema.can_sample;
  find("sample-choices").append(...COUNTS.filter((count) => count <= most).map((count) => make("label", { className: "choice" },
    make("input", { type: "radio", name: "samples", value: String(count), onchange: () => { page.samples = count; schedule(); } }),
    make("span", {}, count === 0 ? "Off" : String(count)))));
  addEventListener("hashchange", async () => {
    if (location.hash === page.fragment) return;
    if (await restore().catch(showError)) schedule();
  });
}

async function start() {
  prepareTheme(find("theme"));
  watchSamples(find("cards"));
  onUnauthorized(askForToken);
  page.schema = await request("/api/schema");
  const { schema } = page;
  document.title = `${schema.name} · polymodal`;
  find("name").textContent = schema.name;
  find("model").textContent = `${schema.model} · ${schema.modalities.length} modalities`;
  page.cards = schema.modalities.map((modality) => new Card(modality, schedule));
  find("cards").replaceChildren(...page.cards.map((card) => card.element));
  prepareControls();
  find("controls").hidden = false;
  if (await restore()) predict();
  else if (schema.examples && location.hash.length < 2) useTestRow(0);
  else { showControls(); const message = find("alert").textContent; await predict(); if (message) tell(message, true); }
}

start().catch((error) => tell(error.message, true));
