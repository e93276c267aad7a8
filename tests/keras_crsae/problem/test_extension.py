"""A code prior and a likelihood that a user writes, each in one class, are right or refused in every part.

A one-sided prior registered by the words of the guide once gave all-zero codes with active=True and a gap of 0.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_crsae as kc
from keras_crsae.problem import CodePrior, Likelihood, register_code_prior, register_likelihood
from tests.twin import dictionary_matrix, minimise


@register_code_prior("test_negative")
class NegativeExponential(CodePrior):
    """Codes of at most zero: p(z) = -z for z <= 0, else infinite."""

    signed = False

    def prox(self, x, threshold):
        return -ops.relu(-x - threshold)

    def penalty(self, code, weight):
        return ops.where(code > 0, float("inf"), -weight * code)

    def dual_excess(self, correlation):
        return -correlation


@register_likelihood("test_huber")
class Huber(Likelihood):
    """(y - eta)^2 / 2 up to |y - eta| = delta, from there a straight line."""

    curvature = 1.0

    def __init__(self, delta=1.0):
        self.delta = delta

    def value(self, y, eta):
        away = ops.abs(y - eta)
        return ops.where(away < self.delta, 0.5 * away**2, self.delta * (away - 0.5 * self.delta))

    def residual(self, y, eta):
        return ops.clip(y - eta, -self.delta, self.delta)

    def dual_value(self, y, u):  # |u| <= delta holds for every residual, and so for what is scaled down
        return y * u - 0.5 * u**2

    def get_config(self):
        return {"delta": self.delta}


def huber_value(y, eta, delta=1.0):
    away = np.abs(y - eta)
    return np.where(away < delta, 0.5 * away**2, delta * (away - 0.5 * delta))


def huber_slope(y, eta, delta=1.0):
    return np.clip(eta - y, -delta, delta)


CASES = {"negative prior": (dict(code_prior="test_negative"), (-1,), ()),
         "Huber": (dict(likelihood="test_huber", code_prior="soft"), (1, -1), (huber_value, huber_slope)),
         "both, as objects": (dict(likelihood=Huber(1.0), code_prior=NegativeExponential()), (-1,),
                              (huber_value, huber_slope))}


@pytest.fixture(scope="module")
def signal():
    """Noise, with a few samples that lie far off."""
    rng = np.random.default_rng(3)
    signal = rng.standard_normal((2, 50, 1))
    signal[:, ::17] += 6.0
    return signal.astype("float32")


def build(options, **more):
    model = kc.CRsAE(2, 7, lambda_init=0.5, seed=1, **{"iterations": 2000, **options, **more})
    model.build((None, None, 1))
    return model


def reference(model, signal, signs, functions):
    """SciPy's codes and least objectives."""
    matrix, positions = dictionary_matrix(
        keras.ops.convert_to_numpy(model.dictionary.unit_kernel()).astype("float64"), (50,), (1,))
    found = [minimise(matrix, y.ravel().astype("float64"), 0.5, signs, *functions) for y in signal]
    return np.stack([code.reshape(*positions, 2) for code, _ in found]), np.array([value for _, value in found])


@pytest.mark.parametrize("case", CASES)
def test_dense_codes_are_those_of_scipy_and_the_gap_is_true(case, signal):
    options, signs, functions = CASES[case]
    model = build(options)
    expected, least = reference(model, signal, signs, functions)
    code = model.encode(signal)
    assert 5 < np.count_nonzero(np.abs(expected) > 1e-6) < 0.9 * expected.size
    np.testing.assert_allclose(code, expected, atol=5e-3 * np.abs(expected).max())
    rough = build(options, iterations=3).convergence(signal)
    done = model.convergence(signal, code)
    for reached in (rough, done):
        assert (reached.objective >= least * (1 - 1e-6)).all()
        assert (reached.objective - reached.gap <= least * (1 + 1e-6)).all()
    assert (done.gap < 1e-3 * least).all() and (rough.gap > 10 * done.gap).all()


def test_the_active_set_solves_a_prior_of_the_users_own(signal):
    code = build(CASES["negative prior"][0]).encode(signal)
    active = build(CASES["negative prior"][0], active=True, tolerance=1e-5, iterations=200)
    assert code.min() < -1 and code.max() == 0
    np.testing.assert_allclose(active.encode(signal), code, atol=3e-3 * np.abs(code).max())
    assert (active.convergence(signal).remaining < 1e-3).all()
    mask = (np.random.default_rng(0).random(signal.shape) > 0.1).astype("float32")
    np.testing.assert_allclose(active.encode(signal, mask=mask),
                               build(CASES["negative prior"][0]).encode(signal, mask=mask), atol=1e-2)


def test_the_active_set_refuses_another_likelihood():
    with pytest.raises(ValueError, match="(?s)Gaussian likelihood.*active=False.*Huber"):
        build(CASES["Huber"][0], active=True)


@pytest.mark.parametrize("case", CASES)
def test_models_are_saved_trained_and_loaded(case, signal, tmp_path):
    model = build(CASES[case][0], iterations=10, gradient="decoder")
    model.compile(keras.optimizers.Adam(1e-2))
    losses = model.fit(signal, epochs=6, batch_size=2, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    if not model.likelihood.quadratic:  # the loss is the mean of the likelihood's value
        expected = huber_value(signal, model.reconstruct(signal)).mean()
        assert model.evaluate(signal, verbose=0)[0] == pytest.approx(expected, rel=1e-4)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert type(loaded.code_prior) is type(model.code_prior) and type(loaded.likelihood) is type(model.likelihood)
    assert loaded.likelihood.get_config() == model.likelihood.get_config()
    np.testing.assert_allclose(loaded.encode(signal), model.encode(signal), atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_what_has_no_form_in_a_graph_is_not_exported(case, tmp_path):
    from crsae_onnx.convert import convert

    with pytest.raises(ValueError, match="has no form in an ONNX graph.*Encode with Keras"):
        convert(build(CASES[case][0]), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_lambda_max_and_the_ceiling_follow_the_prior(signal):
    model = build(CASES["negative prior"][0])
    model.adapt(signal)
    matrix, _ = dictionary_matrix(
        keras.ops.convert_to_numpy(model.dictionary.unit_kernel()).astype("float64"), (50,), (1,))
    largest = max((-matrix.T @ y.ravel()).max() for y in signal)
    found = kc.lambda_max(signal, keras.ops.convert_to_numpy(model.dictionary.kernel), code_prior="test_negative")
    assert found == pytest.approx(largest, rel=1e-5)
    model.lambda_reg.assign(np.full(2, 1.001 * largest))
    assert not model.encode(signal).any()


def test_a_prior_without_dual_excess_encodes_and_trains_and_the_rest_refuses(signal):
    class Plain(NegativeExponential):
        def dual_excess(self, correlation):
            return None

    model = build(dict(code_prior=Plain()), iterations=10, gradient="decoder")
    model.compile(keras.optimizers.Adam(1e-2))
    assert np.isfinite(model.fit(signal, verbose=0).history["loss"]).all()
    np.testing.assert_array_equal(float(model.training_state.lambda_ceiling), np.inf)
    with pytest.raises(ValueError, match="Plain has no dual excess"):
        model.convergence(signal)
    with pytest.raises(ValueError, match="no dual excess.*`dual_excess`"):
        kc.lambda_max(signal, np.ones((7, 1, 2)), code_prior=Plain())
    with pytest.raises(ValueError, match="that has a `dual_excess`.*Plain.*active=False"):
        build(dict(code_prior=Plain()), active=True)


def test_data_that_the_prior_excludes_leave_lambda_alone():
    """Positive data, positive filters, negative codes only: there is nothing to code, and no ceiling of zero."""
    model = build(CASES["negative prior"][0], iterations=5, gradient="decoder")
    model.set_dictionary(np.ones((7, 1, 2)) + np.eye(7)[:, None, :2])
    model.compile(keras.optimizers.Adam(1e-2))
    signal = 1.0 + np.random.default_rng(0).random((4, 50, 1)).astype("float32")
    with pytest.warns(UserWarning, match="All codes are zero"):
        model.fit(signal, batch_size=2, epochs=2, verbose=0)
    assert (np.asarray(model.lambda_reg) > 0.3).all() and not model.encode(signal).any()


def test_noise_is_estimated_for_the_gaussian_alone():
    for options in (dict(sigma="estimate"), dict(sigma_learning=True)):
        with pytest.raises(ValueError, match="measure Gaussian noise.*Give `sigma` a number"):
            build(CASES["Huber"][0], **options)


def test_without_a_bound_of_the_curvature_steps_are_found_or_given(signal):
    class Steep(Huber):
        curvature = None

    expected = build(CASES["Huber"][0]).encode(signal)
    for options in (dict(), dict(step_size=0.3)):
        model = build(dict(likelihood=Steep(), code_prior="soft"), **options)
        assert model.encoder.solver.adaptive == (not options)
        np.testing.assert_allclose(model.encode(signal), expected, atol=1e-3)
    with pytest.raises(ValueError, match="Steep has none.*solver='backtracking'.*Received: solver=ISTA"):
        build(dict(likelihood=Steep()), solver="ista")


def test_a_likelihood_without_conjugate_has_no_certificate(signal):
    class Plain(Huber):
        def dual_value(self, y, u):
            return None

    with pytest.raises(ValueError, match="Plain has no dual value.*`dual_value`"):
        build(dict(likelihood=Plain()), iterations=5).convergence(signal)
