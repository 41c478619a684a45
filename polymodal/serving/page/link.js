// The state of the page as a fragment of its address: "#j" and JSON, or "#z" and compressed JSON, in base64url.

const SHORT = 300;

export async function encodeState(state) {
  const bytes = new TextEncoder().encode(JSON.stringify(state));
  if (bytes.length <= SHORT || !("CompressionStream" in globalThis)) return `#j${toBase64(bytes)}`;
  return `#z${toBase64(await transform(bytes, new CompressionStream("deflate-raw")))}`;
}

// Returns null if there is no state. Throws an error if the fragment is damaged.
export async function decodeState(fragment) {
  if (fragment.length < 2) return null;
  let bytes = fromBase64(fragment.slice(2));
  if (fragment[1] === "z") bytes = await transform(bytes, new DecompressionStream("deflate-raw"));
  else if (fragment[1] !== "j") throw new Error("unknown format");
  const state = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  if (state === null || typeof state !== "object" || typeof state.values !== "object" || state.values === null
    || !Array.isArray(state.given)) throw new Error("not a state of this page");
  return state;
}

async function transform(bytes, stream) {
  const result = new Blob([bytes]).stream().pipeThrough(stream);
  return new Uint8Array(await new Response(result).arrayBuffer());
}

export function encodeBase64(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

function toBase64(bytes) {
  return encodeBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function fromBase64(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}
