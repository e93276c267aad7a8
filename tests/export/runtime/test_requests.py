"""A thousand requests with something wrong: each is answered rightly or refused by a typed error, within a second."""

import time

import numpy as np
import pytest
from crsae_onnx import SignalError, SparseEncoder
from crsae_onnx.convert import convert

import keras_crsae as kc

COUNT = 1000


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    signals = kc.CRsAE(2, 7, iterations=6, lambda_init=0.7, seed=0)
    signals.build((None, None, 2))
    images = kc.CRsAE(2, 4, rank=2, strides=2, iterations=6, lambda_init=0.7, shrinkage="soft", seed=0)
    images.build((None, None, None, 1))
    inputs = ("signal", "mask", "sigma")
    return [(SparseEncoder(convert(signals, folder / "s.onnx", inputs=inputs), threads=1), (1, 40, 2)),
            (SparseEncoder(convert(images, folder / "i.onnx", inputs=inputs), threads=1), (2, 12, 15, 1))]


def poisoned(array, rng):
    array = array.copy()
    array[tuple(rng.integers(n) for n in array.shape)] = rng.choice([np.nan, np.inf, -np.inf, 3e39])
    return array


def requests(shape, rng):
    """One random request: (signal, further arguments, whether a right answer exists)."""
    signal = 3 * rng.standard_normal(shape)
    axis = int(rng.integers(len(shape)))
    cut = [slice(None)] * len(shape)
    cut[axis] = slice(0, int(rng.integers(0, 4)))
    bad = [lambda: signal[tuple(cut)] if axis else signal[:0], lambda: signal[0], lambda: signal[None],
           lambda: poisoned(signal, rng), lambda: signal.astype(complex), lambda: signal.astype("U8"),
           lambda: signal.astype(object), lambda: np.concatenate([signal, signal], axis=-1), lambda: None,
           lambda: "signal", lambda: [[1.0], [2.0, 3.0]], lambda: {"signal": signal},
           lambda: signal.astype("datetime64[s]"), lambda: b"\0" * 99, lambda: 3.0]
    good = [lambda: signal.astype(rng.choice(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", ">f4", ">i2"])),
            lambda: signal[:, ::-1], lambda: np.asfortranarray(signal), lambda: signal.tolist(), lambda: signal > 0]
    options = [{}, {"sigma": 0.5}, {"sigma": np.ones(shape[0])}, {"mask": np.ones(shape)}, {"mask": signal > 0}]
    wrong = [{"sigma": 0.0}, {"sigma": -1}, {"sigma": np.nan}, {"sigma": np.ones(7)}, {"sigma": "loud"}, {"sigma": []},
             {"mask": np.ones(3)}, {"mask": poisoned(np.ones(shape), rng)}, {"mask": "all"}, {"sigma": 1j},
             {"mask": np.ones(shape, complex)}, {"mask": {}}]
    fine = rng.random(2) < (0.3, 0.8)
    made = good[int(rng.integers(len(good)))]() if fine[0] else bad[int(rng.integers(len(bad)))]()
    given = options[int(rng.integers(len(options)))] if fine[1] else wrong[int(rng.integers(len(wrong)))]
    return made, given, bool(fine.all())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, on the values that are wrong on purpose
def test_a_thousand_mutated_requests_are_answered_or_refused(encoders):
    rng = np.random.default_rng(0)
    answered = refused = 0
    for number in range(COUNT):
        encoder, shape = encoders[number % 2]
        signal, given, fine = requests(shape, rng)
        run = encoder.encode if number % 3 else encoder.reconstruct
        start = time.process_time()
        try:
            made = run(signal, **given)
        except (SignalError, ValueError) as error:
            assert not fine, f"request {number} was right, and refused: {error}"
            assert isinstance(error, SignalError), f"request {number}: {error!r}"
            assert any(word in str(error) for word in ("Expected", "signal", "sigma", "mask", "real")), error
            refused += 1
        else:
            assert np.isfinite(made).all(), f"request {number}"
            answered += 1
        assert time.process_time() - start < 1, f"request {number}"
    assert answered + refused == COUNT and answered > 150 and refused > 500
    # The process is as good as before.
    for encoder, shape in encoders:
        assert np.any(encoder.encode(3 * rng.standard_normal(shape)))
