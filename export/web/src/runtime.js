// What runs a model: WebGPU where the browser has it, the file has no Loop and the numbers are right, else one thread of
// WebAssembly.
const here = new URL("./", import.meta.url).href;
const TOLERANCE = 1e-3; // of the largest value; as tests hold the page against Python

/**
 * {ort, session, device}: a session of a file's bytes, the onnxruntime it belongs to, and in words what runs it.
 * @param {Uint8Array} bytes of the file
 * @param {object} facts what it says about itself
 * @param {(ort: object, session: object) => object} trial inputs of a small run
 */
export async function createSession(bytes, facts, trial) {
  const processor = await onProcessor(bytes);
  const reason = facts.loop === false ? await missingGpu()
    : "the file's iterations are a Loop, which would leave the GPU; convert with loop=False writes them out";
  const because = (text) => ({ ...processor, device: `WebAssembly, one thread (${text})` });
  if (reason) return because(reason);
  try {
    const ort = settled(await import("onnxruntime-web/webgpu"));
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["webgpu"] });
    // onnxruntime-web 1.30 convolves 9 or 17 channels wrongly: what it cannot do shows in a small run.
    const [expected, made] = [await processor.session.run(trial(processor.ort, processor.session)),
      await session.run(trial(ort, session))];
    if (!agree(expected, made)) return because("WebGPU computes this model wrongly here");
    return { ort, session, device: `WebGPU (${await adapterName()})` };
  } catch (error) {
    return because(`WebGPU failed: ${error.message}`);
  }
}

async function onProcessor(bytes) {
  const ort = settled(await import("onnxruntime-web/wasm"));
  return { ort, session: await ort.InferenceSession.create(bytes) };
}

/** Whether two runs gave the same, within the tolerance. */
function agree(expected, made) {
  return Object.entries(expected).every(([name, { data, dims }]) => {
    if (dims.join() !== made[name].dims.join()) return false;
    const largest = data.reduce((most, value) => Math.max(most, Math.abs(Number(value))), 0);
    return data.every((value, i) => Math.abs(Number(value) - Number(made[name].data[i])) <= TOLERANCE * largest);
  });
}

/** onnxruntime with its settings. */
function settled(ort) {
  ort.env.wasm.wasmPaths = here;
  ort.env.wasm.numThreads = 1; // more need headers of the server that a plain one does not send
  return ort;
}

/** Why there is no GPU for the page; "" where there is. */
export async function missingGpu() {
  if (!globalThis.navigator?.gpu) return "this browser has no WebGPU, or the page's address is not secure";
  return (await navigator.gpu.requestAdapter()) ? "" : "WebGPU finds no graphics processor";
}

async function adapterName() {
  const { vendor, architecture, description } = (await navigator.gpu.requestAdapter())?.info ?? {};
  return description || [vendor, architecture].filter(Boolean).join(" ") || "graphics processor";
}
