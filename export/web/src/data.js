// Files of data -> {shape, values (Float32Array), rate?, notes?}. Every error says what was expected.
import { decodeText, readCsv } from "./csv.js";

const TYPES = {
  f4: [4, "getFloat32"], f8: [8, "getFloat64"], i1: [1, "getInt8"], u1: [1, "getUint8"], i2: [2, "getInt16"],
  u2: [2, "getUint16"], i4: [4, "getInt32"], u4: [4, "getUint32"],
  i8: [8, "getBigInt64"], u8: [8, "getBigUint64"], b1: [1, "getUint8"],
};

/** Data for a model that takes `channels`; `gaps`: NaN is allowed. */
export async function readData(file, { channels, gaps = false }) {
  const name = file.name.toLowerCase();
  if (name.endsWith(".npy")) return readNpy(new DataView(await file.arrayBuffer()));
  if (name.endsWith(".wav")) return readWav(new DataView(await file.arrayBuffer()));
  if (/\.(csv|tsv|txt)$/.test(name)) {
    return readCsv(decodeText(new Uint8Array(await file.arrayBuffer())), { channels, gaps });
  }
  if (/\.(png|jpe?g|webp|bmp|gif)$/.test(name)) return readImage(file, channels);
  throw new Error(`${file.name}: expected .onnx, .npy, .wav, .csv or an image.`);
}

export function readNpy(view) {
  const ascii = (from, count) => String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + from, count));
  if (view.byteLength < 12 || ascii(0, 6) !== "\x93NUMPY") throw new Error("This is not a .npy array.");
  const major = view.getUint8(6);
  const size = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = (major === 1 ? 10 : 12) + size;
  const header = ascii(start - size, size);
  const [, order, kind] = header.match(/'descr':\s*'([<>|=])(\w\d)'/) ?? [];
  const shape = (header.match(/'shape':\s*\(([^)]*)\)/)?.[1] ?? "").split(",").filter((s) => s.trim()).map(Number);
  if (!TYPES[kind] || header.includes("'fortran_order': True")) {
    throw new Error("Expected a .npy array of real numbers (not of 16-bit floats) in C order.");
  }
  const [bytes, get] = TYPES[kind];
  const count = shape.reduce((a, b) => a * b, 1);
  if (view.byteLength < start + count * bytes) throw new Error("The .npy array is cut short.");
  const values = new Float32Array(count);
  for (let i = 0; i < count; i += 1) values[i] = Number(view[get](start + i * bytes, order !== ">"));
  return { shape, values };
}

export function readWav(view) {
  const tag = (at) => String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(at + i)));
  if (view.byteLength < 44 || tag(0) !== "RIFF" || tag(8) !== "WAVE") throw new Error("This is not a .wav recording.");
  let format = null;
  for (let at = 12; at + 8 <= view.byteLength;) {
    const size = view.getUint32(at + 4, true);
    if (tag(at) === "fmt ") {
      format = { kind: view.getUint16(at + 8, true), channels: view.getUint16(at + 10, true),
        rate: view.getUint32(at + 12, true), bits: view.getUint16(at + 22, true) };
    } else if (tag(at) === "data" && format) {
      const pcm = format.bits === 16 && format.kind !== 3;
      if (!pcm && !(format.bits === 32 && format.kind === 3)) {
        throw new Error("Expected a .wav of 16-bit integers or 32-bit floats.");
      }
      const count = Math.floor(Math.min(size, view.byteLength - at - 8) / (format.bits / 8));
      const samples = Math.floor(count / format.channels);
      const values = new Float32Array(samples * format.channels);
      for (let i = 0; i < values.length; i += 1) {
        values[i] = pcm ? view.getInt16(at + 8 + 2 * i, true) : view.getFloat32(at + 8 + 4 * i, true);
      }
      return { shape: [samples, format.channels], values, rate: format.rate };
    }
    at += 8 + size + (size % 2);
  }
  throw new Error("The .wav recording holds no samples.");
}

async function readImage(file, channels) {
  const picture = await createImageBitmap(file).catch(() => {
    throw new Error(`${file.name} is no image that this browser can read.`);
  });
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, picture.width, picture.height).data;
  const values = new Float32Array((pixels.length / 4) * channels);
  for (let i = 0; i < pixels.length / 4; i += 1) {
    const [r, g, b] = [pixels[4 * i], pixels[4 * i + 1], pixels[4 * i + 2]].map((v) => v / 255);
    if (channels === 1) values[i] = 0.299 * r + 0.587 * g + 0.114 * b;
    else values.set([r, g, b], 3 * i);
  }
  return { shape: [picture.height, picture.width, channels], values };
}
