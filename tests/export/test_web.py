"""The page for the browser: built, opened in headless Chromium, its numbers held against Python's."""

import http.server
import os
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert

import keras_crsae as kc

WEB = Path(__file__).parents[2] / "export" / "web"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

pytest.importorskip("playwright", reason="The package playwright is not installed.")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (CHROMIUM and shutil.which("npm")),
                                                   reason="Chromium or npm is not installed.")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built page, as `make web` builds it."""
    folder = tmp_path_factory.mktemp("web") / "web"
    shutil.copytree(WEB, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    for command in (["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"], ["npm", "run", "build"]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return folder / "dist"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript",
                      ".wasm": "application/wasm"}

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def chromium():
    """Playwright's Chromium, of which one at a time can be driven in a process."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        yield play.chromium


@contextmanager
def opened(chromium, site, *options):
    """A page that is open, whatever it asks of other servers noted."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{server.server_port}/"
    browser = chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *options])
    page = browser.new_page(viewport={"width": 1100, "height": 1000})
    page.foreign, page.errors = [], []
    page.on("request", lambda r: r.url.startswith((origin, "data:", "blob:")) or page.foreign.append(r.url))
    page.on("pageerror", lambda e: page.errors.append(str(e)))
    page.goto(origin)
    yield page
    browser.close()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def page(chromium, site):
    """A page without a GPU."""
    with opened(chromium, site) as page:
        yield page


def outputs(page, seconds=60):
    """What the page computed last, as arrays."""
    page.wait_for_function("document.getElementById('status').textContent.startsWith('Done')", timeout=1000 * seconds)
    made = page.evaluate("globalThis.crsae.outputs")
    return {name: np.array(t["data"]).reshape(t["dims"]) for name, t in made.items()}


def picture(page, name):
    """Keep a screenshot where the environment names a folder for them."""
    if os.environ.get("CRSAE_SCREENSHOTS"):
        page.screenshot(path=Path(os.environ["CRSAE_SCREENSHOTS"]) / f"{name}.png", full_page=True)


def refused(page, words):
    page.wait_for_function("document.getElementById('status').classList.contains('error')", timeout=30_000)
    assert words in page.inner_text("#status")
    assert page.evaluate("globalThis.crsae.outputs") is None


def test_the_example_recording_has_pythons_spikes(page, site):
    page.click("#example-recording")
    made = outputs(page)
    index, unit, amplitude = SparseEncoder(site / "example" / "spikes.onnx").spikes(
        np.load(site / "example" / "recording.npy")[None])
    assert len(unit) > 15
    np.testing.assert_array_equal(made["spike_index"], index)
    np.testing.assert_array_equal(made["spike_unit"], unit)
    np.testing.assert_allclose(made["spike_amplitude"], amplitude, rtol=1e-3)
    assert f"{len(unit)} spikes" in page.inner_text("figcaption")
    assert "3 filters of 45, stride 1" in page.inner_text("#info") and "30000" in page.inner_text("#info")
    assert "WebAssembly, one thread (the file's iterations are a Loop" in page.inner_text("#info")
    assert page.locator("#result tbody tr").count() == len(unit) and not page.is_visible("#sigma")
    picture(page, "recording")


def test_the_example_image_is_pythons_denoised_image(page, site):
    page.click("#example-image")
    page.wait_for_selector("text=denoised")
    made, encoder = outputs(page)["denoised"], SparseEncoder(site / "example" / "denoiser.onnx")
    noisy = np.load(site / "example" / "image.npy")[None, ..., None]
    np.testing.assert_allclose(made, encoder.denoise(noisy, 25 / 255), atol=1e-3)
    assert made.std() < noisy.std() and page.is_visible("#sigma")
    picture(page, "image")
    page.fill("#sigma", "40")
    page.evaluate("document.getElementById('status').textContent = ''")
    page.dispatch_event("#sigma", "change")
    np.testing.assert_allclose(outputs(page)["denoised"], encoder.denoise(noisy, 40 / 255), atol=1e-3)


@pytest.mark.parametrize("kind", ["npy", "int64.npy", "csv", "wav"])
def test_files_of_ones_own(page, kind, tmp_path):
    import wave

    model = kc.CRsAE(2, 9, iterations=20, lambda_init=20.0, seed=0)
    model.build((None, None, 2))
    path = convert(model, tmp_path / "own.onnx")
    recording = np.rint(100 * np.random.default_rng(0).standard_normal((200, 2))).astype("int16")
    data = tmp_path / f"own.{kind}"
    if kind.endswith("npy"):
        np.save(data, recording.astype("int64" if kind == "int64.npy" else "int16"))
    elif kind == "csv":
        np.savetxt(data, recording, fmt="%d", delimiter=",", header="left,right", comments="")
    else:
        with wave.open(str(data), "wb") as file:
            file.setnchannels(2), file.setsampwidth(2), file.setframerate(8000)
            file.writeframes(recording.astype("<i2").tobytes())
    page.evaluate("document.getElementById('status').textContent = ''")
    page.set_input_files("#files", [path, data])
    made, code = outputs(page), model.encode(recording[None])
    np.testing.assert_allclose(made["code"], code, atol=1e-3 * np.abs(code).max())
    assert "own.onnx" in page.inner_text("#info")
    assert re.search(r"WebAssembly, one thread \(.*WebGPU", page.inner_text("#info"))  # it has no Loop; there is no GPU


def load(page, *paths):
    page.evaluate("document.getElementById('status').textContent = ''")
    page.set_input_files("#files", paths)


def test_a_raw_recording_into_a_sorter_s_file_gives_its_spikes(page, sorted_spikes, tmp_path):
    recording, _, result = sorted_spikes
    path = convert(result.model, tmp_path / "sorted.onnx", outputs=("code", "spikes"), spikes=result.reader)
    lines = [f"{i};{value / 8:.3f}".replace(".", ",") for i, value in enumerate(8 * recording[:, 0].astype(int))]
    (tmp_path / "raw.csv").write_text("\r\n".join([";uV", *lines]))
    load(page, path, tmp_path / "raw.csv")
    made, (index, unit, amplitude) = outputs(page), SparseEncoder(path).spikes(recording[None])
    assert len(unit) > 100
    np.testing.assert_array_equal(made["spike_index"], index)
    np.testing.assert_array_equal(made["spike_unit"], unit)
    np.testing.assert_allclose(made["spike_amplitude"], amplitude, rtol=1e-3)
    assert not page.is_visible("#warning") and f"{len(unit)} spikes" in page.inner_text("figcaption")
    notes = page.inner_text("#status")
    assert all(words in notes for words in ("line 1: names", "the first column counts", "commas are decimal signs"))
    picture(page, "sorted")
    gaps = recording.astype("float32")
    gaps[1000:1500] = np.nan
    np.save(tmp_path / "gaps.npy", gaps)
    load(page, tmp_path / "gaps.npy")
    np.testing.assert_array_equal(outputs(page)["spike_index"], SparseEncoder(path).spikes(gaps[None])[0])
    np.save(tmp_path / "volts.npy", 1e-6 * recording)
    load(page, tmp_path / "volts.npy")
    outputs(page)
    assert "another unit" in page.inner_text("#warning")
    picture(page, "volts")


def test_a_file_of_whitened_codes_says_so_of_a_raw_recording(page, sorted_spikes, tmp_path):
    recording, _, result = sorted_spikes
    path = convert(result.model, tmp_path / "codes.onnx", outputs=("code",), spikes=result.reader)
    whitened = result.reader.whitening(recording, 0, len(recording))
    np.save(tmp_path / "raw.npy", recording)
    np.save(tmp_path / "whitened.npy", whitened)
    load(page, path, tmp_path / "raw.npy")
    outputs(page)
    assert "takes whitened recordings" in page.inner_text("#warning")
    picture(page, "codes")
    load(page, tmp_path / "whitened.npy")
    code = outputs(page)["code"]
    np.testing.assert_allclose(code, SparseEncoder(path).encode(whitened[None]), atol=1e-3 * code.max())
    assert not page.is_visible("#warning")


def test_what_is_unfit_is_said_and_computes_nothing(page, site, tmp_path):
    whole = (site / "example" / "spikes.onnx").read_bytes()
    (tmp_path / "bad.onnx").write_bytes(whole[:5000] + b"?" + whole[5001:])
    (tmp_path / "cut.onnx").write_bytes(whole[:-1])
    np.save(tmp_path / "short.npy", np.zeros((9, 1)))
    np.save(tmp_path / "wide.npy", np.zeros((900, 5)))
    np.save(tmp_path / "nan.npy", np.full((900, 1), np.nan))
    (tmp_path / "text.csv").write_text("1,2\n3")
    (tmp_path / "two.csv").write_text("1,5\n2,25\n" * 100)
    (tmp_path / "blank.csv").write_text("a;b\n1;2\n;3\n")
    for names, words in ((["bad.onnx"], "checksum does not fit"), (["cut.onnx"], "does not end in its checksum"),
                         (["short.npy"], "shorter than a filter"), (["wide.npy"], "1 channels"),
                         (["nan.npy"], "NaN"), (["text.csv"], "one line a sample"), (["two.csv"], "write sep=;"),
                         (["blank.csv"], "Line 3, column 1: the cell is blank")):
        page.click("#example-recording")
        outputs(page)
        page.set_input_files("#files", [tmp_path / name for name in names])
        refused(page, words)


def test_nothing_was_asked_of_another_server_and_nothing_failed(page):
    assert page.foreign == [] and page.errors == []


def test_webgpu_runs_files_without_a_loop_where_it_computes_them_rightly(chromium, site, tmp_path):
    """On Chromium's graphics processor in software, which needs a minute for an image: the signals are small."""
    options = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
    with opened(chromium, site, *options) as page:
        if not page.evaluate("navigator.gpu && navigator.gpu.requestAdapter().then(Boolean)"):
            pytest.skip("This Chromium has no WebGPU in software.")
        signal = 3 * np.random.default_rng(0).standard_normal((60, 1))
        np.save(tmp_path / "signal.npy", signal)
        # Of the second, whose convolutions have 9 channels, onnxruntime-web 1.30 makes other numbers.
        for prior, device in (("soft", "WebGPU ("), ("nonnegative_soft", "")):
            model = kc.CRsAE(2, 9, iterations=4, lambda_init=2.0, code_prior=prior, seed=0)
            model.build((None, None, 1))
            path = convert(model, tmp_path / f"{prior}.onnx", outputs=("code",))
            load(page, path, tmp_path / "signal.npy")
            made, code = outputs(page, seconds=240)["code"], model.encode(signal[None])
            np.testing.assert_allclose(made, code, atol=1e-4 * np.abs(code).max())
            assert device in page.inner_text("#info")
        load(page, site / "example" / "spikes.onnx", site / "example" / "recording.npy")
        assert len(outputs(page)["spike_unit"]) > 15 and "WebAssembly" in page.inner_text("#status")
        assert page.foreign == [] and page.errors == []
