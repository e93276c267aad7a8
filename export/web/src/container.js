// The exported file as bytes: its checksum and what it says about itself. As crsae_onnx/file_format/container.py.
const CHECKSUM = 82; // bytes of the last entry: two headers, the key "crsae_sha256", 64 digits
const FORMAT = 1;

export async function readFacts(bytes) {
  const text = new TextDecoder("latin1");
  const ending = text.decode(bytes.subarray(-CHECKSUM));
  if (bytes.length < CHECKSUM || !ending.startsWith("rP\n\x0ccrsae_sha256\x12@")) {
    throw new Error("This is no encoder of keras-crsae, or it is damaged: it does not end in its checksum.");
  }
  const body = bytes.subarray(0, bytes.length - CHECKSUM);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== ending.slice(-64)) {
    throw new Error("The model is damaged: its checksum does not fit its content. Copy or convert it again.");
  }
  const key = "\n\x05crsae\x12";
  const whole = text.decode(body);
  let at = whole.lastIndexOf(key) + key.length;
  while (body[at] > 127) at += 1; // the length of the text, which reaches to the end
  const facts = JSON.parse(whole.slice(at + 1));
  if (facts.format_version > FORMAT) {
    throw new Error(`The model has format version ${facts.format_version}; this page reads up to ${FORMAT}.`);
  }
  return facts;
}
