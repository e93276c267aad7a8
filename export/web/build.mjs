// Bundles the page into dist/: one script, onnxruntime's WASM beside it. Run by `make web`.
import { build } from "esbuild";
import { copyFileSync, cpSync, mkdirSync } from "node:fs";

mkdirSync("dist", { recursive: true });
await build({
  entryPoints: ["src/app.js"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  conditions: ["onnxruntime-web-use-extern-wasm"],
  outfile: "dist/app.js",
  logLevel: "warning",
});
copyFileSync("src/index.html", "dist/index.html");
cpSync("example", "dist/example", { recursive: true }); // written by example.py
for (const file of ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]) {
  copyFileSync(`node_modules/onnxruntime-web/dist/${file}`, `dist/${file}`);
}
console.log("dist/ is built: serve it, for example with python -m http.server --directory dist");
