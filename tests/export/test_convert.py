"""Export: parity at awkward shapes, self-description, typed errors, life without TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest
from crsae_onnx import ModelFileError, SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.validate import ValidationError, validate

import keras_crsae as kc

CONFIGS = [dict(filters=3, kernel_size=9, iterations=25),
           dict(filters=3, kernel_size=9, iterations=25, shrinkage="soft", strides=4),
           dict(filters=4, kernel_size=5, rank=2, strides=2, iterations=12, shrinkage="soft")]


def built(options, channels=1):
    model = kc.CRsAE(**options, lambda_init=0.7, seed=0)
    model.build((None,) * (model.rank + 1) + (channels,))
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = built(CONFIGS[0])
    return model, convert(model, tmp_path_factory.mktemp("onnx") / "encoder.onnx")


@pytest.mark.parametrize("options", CONFIGS)
@pytest.mark.parametrize("channels", [1, 2])
def test_onnxruntime_equals_keras_at_ten_shapes(options, channels, tmp_path):
    model = built(options, channels)
    path = convert(model, tmp_path / "encoder.onnx")
    rank = model.rank
    shapes = [(1 + i % 3, *((13 + 7 * i + a,)[0] for a in range(rank)), channels) for i in range(10)]
    report = validate(model, path, shapes=shapes)
    assert len(report) == 20 and max(row["difference"] for row in report) <= 1e-4


def test_file_describes_itself_and_names_its_axes(exported):
    import onnx

    _, path = exported
    info = SparseEncoder(path).info
    assert info["filters"] == 3 and info["kernel_size"] == [9] and info["iterations"] == 25
    graph = onnx.load(path).graph
    names = {t.name: [d.dim_param or d.dim_value for d in t.type.tensor_type.shape.dim]
             for t in (*graph.input, *graph.output)}
    assert names == {"signal": ["batch", "time", 1], "code": ["batch", "time_positions", 3],
                     "reconstruction": ["batch", "time", 1]} or names["signal"] == ["batch", "time", 1]


def test_validation_refuses_a_silent_reference_and_a_foreign_model(exported):
    model, path = exported
    other = built(dict(CONFIGS[0], iterations=3))
    with pytest.raises(ValidationError, match="largest relative difference"):
        validate(other, path)
    silent = built(CONFIGS[0])
    silent.dictionary.kernel.assign(np.zeros((9, 1, 3)))  # dead filters: no signal can wake the code
    with pytest.raises(ValidationError, match="all zero"):
        validate(silent, path, shapes=[(1, 40, 1)])


def test_existing_file_is_kept(exported):
    model, path = exported
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite"):
        convert(model, path)
    assert path.read_bytes() == before


def test_bad_files_and_bad_signals_are_refused(exported, tmp_path):
    _, path = exported
    with pytest.raises(ModelFileError, match="No file"):
        SparseEncoder(tmp_path / "none.onnx")
    (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelFileError, match="cut.onnx"):
        SparseEncoder(tmp_path / "cut.onnx")
    encoder = SparseEncoder(path)
    for signal, words in ((np.zeros((1, 50)), "shape"), (np.zeros((1, 4, 1)), "shorter"),
                          (np.full((1, 50, 1), np.nan), "NaN"), (np.zeros((1, 50, 1), complex), "real")):
        with pytest.raises(ValueError, match=words):
            encoder.encode(signal)


def test_run_time_half_imports_no_training_package():
    code = ("import sys, crsae_onnx, crsae_onnx.runtime\n"
            "bad = {'tensorflow', 'keras', 'tf2onnx', 'onnx', 'keras_crsae'} & set(sys.modules)\n"
            "sys.exit(str(bad) if bad else 0)")
    subprocess.run([sys.executable, "-c", code], check=True)
