"""Long recordings of counts, window by window."""

import numpy as np
import pytest

import keras_crsae as kc


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).binomial(8, 0.2, (2, 400, 1))


@pytest.fixture(scope="module")
def model(counts):
    made = kc.CRsAE(2, 9, iterations=8, likelihood="binomial", trials=8, seed=0, lambda_init=0.3)
    made.adapt(counts)
    return made


def sizes(kind):
    each = np.random.default_rng(1).integers(8, 12, (2, 400, 1))
    each[:, 100:180] = 0
    return {"own": None, "number": 9, "signal": [8, 16], "sample": each}[kind]


@pytest.mark.parametrize("kind", ["own", "number", "signal", "sample"])
@pytest.mark.parametrize("masked", [False, True])
def test_windows_equal_one_piece(model, counts, kind, masked):
    trials = sizes(kind)
    counts = np.where(trials == 0, 0, counts) if kind == "sample" else counts
    mask = (np.random.default_rng(2).random(counts.shape) < 0.9).astype(float) if masked else None
    whole = model.encode(counts, mask, trials=trials)
    assert np.count_nonzero(whole) > 20
    np.testing.assert_allclose(model.encode(counts, mask, trials=trials, window=60), whole, atol=1e-5)


def test_a_window_that_holds_no_counts_is_refused(model, counts):
    with pytest.raises(ValueError, match="whole numbers from 0"):
        model.encode(counts - 1, window=60)
    for options, words in ((dict(support=np.ones((2, 392, 2))), "whole"), (dict(sigma=1.0), "no noise level"),
                           (dict(trials=np.array([8, 0])), "nothing"), (dict(exposure=1.0), "`trials`")):
        with pytest.raises(ValueError, match=words):
            model.encode(counts, window=60, **options)


def test_a_baseline_of_each_signal_needs_the_whole_of_it(counts):
    made = kc.CRsAE(2, 9, iterations=8, likelihood="binomial", trials=8, baseline_scope="signal", seed=0)
    with pytest.raises(ValueError, match="whole signal"):
        made.encode(counts, window=60)
