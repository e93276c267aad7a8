// Whether a recording is on the scale that a sorter's model was trained on. As crsae_onnx/core/spikes/noise_level.py.
const SAMPLES = 4096;
const VALUES = 2 ** 18; // of many channels fewer samples
const LEAST = 200; // samples that differ from the one before: blanked stretches hold no noise
const [LOWEST, HIGHEST] = [0.5, 2];
const LEAST_VALUE = 1e-9; // whitened values below are rounding of zeros

/** A text for the user, or null; values (samples * channels). */
export function levelWarning(facts, values) {
  if (!facts.spikes || facts.rank !== 1) return null;
  const whitening = facts.whitening_inside ? readWhitening(facts.spikes) : null;
  const { channels } = facts;
  const recording = values.subarray(0, Math.min(SAMPLES, Math.floor(VALUES / channels)) * channels);
  const whitened = whitening ? whiten(recording, whitening) : recording;
  for (let channel = 0; channel < channels; channel += 1) {
    const level = robustStd(recording, whitened, channel, channels, whitening ? 0 : LEAST_VALUE);
    if (level !== null && !(level >= LOWEST && level <= HIGHEST)) {
      return whitening ? "This recording has another unit or another noise than the one that the model was trained on: " +
          `its noise, whitened, has a standard deviation of ${level.toPrecision(3)} in channel ${channel}; expected 1. ` +
          "The spikes are not to be relied on. Give the recording in the unit that was sorted."
        : "This model takes whitened recordings, whose noise has a standard deviation of 1; that of this one is " +
          `${level.toPrecision(3)} in channel ${channel}. The codes mean nothing then. Whiten the recording first (the ` +
          "model's SpikeReader does), or use the encoder.onnx that keras-crsae sort writes, which takes recordings as " +
          "they are.";
    }
  }
  return null;
}

/** Median of |x - median x| / 0.6745 over samples with noise, or null where there are too few. */
function robustStd(recording, values, channel, channels, least) {
  const some = [];
  for (let i = channels + channel; i < recording.length; i += channels) {
    if (Number.isFinite(recording[i]) && recording[i] !== recording[i - channels] && !(Math.abs(recording[i]) < least)) {
      some.push(values[i]);
    }
  }
  if (some.length < LEAST) return null;
  const middle = median(some);
  return median(some.map((value) => Math.abs(value - middle))) / 0.6745;
}

function median(values) {
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** The whitening of a SpikeReader's text: arrays in base64, of float64 or int64. */
function readWhitening(text) {
  const plain = (value) => {
    if (typeof value !== "object" || value === null) return value;
    const bytes = Uint8Array.from(atob(value.base64), (sign) => sign.charCodeAt(0));
    const values = value.dtype.endsWith("f8") ? new Float64Array(bytes.buffer) : new Float32Array(bytes.buffer);
    return Object.assign(values, { shape: value.shape });
  };
  return Object.fromEntries(Object.entries(JSON.parse(text).whitening).map(([key, value]) => [key, plain(value)]));
}

/** Offset, common reference, filter and mixing; zero beyond both ends. */
function whiten(recording, { taps, mixing, offset, lead, common_reference: reference }) {
  const channels = offset.length;
  const samples = recording.length / channels;
  const centred = new Float64Array(recording.length);
  for (let t = 0; t < samples; t += 1) {
    const row = Array.from({ length: channels }, (_, c) => recording[t * channels + c] - offset[c])
      .map((value) => (Number.isFinite(value) ? value : 0));
    const middle = reference ? median(row) : 0;
    row.forEach((value, c) => { centred[t * channels + c] = value - middle; });
  }
  const filtered = new Float64Array(recording.length);
  for (let t = 0; t < samples; t += 1) {
    for (let j = Math.max(0, t + lead - samples + 1); j < taps.length / channels && j <= t + lead; j += 1) {
      for (let c = 0; c < channels; c += 1) {
        filtered[t * channels + c] += taps[j * channels + c] * centred[(t + lead - j) * channels + c];
      }
    }
  }
  const out = new Float64Array(recording.length);
  for (let t = 0; t < samples; t += 1) {
    for (let c = 0; c < channels; c += 1) {
      for (let d = 0; d < channels; d += 1) out[t * channels + d] += filtered[t * channels + c] * mixing[c * channels + d];
    }
  }
  return out;
}
