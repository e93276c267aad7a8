"""``crsae-onnx info``: the file says what it is."""

import json
import subprocess
import sys

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.cli import main
from crsae_onnx.convert import convert
from crsae_onnx.file_format.description import describe
from crsae_onnx.validate import validate

import keras_crsae as kc

ABOUT = {"name": "demo", "unit": "uV", "sampling_frequency": 30000, "data": "simulated", "training": "here"}


@pytest.fixture(scope="module")
def model():
    made = kc.CRsAE(2, 7, iterations=10, tolerance=1e-3, sigma=0.5, lambda_init=[0.7, 0.9], seed=0)
    made.build((None, None, 3))
    return made


def rows(text):
    return {line[:15].strip(): line[16:] for line in text.splitlines()}


def test_info_says_everything_a_user_needs(model, tmp_path):
    path = convert(model, tmp_path / "e.onnx", inputs=("signal", "sigma"), about=ABOUT)
    facts, text = describe(path)
    said = rows(text)
    assert said["file"].startswith("demo, e.onnx, ") and said["dictionary"] == "2 filters of 7, stride 1"
    assert said["encoder"] == "10 iterations at most, stops at a relative change of 0.001"
    assert said["code prior"] == "nonnegative_soft" and said["likelihood"] == "gaussian"
    assert said["signals"] == "rank 1 (one-dimensional), 3 channels, unit: uV"
    assert said["sampling rate"] == "30000 Hz" and said["data"] == "simulated" and said["training"] == "here"
    assert said["precision"] == "float32" and said["sigma"] == "0.5 (in the signal's unit)"
    assert said["lambda"] == "0.7, 0.9 (rate of the code's prior, 1 / unit)"
    assert said["penalty weight"] == "0.175, 0.225 (lambda sigma^2, in the signal's unit)"
    assert "threshold" not in text  # lambda sigma^2 step is a number of the iteration, and stays in the JSON
    np.testing.assert_allclose(facts["threshold"], np.array([0.7, 0.9]) * 0.25 * float(model.step_size), rtol=1e-6)
    assert said["weights"] == f"sha256 {model.export_spec().weights_sha256()}" and len(facts["weights_sha256"]) == 64
    assert said["inputs"] == "signal, sigma" and "keras-crsae" in said["made with"]
    assert said["preprocessing"] == "none beyond the unit" and "validate --record" in said["parity"]


def test_measured_parity_is_recorded_on_request(model, tmp_path, capsys):
    path = convert(model, tmp_path / "e.onnx")
    report = validate(model, path)
    assert "parity" not in SparseEncoder(path).info
    model.save(tmp_path / "m.keras")
    assert main(["validate", str(tmp_path / "m.keras"), str(path), "--record"]) == 0
    stored = SparseEncoder(path).info["parity"]
    assert stored["difference"] == report.difference <= stored["tolerance"] == 1e-4
    assert stored["comparisons"] == len(report) and stored["provider"] == "CPUExecutionProvider"
    assert f"{report.difference:.1e} of the largest value from Keras" in describe(path)[1]
    assert validate(model, path).difference == report.difference  # the graph is the same
    capsys.readouterr()


def test_the_hash_of_weights_follows_the_weights_alone(model, tmp_path):
    both, code = (convert(model, tmp_path / f"{i}.onnx", outputs=outputs)
                  for i, outputs in enumerate((("code", "reconstruction"), ("code",))))
    assert describe(both)[0]["weights_sha256"] == describe(code)[0]["weights_sha256"]
    other = kc.CRsAE(2, 7, iterations=10, tolerance=1e-3, sigma=0.5, lambda_init=[0.7, 0.9], seed=1)
    other.build((None, None, 3))
    assert other.export_spec().weights_sha256() != model.export_spec().weights_sha256()
    other.set_weights(model.get_weights())
    assert other.export_spec().weights_sha256() == model.export_spec().weights_sha256()
    other.sigma.assign(0.6)
    assert other.export_spec().weights_sha256() != model.export_spec().weights_sha256()


def test_images_tell_their_range_and_preprocessing(tmp_path):
    made = kc.Denoiser(12, 4, strides=2, iterations=3, sigma=1.0, lambda_init=1.5)
    made.build((None, None, None, 1))
    path = convert(made, tmp_path / "e.onnx", about={"pixel_range": [0, 1]})
    text = describe(path)[1]
    said = rows(text)
    assert said["pixel range"] == "0 to 1" and said["signals"].startswith("rank 2 (images), 1 channels")
    assert said["preprocessing"].startswith("subtract its mean from the image")
    assert said["penalty weight"].startswith("1.5 to 1.5, 12 values, all with --json")
    assert "average the reconstructions" in text


def test_an_active_model_s_file_says_that_it_computes_every_position(tmp_path, capsys):
    made = kc.CRsAE(2, 7, iterations=3000, lambda_init=0.7, active=True, seed=0)
    made.build((None, None, 1))
    made.save(tmp_path / "m.keras")
    assert main(["convert", str(tmp_path / "m.keras"), str(tmp_path / "e.onnx")]) == 0
    assert "goes on to the optimum; the file's graph computes every position" in capsys.readouterr().out
    said = rows(describe(tmp_path / "e.onnx")[1])["computes"]
    assert said.startswith("every position, these iterations; the model, active=True, goes on to the optimum, as run")
    signal = 3 * np.random.default_rng(0).standard_normal((1, 90, 1)).astype("float32")
    code = SparseEncoder(tmp_path / "e.onnx").encode(signal)
    np.testing.assert_allclose(code, made.encode(signal), atol=5e-3 * code.max())  # so many iterations come near


def test_info_needs_no_onnxruntime(model, tmp_path):
    path = convert(model, tmp_path / "e.onnx")
    code = ("import sys, crsae_onnx.cli\nassert crsae_onnx.cli.main(['info', sys.argv[1], '--json']) == 0\n"
            "assert 'onnxruntime' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["filters"] == 2


def test_facts_from_the_command_line(model, tmp_path, capsys):
    model.save(tmp_path / "m.keras")
    assert main(["convert", str(tmp_path / "m.keras"), str(tmp_path / "e.onnx"), "--about", "unit=mV",
                 "sampling_frequency=250", "pixel_range=[0, 1]"]) == 0
    facts = describe(tmp_path / "e.onnx")[0]
    assert (facts["unit"], facts["sampling_frequency"], facts["pixel_range"]) == ("mV", 250, [0, 1])
    assert main(["convert", str(tmp_path / "m.keras"), str(tmp_path / "f.onnx"), "--about", "colour=red"]) == 2
    assert "colour" in capsys.readouterr().err
    for wrong in ({"sampling_frequency": "30kHz"}, {"pixel_range": [0]}, {"name": 3},
                  {"pixel_range": [0, float("nan")]}):
        with pytest.raises(ValueError, match="`about"):
            convert(model, tmp_path / "f.onnx", about=wrong)
    with pytest.raises(ValueError, match="texts and numbers"):
        convert(model, tmp_path / "f.onnx", about={"data": object()})
    assert not (tmp_path / "f.onnx").exists()
