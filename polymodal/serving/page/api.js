// Requests to the server's REST API.

const KEY = "polymodal-token";
let ask = null;

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// `callback(message)` shows the form for the token and resolves with what the user entered.
export function onUnauthorized(callback) {
  ask = callback;
}

export async function request(path, body = null, signal = null) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = { Accept: "application/json" };
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body !== null) headers["Content-Type"] = "application/json";
    const response = await send(path, { method: body === null ? "GET" : "POST", headers, signal, body });
    if (response.status === 401 && ask) {
      const wrong = token ? "This token is not the server's token. Enter it again." : "";
      sessionStorage.setItem(KEY, await ask(wrong));
      continue;
    }
    const content = await response.json().catch(() => ({}));
    if (!response.ok) {
      throw new ApiError(content.error ?? `The server answered with status ${response.status}.`, response.status);
    }
    return content;
  }
}

async function send(path, options) {
  const body = options.body === null ? undefined : JSON.stringify(options.body);
  try {
    return await fetch(path, { ...options, body });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached. Check that it is running, then change an input to try again.", 0);
  }
}
