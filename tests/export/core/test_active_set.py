"""A search for the active parts of a signal, in NumPy: the condition of its optimum, against plain products."""

import numpy as np
import pytest
from crsae_onnx.core.active_set import ActiveSetEncoder
from crsae_onnx.core.active_windows import ActiveSetParameters


def unit(kernel):
    return kernel / np.linalg.norm(kernel, axis=(0, 1))


def simulated(rng, batch=2, time=900, size=21, channels=1, filters=3, events=8):
    """Signals with events in noise of variance 1, and their filters."""
    kernel = unit(rng.standard_normal((size, channels, filters)) * np.hanning(size + 2)[1:-1, None, None])
    signal = rng.standard_normal((batch, time, channels))
    for entry in signal:
        for start in rng.integers(0, time - size + 1, events):
            entry[start:start + size] += rng.uniform(8, 15) * kernel[:, :, rng.integers(filters)]
    return signal.astype("float32"), kernel.astype("float32")


def correlate(signal, kernel):
    windows = np.lib.stride_tricks.sliding_window_view(signal, len(kernel), axis=1)  # (batch, position, channel, size)
    return np.einsum("bpck,kcf->bpf", windows, kernel)


def synthesise(code, kernel, time):
    signal = np.zeros((len(code), time, kernel.shape[1]))
    for k, row in enumerate(kernel):
        signal[:, k:k + code.shape[1]] += np.einsum("bpf,cf->bpc", code, row)
    return signal


def largest_movement(code, signal, kernel, weight, signed, mask=1.0):
    """How far any coordinate would move by itself."""
    residual = mask * (signal - synthesise(code.astype(float), kernel, signal.shape[1]))
    moved = code + correlate(residual, kernel)
    shrunk = np.maximum(moved - weight, 0) - (np.maximum(-moved - weight, 0) if signed else 0)
    return np.abs(shrunk - code).max()


@pytest.mark.parametrize("prior", ["nonnegative_soft", "soft"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", [dict(), dict(size=5, channels=3, filters=2), dict(size=1, filters=1),
                                   dict(size=45, filters=40, events=3)], ids=str)
def test_no_coordinate_of_the_code_would_move(rng, prior, masked, sizes):
    signal, kernel = simulated(rng, **sizes)
    mask = (rng.random(signal.shape) > 0.2).astype("float32") if masked else None
    encode = ActiveSetEncoder(kernel, 4.0, prior, 400, ActiveSetParameters(tolerance=1e-3))
    code = encode(signal, mask)
    assert code.dtype == np.float32 and 0 < np.count_nonzero(code) < 0.1 * code.size
    seen = 1.0 if mask is None else mask
    assert largest_movement(code, signal, kernel, 4.0, prior == "soft", seen) < 4e-3 + 2e-3  # and rounding


@pytest.mark.parametrize("time", [21, 22, 150, 333])
def test_events_at_the_very_ends_of_any_length_are_coded(rng, time):
    kernel = simulated(rng)[1]
    signal = np.zeros((3, time, 1), "float32")
    signal[:, :21] += 20 * kernel[..., 0]
    signal[:, -21:] += 20 * kernel[..., 1]
    code = ActiveSetEncoder(kernel, 1.0)(signal)
    assert code.shape == (3, time - 20, 3) and code[:, 0].any() and code[:, -1].any()
    assert largest_movement(code, signal, kernel, 1.0, False) < 3e-3
    np.testing.assert_array_equal(code[0], code[2])


def test_each_filter_has_its_own_penalty_weight(rng):
    signal, kernel = simulated(rng)
    weight = np.array([3.0, 1e6, 5.0])
    code = ActiveSetEncoder(kernel, weight)(signal)
    assert not code[..., 1].any() and largest_movement(code, signal, kernel, weight, False) < 4e-3


def test_silence_has_no_code_and_a_tolerance_below_rounding_ends(rng):
    signal, kernel = simulated(rng, batch=1)
    assert not ActiveSetEncoder(kernel, 1.0)(np.zeros((2, 100, 1))).any()
    code = ActiveSetEncoder(kernel, 4.0, parameters=ActiveSetParameters(tolerance=1e-12))(signal)
    assert largest_movement(code, signal, kernel, 4.0, False) < 1e-3


def test_a_window_in_a_bound_of_rounds_is_what_was_reached(rng):
    signal, kernel = simulated(rng)
    once, whole = (ActiveSetEncoder(kernel, 4.0, parameters=ActiveSetParameters(rounds=rounds))(signal)
                   for rounds in (1, 1000))
    assert 0 < np.count_nonzero(once) and not np.array_equal(once, whole)


def test_other_priors_and_norms_are_refused():
    with pytest.raises(ValueError, match="written for the code priors"):
        ActiveSetEncoder(np.ones((1, 1, 1)), 1.0, "group_sparse")
    with pytest.raises(ValueError, match="filters of norm 1"):
        ActiveSetEncoder(np.ones((4, 1, 1)), 1.0)
