// Pictures of what was computed.
const COLOURS = ["#1565c0", "#c62828", "#2e7d32", "#ef6c00", "#6a1b9a", "#00838f"];

export function figure(canvas, caption) {
  const made = document.createElement("figure");
  const text = document.createElement("figcaption");
  text.textContent = caption;
  made.append(text, canvas);
  return made;
}

function sized(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** The first channel of a recording (samples, channels), and spikes or code values above it. */
export function drawSignal(values, channels, marks) {
  const canvas = sized(960, 260);
  const context = canvas.getContext("2d");
  const samples = values.length / channels;
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < samples; i += 1) {
    const value = values[i * channels];
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const x = (sample) => (sample / Math.max(1, samples - 1)) * (canvas.width - 1);
  const y = (value) => 250 - ((value - low) / (high - low || 1)) * 200;
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.strokeStyle = "#555";
  context.beginPath();
  let gap = true; // a sample that is NaN is not drawn
  for (let i = 0; i < samples; i += 1) {
    const value = values[i * channels];
    if (Number.isFinite(value)) context[gap ? "moveTo" : "lineTo"](x(i), y(value));
    gap = !Number.isFinite(value);
  }
  context.stroke();
  for (const { at, unit } of marks) {
    context.fillStyle = COLOURS[unit % COLOURS.length];
    context.fillRect(x(at) - 1, 6 + 6 * (unit % COLOURS.length), 3, 10);
  }
  return canvas;
}

/** An image (height, width, channels) with values in [0, 1]. */
export function drawImage(values, height, width, channels) {
  const canvas = sized(width, height);
  const pixels = new ImageData(width, height);
  for (let i = 0; i < height * width; i += 1) {
    for (let c = 0; c < 3; c += 1) pixels.data[4 * i + c] = 255 * values[i * channels + (channels === 1 ? 0 : c)];
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

/** Rows as a table of texts. */
export function table(rows, header) {
  const made = document.createElement("table");
  if (header) made.createTHead().insertRow().append(...header.map((text) => cell("th", text)));
  const body = made.createTBody();
  for (const row of rows) body.insertRow().append(...row.map((text, i) => cell(i || header ? "td" : "th", text)));
  return made;
}

function cell(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}
