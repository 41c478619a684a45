// Audio: a file or a recording as input, and spectrograms.

import { make } from "./dom.js";
import { makeFileInput } from "./files.js";
import { encodeBase64 } from "./link.js";

// Colours from dark to light of the scale of a spectrogram.
const SCALE = [[0, 0, 4], [40, 17, 89], [114, 31, 129], [183, 55, 121], [241, 96, 93], [254, 176, 120], [252, 253, 191]];

function mixColour(share) {
  const place = Math.min(Math.max(share, 0), 1) * (SCALE.length - 1);
  const low = Math.min(Math.floor(place), SCALE.length - 2);
  return SCALE[low].map((part, index) => part + (place - low) * (SCALE[low + 1][index] - part));
}

function makeSpectrogram(frames, name, className = "spectrogram") {
  const [width, height] = [frames.length, frames[0]?.length ?? 0];
  const canvas = make("canvas", { width, height, className, role: "img", "aria-label": name });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  frames.forEach((frame, x) => frame.forEach((value, mel) => {
    image.data.set([...mixColour(value), 255], 4 * ((height - 1 - mel) * width + x));
  }));
  context.putImageData(image, 0, 0);
  return canvas;
}

function makeWaveform(samples, name) {
  const canvas = make("canvas", { width: 600, height: 120, className: "spectrogram", role: "img", "aria-label": name });
  const context = canvas.getContext("2d");
  context.fillStyle = "rgb(0 0 4)";
  context.fillRect(0, 0, 600, 120);
  context.fillStyle = "rgb(254 176 120)";
  for (let x = 0; x < 600; x += 1) {
    let most = 0;
    const end = Math.floor((x + 1) * samples.length / 600);
    for (let place = Math.floor(x * samples.length / 600); place < end; place += 1) most = Math.max(most, Math.abs(samples[place]));
    const tall = Math.max(1, 116 * Math.min(1, most));
    context.fillRect(x, 60 - tall / 2, 1, tall);
  }
  return canvas;
}

// A mono WAV file of 16 bits.
function encodeWav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (place, letters) => [...letters].forEach((letter, index) => view.setUint8(place + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, place) => view.setInt16(44 + 2 * place, Math.round(32767 * Math.min(1, Math.max(-1, sample))), true));
  return new Uint8Array(view.buffer);
}

const decodeWav = (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer, 44);
  return Float32Array.from({ length: view.byteLength >> 1 }, (_, place) => view.getInt16(2 * place, true) / 32768);
};

// Decodes any audio file that the browser knows, as mono samples at the modality's rate.
async function decode(blob, modality) {
  const rate = Math.round(modality.rate);
  const context = new OfflineAudioContext(1, Math.max(1, Math.ceil(rate * modality.seconds)), rate);
  let sound;
  try {
    sound = await context.decodeAudioData(await blob.arrayBuffer());
  } catch {
    throw new Error("This file is not audio that the browser can read. Choose a WAV, MP3, Ogg or FLAC file.");
  }
  const source = context.createBufferSource();
  source.buffer = sound;
  source.connect(context.destination);
  source.start();
  return (await context.startRendering()).getChannelData(0);
}

export function makeInput(modality, changed) {
  let value = null;
  const view = make("div", { className: "drop" });
  const draw = () => {
    if (value === null) view.replaceChildren(make("span", { className: "quiet" }, "Drop an audio file here"));
    else if (typeof value === "string") view.replaceChildren(makeWaveform(decodeWav(value), `Waveform given as ${modality.name}`));
    else view.replaceChildren(makeSpectrogram(value, `Spectrogram given as ${modality.name}`));
  };
  const take = async (blob) => {
    value = encodeBase64(encodeWav(await decode(blob, modality), Math.round(modality.rate)));
    draw();
    changed();
  };
  const file = makeFileInput(view, "Choose an audio file", "audio/*", take);
  const problem = make("p", { className: "problem", role: "alert", hidden: true });
  const clear = make("button", { type: "button", className: "plain", onclick: () => { value = null; draw(); changed(); } }, "Clear");
  const tools = make("div", { className: "row" }, file.element, canRecord() ? makeRecorder(take, problem, modality) : null, clear);
  draw();
  return {
    element: make("div", {}, view, tools, problem),
    read: () => value,
    write: (next) => { value = next ?? null; draw(); },
  };
}

const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && globalThis.MediaRecorder);

function makeRecorder(take, problem, modality) {
  let recorder = null;
  const tell = (message) => { problem.textContent = message; problem.hidden = !message; };
  const begin = async () => {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const parts = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = () => {
      stream.getTracks().forEach((track) => track.stop());
      recorder = null;
      button.textContent = "Record";
      take(new Blob(parts)).catch((error) => tell(error.message));
    };
    recorder.start();
    button.textContent = "Stop recording";
    setTimeout(() => recorder?.stop(), 1000 * modality.seconds + 300);
  };
  const button = make("button", {
    type: "button",
    onclick: () => {
      tell("");
      if (recorder) recorder.stop();
      else begin().catch(() => tell("The microphone cannot be used. Allow it in the browser, or choose a file."));
    },
  }, "Record");
  return button;
}

export function show(modality, value, { alt, small }) {
  return makeSpectrogram(value, alt, small ? "spectrogram small" : "spectrogram");
}
