// The page: a model, data, and what the model makes of them.
import { readFacts } from "./container.js";
import { readData } from "./data.js";
import { drawImage, drawSignal, figure, table } from "./draw.js";
import { levelWarning } from "./level.js";
import { createSession, missingGpu } from "./runtime.js";

const element = (id) => document.getElementById(id);
let model = null; // {ort, session, device, facts}
let data = null; // {shape, values, rate?}
globalThis.crsae = { outputs: null }; // what was computed last, for whoever looks from outside

function say(text, wrong = false) {
  if (wrong) element("warning").hidden = true;
  element("status").textContent = text;
  element("status").classList.toggle("error", wrong);
}

async function loadModel(bytes, name) {
  say(`Reading ${name} ...`);
  const facts = await readFacts(bytes);
  model = { ...await createSession(bytes, facts, (ort, session) => feedsOf({ ort, session, facts }, ...trial(facts))), facts };
  element("noise").hidden = !model.session.inputNames.includes("sigma") || facts.rank !== 2;
  const rows = [["file", name], ["weights", facts.weights_sha256],
    ["dictionary", `${facts.filters} filters of ${facts.kernel_size.join(" x ")}, stride ${facts.strides.join(" x ")}`],
    ["encoder", `${facts.iterations} iterations at most, ${facts.code_prior}, ${facts.precision}`],
    ["signals", `rank ${facts.rank}, ${facts.channels} channels, unit: ${facts.unit}`],
    facts.size_name ? [facts.size_name, `${facts.size} (counts are divided by it), baseline ${facts.baseline.join(", ")}`]
      : ["sigma", `${facts.sigma} (in the ${facts.whitening_inside ? "whitened " : ""}signal's unit)`], ["outputs", facts.outputs.join(", ")],
    ["preprocessing", facts.preprocessing.join("; ") || "none beyond the unit"], ["runs on", model.device]];
  for (const key of ["sampling_frequency", "data", "training"]) if (facts[key]) rows.push([key, String(facts[key])]);
  element("info").replaceChildren(table(rows));
}

/** The data in the model's layout, (1, ...space, channels). */
function shaped() {
  const { facts } = model;
  const wanted = facts.rank + 1;
  let { shape } = data;
  if (shape.length === wanted - 1) shape = [...shape, 1];
  if (shape.length === wanted + 1 && shape[0] === 1) shape = shape.slice(1);
  if (shape.length !== wanted || shape.at(-1) !== facts.channels) {
    const notes = [data.separator && `columns separated by ${data.separator}`, ...(data.notes ?? [])].filter(Boolean);
    throw new Error(`The model takes ${facts.rank === 1 ? "recordings (samples" : "images (height, width"}, ` +
      `${facts.channels} channels). Received: shape ${data.shape.join(" x ")}${notes.length ? ` (${notes.join("; ")})` : ""}.` +
      (data.separator === "commas" ? " Where the comma is the decimal sign, separate columns by ; or tabs, or write sep=; " +
        "in the first line." : ""));
  }
  if (!facts.outputs.includes("denoised") && facts.kernel_size.some((k, axis) => shape[axis] < k)) {
    throw new Error(`The data is shorter than a filter (${facts.kernel_size.join(" x ")}).`);
  }
  // A model that whitens takes NaN as a gap.
  const bad = facts.whitening_inside ? -1 : data.values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new Error(`The data holds NaN or infinite values, the first at number ${bad}.`);
  return [1, ...shape];
}

async function run() {
  const shape = shaped();
  const { session, facts } = model;
  say("Computing ...");
  await new Promise((done) => setTimeout(done)); // let the line appear
  const feeds = feedsOf(model, data.values, shape);
  const start = performance.now();
  const made = await session.run(feeds);
  const seconds = ((performance.now() - start) / 1000).toFixed(2);
  globalThis.crsae.outputs = Object.fromEntries(
    Object.entries(made).map(([name, t]) => [name, { dims: [...t.dims], data: Array.from(t.data, Number) }]));
  element("result").replaceChildren(...pictures(made, shape));
  const warning = levelWarning(facts, data.values);
  element("warning").hidden = !warning;
  element("warning").textContent = warning ?? "";
  say(`Done in ${seconds} s on ${model.device.split(" (")[0]}.${data.notes?.length ? ` Of the file: ${data.notes.join("; ")}.` : ""}`);
}

/** All inputs of a model. */
function feedsOf({ ort, session, facts }, values, shape) {
  const feeds = { signal: new ort.Tensor("float32", values, shape) };
  if (session.inputNames.includes("mask")) {
    feeds.mask = new ort.Tensor("float32", new Float32Array(values.length).fill(1), shape);
  }
  if (session.inputNames.includes("sigma")) {
    const level = facts.rank === 2 ? Number(element("sigma").value) / 255 : facts.sigma;
    feeds.sigma = new ort.Tensor("float32", Float32Array.of(level), [1]);
  }
  if (facts.size_name) Object.assign(feeds, countFeeds({ ort, session, facts }, values, shape));
  return feeds;
}

/** [values, shape] of a small signal, with which two ways of computing are compared. */
function trial(facts) {
  const shape = [1, ...facts.kernel_size.map((size) => 2 * size + 3), facts.channels];
  const waves = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => 0.5 + 0.5 * Math.sin(12.9898 * i * i));
  if (facts.size_name) return [waves.map(Math.round), shape];
  return [facts.outputs.includes("denoised") ? waves : waves.map((value) => 20 * facts.sigma * value), shape];
}

/** Inputs of a model of counts beside the signal; data that are no counts are refused. */
function countFeeds({ ort, session, facts }, values, shape) {
  const names = session.inputNames;
  const bad = values.findIndex((value) => value < 0 || Math.abs(value - Math.round(value)) > 1e-3);
  if (bad >= 0) {
    throw new Error(`The model takes counts, whole numbers from 0 (${facts.likelihood}). Received: ${values[bad]} at number ${bad}.`);
  }
  const most = facts.size_name === "trials" ? Math.max(...[facts.size].flat(Infinity)) : Infinity;
  const many = values.findIndex((value) => value > most + 1e-3);
  if (many >= 0) throw new Error(`A count of this model is at most ${most}, its trials. Received: ${values[many]} at number ${many}.`);
  const feeds = {};
  if (names.includes(facts.size_name)) {
    if (Array.isArray(facts.size)) throw new Error(`This model's ${facts.size_name} is one of each sample, which the page does not give.`);
    feeds[facts.size_name] = new ort.Tensor("float32", Float32Array.of(facts.size), shape.map(() => 1));
  }
  if (names.includes("baseline")) feeds.baseline = new ort.Tensor("float32", Float32Array.from(facts.baseline), [1, facts.channels]);
  return feeds;
}

function pictures(made, shape) {
  const { facts } = model;
  const parts = [];
  if (facts.rank === 1) {
    const marks = [];
    if (made.spike_unit) {
      const units = Array.from(made.spike_unit.data, Number);
      units.forEach((unit, i) => marks.push({ at: Number(made.spike_index.data[2 * i + 1]), unit,
        amplitude: made.spike_amplitude.data[i] }));
    } else if (made.code) {
      made.code.data.forEach((value, i) => value && marks.push({ at: Math.floor(i / facts.filters) * facts.strides[0],
        unit: i % facts.filters, amplitude: value }));
    }
    const what = made.spike_unit ? "spikes" : "non-zero code values";
    parts.push(figure(drawSignal(data.values, facts.channels, marks),
      `${shape[1]} samples, ${marks.length} ${what}; one colour a ${made.spike_unit ? "unit" : "filter"}`));
    const rate = facts.sampling_frequency ?? data.rate;
    const list = document.createElement("div");
    list.className = "scroll";
    list.append(table(marks.slice(0, 500).map(({ at, unit, amplitude }) => [
      rate ? (at / rate).toFixed(4) : at, unit, amplitude.toPrecision(4)]),
    [rate ? "second" : "sample", "unit", "amplitude"]));
    parts.push(list);
  } else {
    const [, height, width, channels] = shape;
    const row = document.createElement("div");
    row.className = "row";
    row.append(figure(drawImage(data.values, height, width, channels), "given"));
    for (const name of ["denoised", "reconstruction", "mean"]) {
      if (made[name]) row.append(figure(drawImage(made[name].data, height, width, channels), name));
    }
    parts.push(row);
    if (made.code) parts.push(document.createTextNode(`${made.code.data.filter(Boolean).length} non-zero code values`));
  }
  return parts;
}

/** Do something, and say what went wrong with it. */
async function attempt(action) {
  try {
    await action();
  } catch (error) {
    globalThis.crsae.outputs = null;
    say(error.message, true);
  }
}

async function take(files) {
  for (const file of [...files].sort((a, b) => b.name.endsWith(".onnx") - a.name.endsWith(".onnx"))) {
    if (file.name.endsWith(".onnx")) {
      data = null;
      await loadModel(new Uint8Array(await file.arrayBuffer()), file.name);
      say("Now drop data for this model.");
    } else {
      if (!model) throw new Error("Load a model first, or press an example.");
      data = await readData(file, { channels: model.facts.channels, gaps: Boolean(model.facts.whitening_inside) });
    }
  }
  if (model && data) await run();
}

async function fetched(name) {
  const answer = await fetch(new URL(`example/${name}`, import.meta.url));
  if (!answer.ok) throw new Error(`The bundled ${name} is missing: build the page with make web.`);
  return new File([await answer.blob()], name);
}

const example = (...names) => () => attempt(async () => take(await Promise.all(names.map(fetched))));
element("example-recording").addEventListener("click", example("spikes.onnx", "recording.npy"));
element("example-image").addEventListener("click", async () => {
  await example((await missingGpu()) ? "denoiser.onnx" : "denoiser_written_out.onnx", "image.npy")();
});
element("files").addEventListener("change", (event) => attempt(() => take(event.target.files)));
element("sigma").addEventListener("change", () => attempt(async () => model && data && run()));
const drop = element("drop");
for (const kind of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") attempt(() => take(event.dataTransfer.files));
  });
}
