// An exported file from JavaScript: node run.mjs FILE.onnx INPUT OUTPUT.json SHAPE [SIGMA]
//
// INPUT holds little-endian float32 numbers of SHAPE, for example 1x30000x1 (batch x time x channels) or 1x64x64x1.
// The file does all the work; what it gives is written as JSON, one entry an output.
import { readFileSync, writeFileSync } from "node:fs";
import ort from "onnxruntime-node";

const [file, input, output, shapeText, sigma] = process.argv.slice(2);
if (!shapeText) {
  console.error("usage: node run.mjs FILE.onnx INPUT OUTPUT.json SHAPE [SIGMA]");
  process.exit(2);
}
const shape = shapeText.split("x").map(Number);
const bytes = readFileSync(input);
const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));

const session = await ort.InferenceSession.create(file);
const feeds = { signal: new ort.Tensor("float32", values, shape) };
if (session.inputNames.includes("sigma")) {
  feeds.sigma = new ort.Tensor("float32", new Float32Array(shape[0]).fill(Number(sigma)), [shape[0]]);
}
const results = await session.run(feeds);
const made = {};
for (const [name, tensor] of Object.entries(results)) {
  made[name] = { dims: tensor.dims, data: Array.from(tensor.data, Number) };
}
writeFileSync(output, JSON.stringify(made));
console.log(Object.entries(made).map(([name, tensor]) => `${name}: ${tensor.dims.join(" x ")}`).join("\n"));
