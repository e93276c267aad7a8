"""The comparison of a model with its export refuses what proves nothing and names what differs."""

import numpy as np
import pytest
from crsae_onnx.convert import convert
from crsae_onnx.core.spec import Exportable
from crsae_onnx.validate import (
    NameMismatch,
    ShapeMismatch,
    ValidationError,
    ValueMismatch,
    relative_difference,
    validate,
)

import keras_crsae as kc


def built(seed=0, **options):
    model = kc.CRsAE(**{"filters": 3, "kernel_size": 9, "iterations": 12, "lambda_init": 0.7, **options}, seed=seed)
    model.build((None, None, 1))
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = built()
    return model, convert(model, tmp_path_factory.mktemp("onnx") / "encoder.onnx")


def test_report_prints_as_a_table_and_knows_its_largest_difference(exported):
    report = validate(*exported)
    lines = str(report).splitlines()
    assert len(lines) == 1 + len(report) == 9 and "difference" in lines[0]
    assert report.difference == max(row["difference"] for row in report) <= 1e-5
    assert len({row["shape"][0] for row in report}) == 3 and len({row["shape"] for row in report}) == 4
    assert all(0 < row["nonzero"] < 1 for row in report)


def test_another_models_file_is_named_as_such(exported):
    with pytest.raises(NameMismatch, match="iterations=3"):
        validate(built(iterations=3), exported[1])


def test_a_model_trained_since_differs_in_values(exported):
    with pytest.raises(ValueMismatch, match="largest relative difference") as caught:
        validate(built(seed=1), exported[1])
    assert caught.value.difference > 1e-4


@pytest.mark.parametrize("lambda_init, sigma", [(1e-3, 1.0), (30.0, 1.0), (1.0, 25.0)])
def test_random_signals_suit_any_lambda_and_sigma(lambda_init, sigma, tmp_path):
    model = built(lambda_init=lambda_init, sigma=sigma, shrinkage="soft")
    report = validate(model, convert(model, tmp_path / "e.onnx"))
    assert all(0.01 < row["nonzero"] < 0.6 for row in report)


def test_a_smaller_tolerance_than_rounding_fails(exported):
    with pytest.raises(ValueMismatch):
        validate(*exported, tolerance=1e-12)


def test_a_nan_is_a_mismatch_and_so_is_a_shape():
    ones = np.ones((1, 3))
    with pytest.raises(ValueMismatch, match="nan"):
        relative_difference("code", (1, 9, 1), ones, ones * np.nan, 1e-4)
    with pytest.raises(ShapeMismatch, match=r"\(1, 3\)"):
        relative_difference("code", (1, 9, 1), ones, ones[0], 1e-4)


def test_a_silent_reference_is_refused(exported):
    silent = built()
    silent.dictionary.kernel.assign(np.zeros((9, 1, 3)))  # dead filters: no signal can wake the code
    with pytest.raises(ValidationError, match="all zero"):
        validate(silent, exported[1], shapes=[(1, 40, 1)])


class Constant:
    """A model without Keras, whose code is 1 everywhere."""

    def __init__(self, spec):
        self.spec = spec

    def export_spec(self):
        return self.spec

    def export_reference(self, tolerance=None):
        return self

    def encode(self, signal, mask=None, sigma=None):
        positions = signal.shape[1] - self.spec.kernel_size[0] + 1
        return np.ones((len(signal), positions, self.spec.filters), np.float32)

    def decode(self, code):
        return np.zeros((len(code), code.shape[1] + self.spec.kernel_size[0] - 1, self.spec.channels), np.float32)


def test_a_reference_without_a_zero_is_refused_and_needs_no_keras(exported):
    model = Constant(exported[0].export_spec())
    assert isinstance(model, Exportable)
    with pytest.raises(ValidationError, match="non-zero"):
        validate(model, exported[1], shapes=[(1, 40, 1)])
    # Such an object converts to the same file as the model that gave it its numbers.
    path = convert(model, exported[1].with_name("stub.onnx"))
    assert path.read_bytes() == exported[1].read_bytes()


def test_active_and_mixed_precision_models_are_compared_by_what_they_stand_for(tmp_path):
    for i, options in enumerate((dict(active=True), dict(dtype="mixed_bfloat16"))):
        model = built(**options)
        assert validate(model, convert(model, tmp_path / f"{i}.onnx"), shapes=[(1, 90, 1)]).difference <= 1e-5
