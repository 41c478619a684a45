// The state of the page as a fragment of its address: "1." and JSON in base64url, or "2." where it is compressed.

const LONG = 200;

function toBase64Url(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192) {
    text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  }
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64Url(text) {
  const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(bytes, (letter) => letter.charCodeAt(0));
}

async function pipe(bytes, transformation) {
  const stream = new Blob([bytes]).stream().pipeThrough(transformation);
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Returns a document as a fragment, without the "#". */
export async function encodeFragment(document) {
  const bytes = new TextEncoder().encode(JSON.stringify(document));
  if (bytes.length <= LONG || typeof CompressionStream === "undefined") {
    return `1.${toBase64Url(bytes)}`;
  }
  return `2.${toBase64Url(await pipe(bytes, new CompressionStream("deflate-raw")))}`;
}

/** Returns the document of a fragment. A fragment that is damaged is an error. */
export async function decodeFragment(fragment) {
  const bytes = fromBase64Url(fragment.slice(2));
  if (fragment.startsWith("1.")) {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  }
  if (fragment.startsWith("2.")) {
    const plain = await pipe(bytes, new DecompressionStream("deflate-raw"));
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(plain));
  }
  throw new Error("the fragment has an unknown format");
}
