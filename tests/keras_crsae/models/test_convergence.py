"""The duality gap of codes: against the optimum, and what is refused."""

import numpy as np
import pytest

import keras_crsae as kc


def test_the_gap_bounds_the_distance_to_the_optimum(rng):
    signal = rng.standard_normal((2, 60, 1)).astype("float32")
    model = kc.CRsAE(2, 9, iterations=500, seed=0, lambda_init=1.0)
    model.build((None, None, 1))
    best, early = model.convergence(signal), model.convergence(signal, 0.5 * model.encode(signal))
    assert (early.objective - best.objective <= early.gap + 1e-4).all() and (best.remaining < 1e-3).all()
    assert (early.gap > 10 * best.gap).all()


def test_codes_of_another_shape_are_refused(rng):
    model = kc.CRsAE(2, 9, iterations=3, seed=0)
    model.build((None, None, 1))
    with pytest.raises(ValueError, match=r"`code` must have shape \(1, 52, 2\)"):
        model.convergence(rng.standard_normal((1, 60, 1)), np.zeros((1, 50, 2), "float32"))
