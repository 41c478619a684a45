// Mel spectrograms, computed as the model's Audio.read computes them, so that an input is shown as the model gets it.

const [WINDOW, HOP, FLOOR] = [1024, 256, -80];

/** Computes the power of the first half of the frequencies of a window, by a fast Fourier transform. */
function computePower(real) {
  const size = real.length;
  const imaginary = new Float64Array(size);
  for (let place = 1, mirrored = 0; place < size; place += 1) {
    let bit = size >> 1;
    for (; mirrored & bit; bit >>= 1) {
      mirrored ^= bit;
    }
    mirrored ^= bit;
    if (place < mirrored) {
      [real[place], real[mirrored]] = [real[mirrored], real[place]];
    }
  }
  for (let length = 2; length <= size; length *= 2) {
    for (let start = 0; start < size; start += length) {
      for (let step = 0; step < length / 2; step += 1) {
        const angle = (-2 * Math.PI * step) / length;
        const [one, other] = [start + step, start + step + length / 2];
        const x = real[other] * Math.cos(angle) - imaginary[other] * Math.sin(angle);
        const y = real[other] * Math.sin(angle) + imaginary[other] * Math.cos(angle);
        [real[other], imaginary[other]] = [real[one] - x, imaginary[one] - y];
        [real[one], imaginary[one]] = [real[one] + x, imaginary[one] + y];
      }
    }
  }
  return Float64Array.from({ length: size / 2 + 1 }, (_, place) => real[place] ** 2 + imaginary[place] ** 2);
}

/** Returns triangular filters, evenly spaced in mel from 0 to half of the rate. */
function makeFilters(count, rate) {
  const toMel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
  const toHertz = (mel) => 700 * (10 ** (mel / 2595) - 1);
  const peaks = Array.from({ length: count + 2 }, (_, place) => toHertz((place * toMel(rate / 2)) / (count + 1)));
  return Array.from({ length: count }, (_, place) => {
    const [low, middle, high] = peaks.slice(place, place + 3);
    return Float64Array.from({ length: WINDOW / 2 + 1 }, (_, bin) => {
      const hertz = (bin * rate) / WINDOW;
      return Math.max(0, Math.min((hertz - low) / (middle - low), (high - hertz) / (high - middle)));
    });
  });
}

/** Computes the spectrogram of the beginning of a recording: frames of loudness in [0, 1], low frequencies first. */
export function computeSpectrogram(wave, { frames, mels, rate }) {
  const filters = makeFilters(mels, rate);
  const edge = (WINDOW - HOP) / 2;
  const powers = Array.from({ length: frames }, (_, frame) => {
    const window = Float64Array.from({ length: WINDOW }, (_, place) => {
      const at = frame * HOP + place - edge;
      const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * place) / WINDOW);
      return at < frames * HOP ? hann * (wave[at] ?? 0) : 0;
    });
    const power = computePower(window);
    return filters.map((filter) => filter.reduce((sum, weight, bin) => sum + weight * power[bin], 0));
  });
  const loudest = Math.max(...powers.map((frame) => Math.max(...frame))) || 1;
  return powers.map((frame) =>
    frame.map((power) => 1 - (10 * Math.log10(Math.max(10 ** (FLOOR / 10), power / loudest))) / FLOOR),
  );
}
