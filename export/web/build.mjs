// Bundles the page into dist/: its script, and onnxruntime for the processor and for WebGPU, of which a browser loads
// the one it uses. Run by `make web`.
import { build } from "esbuild";
import { copyFileSync, cpSync, mkdirSync, rmSync } from "node:fs";

rmSync("dist", { recursive: true, force: true });
mkdirSync("dist", { recursive: true });
await build({
  entryPoints: ["src/app.js"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  conditions: ["onnxruntime-web-use-extern-wasm"],
  splitting: true,
  outdir: "dist",
  logLevel: "warning",
});
copyFileSync("src/index.html", "dist/index.html");
cpSync("example", "dist/example", { recursive: true }); // written by example.py
for (const name of ["ort-wasm-simd-threaded", "ort-wasm-simd-threaded.asyncify"]) {
  for (const file of [`${name}.mjs`, `${name}.wasm`]) copyFileSync(`node_modules/onnxruntime-web/dist/${file}`, `dist/${file}`);
}
console.log("dist/ is built: serve it, for example with python -m http.server --directory dist");
