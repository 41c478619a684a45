// The input of audio: a file or a recording, shown with its spectrogram.

import { drawSpectrogram } from "./charts.js";
import { make, makeButton } from "./elements.js";
import { acceptDrops, makeFileButton } from "./image_input.js";
import { computeSpectrogram } from "./spectrogram.js";

const HOP = 256;

/** Decodes an audio file to one channel at the model's rate, as long as the model needs. */
async function decodeAudio(bytes, { frames, rate }) {
  const context = new OfflineAudioContext(1, frames * HOP, rate);
  const decoded = await context.decodeAudioData(bytes);
  const wave = new Float32Array(Math.min(decoded.length, frames * HOP));
  for (let channel = 0; channel < decoded.numberOfChannels; channel += 1) {
    const samples = decoded.getChannelData(channel);
    for (let place = 0; place < wave.length; place += 1) {
      wave[place] += samples[place] / decoded.numberOfChannels;
    }
  }
  return wave;
}

/** Writes samples in [-1, 1] as a WAV file of 16 bits. */
function writeWav(wave, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * wave.length));
  const write = (place, text) => [...text].forEach((letter, index) => view.setUint8(place + index, letter.charCodeAt(0)));
  write(0, "RIFF");
  view.setUint32(4, 36 + 2 * wave.length, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  write(36, "data");
  view.setUint32(40, 2 * wave.length, true);
  wave.forEach((sample, place) => {
    view.setInt16(44 + 2 * place, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true);
  });
  return new Uint8Array(view.buffer);
}

function toBase64(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192) {
    text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  }
  return btoa(text);
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** Creates the input of audio. */
export function createAudioInput(modality, onchange) {
  const picture = make("div", { class: "sound" });
  const placeholder = make("p", { class: "placeholder" }, "Drop an audio file here");
  const frame = make("div", { class: "pad-frame wide empty" }, picture, placeholder);
  const player = make("audio", { controls: true, hidden: true, "aria-label": `Play the given ${modality.name}` });
  let address = null;

  const show = (frames, wav) => {
    frame.classList.toggle("empty", frames === null);
    picture.replaceChildren(...(frames ? [drawSpectrogram(frames, `Spectrogram of the given ${modality.name}`)] : []));
    if (address) {
      URL.revokeObjectURL(address);
      address = null;
    }
    player.hidden = !wav;
    if (wav) {
      address = URL.createObjectURL(new Blob([wav], { type: "audio/wav" }));
      player.src = address;
    } else {
      player.removeAttribute("src");
    }
  };
  const readBytes = async (bytes) => {
    const wave = await decodeAudio(bytes, modality);
    const wav = writeWav(wave, modality.rate);
    show(computeSpectrogram(wave, modality), wav);
    return toBase64(wav);
  };
  const set = async (value) => {
    if (typeof value === "string") {
      await readBytes(fromBase64(value).buffer);
    } else {
      show(value, null);
    }
  };
  const readFile = async (file) => {
    try {
      onchange(await readBytes(await file.arrayBuffer()));
    } catch {
      show(null, null);
      onchange(null, `${file.name ?? "The recording"} is not audio that this browser can read. Choose a WAV or MP3 file.`);
    }
  };
  const recorder = createRecorder(modality, readFile, (problem) => onchange(null, problem));
  acceptDrops(frame, readFile);
  const clear = makeButton("Clear", () => {
    show(null, null);
    onchange(null);
  });
  const actions = make(
    "div",
    { class: "line" },
    makeFileButton("Choose a file", "audio/*", modality.name, readFile),
    recorder,
    clear,
  );
  const length = make("p", { class: "quiet ends" }, `The first ${Number(modality.seconds.toPrecision(3))} s count.`);
  return { element: make("div", { class: "image-input" }, frame, player, length, actions), set };
}

/** Creates a button that records from the microphone; null where the browser cannot. */
function createRecorder(modality, onfile, onproblem) {
  if (!navigator.mediaDevices?.getUserMedia || typeof MediaRecorder === "undefined") {
    return null;
  }
  let recorder = null;
  const button = makeButton("Record", async () => {
    if (recorder) {
      recorder.stop();
      return;
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch {
      onproblem("The browser gave no access to a microphone. Allow it, or choose a file.");
      return;
    }
    const parts = [];
    recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.addEventListener("stop", () => {
      stream.getTracks().forEach((track) => track.stop());
      recorder = null;
      button.textContent = "Record";
      onfile(new Blob(parts));
    });
    recorder.start();
    button.textContent = "Stop";
    const running = recorder;
    setTimeout(() => running.state === "recording" && running.stop(), 1000 * modality.seconds + 500);
  });
  return button;
}
