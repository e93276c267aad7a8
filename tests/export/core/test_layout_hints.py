"""Hints of messages about shapes: what they say is done, and then works."""

import re

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.layout_hints import signal_hint
from crsae_onnx.core.signals import check_layout, check_recording

import keras_crsae as kc


def follow(message, **arrays):
    """The array that a message says to give."""
    expression, shape = re.search(r"Give, for example, (.*), of shape (\([\d, ]+\))\.", str(message)).groups()
    made = eval(expression, {"np": np, **arrays})  # noqa: S307  the text under test
    assert str(made.shape) == shape
    return made


@pytest.mark.parametrize("shape, rank, kernel, channels, expression", [
    ((900,), 1, (45,), 1, "signal[None, :, None]"), ((900,), 1, None, None, "signal[None, :, None]"),
    ((900, 1), 1, (45,), 1, "signal[None]"), ((900, 2), 1, (45,), 2, "signal[None]"),
    ((900, 2), 1, (45,), None, "signal[None]"), ((900, 2), 1, None, None, "signal[None]"),
    ((7, 900), 1, (45,), 1, "signal[..., None]"), ((7, 900), 1, None, None, "signal[..., None]"),
    ((900, 800), 1, (45,), 1, "signal[..., None]"), ((1, 900), 1, (45,), 1, "signal[..., None]"),
    ((2, 900), 1, (45,), 2, "signal.T[None]"), ((3, 2, 900), 1, (45,), 2, "signal.swapaxes(1, 2)"),
    ((1, 2, 900), 1, (45,), None, "signal.swapaxes(1, 2)"), ((900, 2, 1), 1, (45,), 2, "signal[..., 0][None]"),
    ((1, 5, 900, 2), 1, (45,), 2, "signal[0]"), ((5, 900, 2, 1), 1, (45,), 2, "signal[..., 0]"),
    ((10,), 1, (45,), 1, "signal[None, :, None]"),
    ((30, 40), 2, (8, 8), 1, "signal[None, :, :, None]"), ((30, 40, 3), 2, (8, 8), 3, "signal[None]"),
    ((30, 40, 3), 2, (8, 8), None, "signal[None]"), ((30, 40, 1), 2, None, 1, "signal[None]"),
    ((5, 30, 40), 2, (8, 8), 1, "signal[..., None]"), ((5, 30, 40), 2, (8, 8), None, "signal[..., None]"),
    ((3, 30, 40), 2, (8, 8), 3, "signal.transpose(1, 2, 0)[None]"),
    ((5, 3, 30, 40), 2, (8, 8), 3, "signal.transpose(0, 2, 3, 1)"), ((1, 5, 30, 40, 3), 2, (8, 8), 3, "signal[0]")])
def test_a_hint_gives_a_shape_that_works(shape, rank, kernel, channels, expression):
    signal = np.zeros(shape, np.float32)
    with pytest.raises(SignalError, match=re.escape(f"example, {expression}, of shape")) as caught:
        check_layout(signal, rank, kernel, channels)
    made = follow(caught.value, signal=signal)
    check_layout(made, rank, None if shape == (10,) else kernel, channels)
    assert made.size == signal.size


@pytest.mark.parametrize("shape, rank, channels", [
    ((900,), 1, 2), ((30, 40, 3), 2, 1), ((900, 3), 1, 2), ((900,), 2, 1), ((2, 3, 900, 2), 1, 2), ((0, 2), 1, 2),
    ((), 1, None), ((4, 900, 3), 1, 2)])
def test_where_nothing_would_do_nothing_is_proposed(shape, rank, channels):
    with pytest.raises(SignalError) as caught:
        check_layout(np.zeros(shape, np.float32), rank, (8,) * rank, channels)
    assert "for example" not in str(caught.value) and str(shape) in str(caught.value)


@pytest.mark.parametrize("shape, channels, expression", [
    ((900,), 1, "recording[:, None]"), ((900,), None, "recording[:, None]"), ((2, 900), 2, "recording.T"),
    ((1, 900, 2), 2, "recording[0]"), ((1, 2, 900), 2, "recording[0].T"), ((900, 2, 1), 2, "recording[..., 0]")])
def test_a_hint_for_recordings_works(shape, channels, expression):
    recording = np.zeros(shape)
    with pytest.raises(SignalError, match=re.escape(f"example, {expression}, of shape")) as caught:
        check_recording(recording, channels, 45)
    check_recording(follow(caught.value, recording=recording), channels, 45)


def test_other_arrays_than_numpy_s_are_made_one_first():
    class Dataset:
        shape, dtype = (900, 2), np.dtype("f4")

        def __getitem__(self, index):
            return np.zeros(self.shape, self.dtype)[index]

        def __array__(self, dtype=None, copy=None):
            return np.zeros(self.shape, self.dtype)

    assert follow(signal_hint(Dataset(), 1, (45,), 2), signal=Dataset()).shape == (1, 900, 2)
    data = [[0.0] * 2] * 900
    assert follow(signal_hint(np.zeros((900, 2)), 1, (45,), 2, "data", data), data=data).shape == (1, 900, 2)
    assert "example, array[None]" in signal_hint(np.zeros((900, 2)), 1, (45,), 2, "target of x")


@pytest.fixture(scope="module")
def places(tmp_path_factory, sorted_spikes):
    """{name: function of one array} that take signals of two channels, or, in "one", of one."""
    model = kc.CRsAE(2, 9, iterations=3, lambda_init=2.0, lambda_learning=None, seed=0)
    model.build((None, None, 2))
    model.compile()
    path = convert(model, tmp_path_factory.mktemp("hints") / "e.onnx")
    encoder = SparseEncoder(path)

    def adapt(data):
        new = kc.CRsAE(2, 9, iterations=3)
        new.adapt(data)

    return {"encode": model.encode, "reconstruct": model.reconstruct, "separate": model.separate,
            "adapt": adapt, "long": lambda signal: model.encode(signal, window=500),
            "fit": lambda x: model.fit(x, epochs=1, verbose=0), "predict": lambda x: model.predict(x, verbose=0),
            "evaluate": lambda x: model.evaluate(x, verbose=0),
            "convergence": model.convergence,
            "lambda_max": lambda signal: kc.lambda_max(signal, model.dictionary.unit_kernel()),
            "file": encoder.encode, "file, reconstruct": encoder.reconstruct,
            "file, windows": lambda signal: encoder.encode(signal, window=500),
            "file, run": lambda signal: encoder.run(["code"], signal)}


@pytest.mark.parametrize("shape", [(900, 2), (2, 900), (1, 2, 900)])
@pytest.mark.parametrize("name", ["encode", "reconstruct", "separate", "adapt", "long", "fit", "predict", "evaluate",
                                  "convergence", "lambda_max", "file", "file, reconstruct", "file, windows",
                                  "file, run"])
def test_hints_work_wherever_signals_are_given(places, name, shape, rng):
    array = rng.standard_normal(shape).astype("float32")
    with pytest.raises(ValueError, match="for example") as caught:
        places[name](array)
    places[name](follow(caught.value, signal=array, x=array, data=array, recording=array))
