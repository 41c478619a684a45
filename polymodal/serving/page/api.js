// Requests to the server that sent the page, with its token where it asks for one.

const KEY = "polymodal-token";

/** An error of the server, in its words. `status` is 0 if the server could not be reached. */
export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Keeps the token until the tab is closed. */
export function keepToken(token) {
  try {
    sessionStorage.setItem(KEY, token);
  } catch {
    kept = token;
  }
}

let kept = "";

function readToken() {
  try {
    return sessionStorage.getItem(KEY) || kept;
  } catch {
    return kept;
  }
}

async function request(path, options = {}) {
  const headers = { ...options.headers };
  const token = readToken();
  if (token) {
    headers.Authorization = `Bearer ${token}`;
  }
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new ServerError(0, "The server does not answer. Is it still running?");
  }
  const text = await response.text();
  let document = null;
  try {
    document = JSON.parse(text);
  } catch {
    // Answers that are not JSON have no sentence of their own.
  }
  if (!response.ok) {
    throw new ServerError(response.status, document?.error ?? `The server answered with status ${response.status}.`);
  }
  return document;
}

/** Sends a request without a body. */
export const get = (path) => request(path);

/** Sends a document as JSON. */
export const post = (path, document, signal) =>
  request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(document),
    signal,
  });
