"""A solver of a user's own runs in the encoder; what is no solver is refused."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.solvers import ISTA, Solver, register_solver


@register_solver("test_constant_momentum")
class ConstantMomentum(ISTA):
    """Heavy extrapolation from the first step on: x + 0.5 (x - x_last)."""

    def init(self, code):
        return code, code

    def step(self, state, descend, factor=None):
        last, point = state
        code = descend(point)
        return code, code + 0.5 * (code - last)

    def momentum(self, iterations):
        return [0.5] * iterations


def test_a_solver_of_ones_own_reaches_the_optimum_and_is_saved(rng, tmp_path):
    signal = rng.standard_normal((2, 40, 1)).astype("float32")
    codes = []
    for solver in ("test_constant_momentum", ConstantMomentum(), "fista"):
        model = kc.CRsAE(2, 7, iterations=1500, lambda_init=0.5, solver=solver, seed=1)
        codes.append(model.encode(signal))
    assert codes[0].any()
    np.testing.assert_array_equal(codes[0], codes[1])
    np.testing.assert_allclose(codes[0], codes[2], atol=2e-3)
    small = kc.CRsAE(2, 7, iterations=5, lambda_init=0.1, solver=ConstantMomentum(), seed=1)
    small.build((None, None, 1))
    small.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert type(loaded.encoder.solver) is ConstantMomentum
    np.testing.assert_allclose(loaded.encode(signal), small.encode(signal), atol=1e-6)


def test_the_first_step_counts_where_it_has_momentum(rng):
    """From the zero code: the encoder may not take its first step without the solver."""
    signal = rng.standard_normal((1, 40, 1)).astype("float32")
    model = kc.CRsAE(2, 7, iterations=3, lambda_init=0.1, solver=ConstantMomentum(), seed=1)
    code = model.encode(signal)
    cell, solver = model.encoder.cell, ConstantMomentum()
    state = solver.init(cell.get_initial_state(signal=keras.ops.convert_to_tensor(signal))[0])
    for _ in range(3):
        state = solver.step(state, cell.descent(keras.ops.convert_to_tensor(signal)))
    np.testing.assert_allclose(code, state[0], atol=1e-6)


def test_a_solver_that_is_no_table_of_momenta_is_not_exported(tmp_path):
    from crsae_onnx.convert import convert

    class Restarted(ISTA):
        exports = False

    model = kc.CRsAE(2, 7, solver=Restarted(), seed=1)
    model.build((None, None, 1))
    with pytest.raises(ValueError, match="solver Restarted has no form in an exported graph.*solver='fista'"):
        convert(model, tmp_path / "m.onnx")


def test_unknown_solvers_are_refused():
    with pytest.raises(ValueError, match="Expected a solver.*'active_set', 'backtracking', 'fista', 'ista'.*newton"):
        kc.CRsAE(2, 7, solver="newton")


def test_the_base_class_declares_what_all_need():
    assert Solver.exports and not Solver.active
    for method in (lambda: Solver().init(0), lambda: Solver().momentum(3)):
        with pytest.raises(NotImplementedError):
            method()
