"""Every registered likelihood, code prior, solver and measurement goes through everything: dense codes against SciPy,
the active set, the certificate, saving, export. What a part cannot do it must refuse.

A name that is registered and missing in the lists below fails the first test: give it its independent form there.
"""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.problem import SignedByFilter, code_priors, likelihoods, measurements
from keras_crsae.solvers import ISTA
from keras_crsae.solvers import base as solvers
from keras_crsae.solvers.active_set import ActiveSet
from tests.twin import dictionary_matrix, minimise

BASELINE = -0.4
#: Name -> value and its derivative by D z, in NumPy, of y = data / size.
LIKELIHOODS = {"gaussian": (lambda y, eta: 0.5 * (y - eta) ** 2, lambda y, eta: eta - y),
               "poisson": (lambda y, eta: np.exp(eta + BASELINE) - y * (eta + BASELINE),
                           lambda y, eta: np.exp(eta + BASELINE) - y),
               "binomial": (lambda y, eta: np.logaddexp(0, eta + BASELINE) - y * (eta + BASELINE),
                            lambda y, eta: 1 / (1 + np.exp(-eta - BASELINE)) - y)}
#: Name -> options of its model.
OPTIONS = {"gaussian": dict(sigma=0.5), "poisson": dict(exposure=4.0, baseline=BASELINE),
           "binomial": dict(trials=9, baseline=BASELINE)}
LAMBDA = {"gaussian": 0.8, "poisson": 1.5, "binomial": 1.0}
#: What the data are divided by, and sigma^2.
SIZE, DISPERSION = {"poisson": 4.0, "binomial": 9.0}, {"gaussian": 0.5**2, "poisson": 1 / 4, "binomial": 1 / 9}
#: Name -> signs of the codes that the prior allows, for both filters or each of them; its penalty is |z|.
CODE_PRIORS = {"soft": (1, -1), "nonnegative_soft": (1,), "signed_by_filter": ((-1, -1), (0, 1))}
#: Objects of the names that need arguments, and names whose penalty is another (``test_trials``).
PRIORS = {"signed_by_filter": SignedByFilter([-1, 0])}
OTHER_PENALTIES = {"group_sparse"}
#: Name -> iterations that reach the optimum.
SOLVERS = {"fista": 1500, "ista": 6000, "backtracking": 1500, "active_set": 200}
#: Names whose data are no signals (``models/test_measured.py``).
OTHER_MEASUREMENTS = {"matrix", "subsample", "blur", "own"}
#: Name -> the mask that a call is given.
MEASUREMENTS = {"identity": None, "mask": (np.random.default_rng(5).random((2, 40, 1)) > 0.15).astype("float32")}


@pytest.mark.parametrize("registry, tested", [
    (likelihoods.registry, LIKELIHOODS), (code_priors.registry, CODE_PRIORS), (solvers.registry, SOLVERS),
    (measurements.registry, MEASUREMENTS)], ids=lambda value: getattr(value, "kind", ""))
def test_every_registered_name_is_in_the_lists(registry, tested):
    ours = {n for n in registry.names() if registry.class_of(n).__module__.startswith("keras_crsae")}
    assert ours - OTHER_PENALTIES - OTHER_MEASUREMENTS == set(tested)


@pytest.fixture(scope="module")
def signals():
    rng, shape = np.random.default_rng(4), (2, 40, 1)
    made = {"gaussian": rng.standard_normal(shape), "poisson": rng.poisson(4.0, shape),
            "binomial": rng.binomial(9, 0.4, shape)}
    return {name: signal.astype("float32") for name, signal in made.items()}


@pytest.fixture(scope="module")
def models():
    """Models by their options, built once and used by the tests of both measurements."""
    made = {}

    def model(likelihood, prior, solver):
        key = (likelihood, prior, solver)
        if key not in made:
            tolerance = 1e-5 if solvers.get(solver).active else None
            first = LAMBDA[likelihood] * np.array([1.0, 1.3])
            made[key] = kc.CRsAE(2, 7, likelihood=likelihood, code_prior=PRIORS.get(prior, prior), solver=solver,
                                 seed=2, iterations=SOLVERS[solver], lambda_init=first, tolerance=tolerance,
                                 **OPTIONS[likelihood])
            made[key].build((None, None, 1))
        return made[key]

    return model


def optimum(model, likelihood, prior, signal, mask):
    """Codes and least objectives by SciPy, in float64."""
    kernel = keras.ops.convert_to_numpy(model.dictionary.unit_kernel()).astype("float64")
    matrix, positions = dictionary_matrix(kernel, signal.shape[1:-1], (1,))
    observed = np.ones_like(signal) if mask is None else mask
    codes, least, weight = [], [], LAMBDA[likelihood] * DISPERSION[likelihood] * np.array([1.0, 1.3])
    signs = [sign if np.isscalar(sign) else np.tile(sign, positions[0]) for sign in CODE_PRIORS[prior]]
    for y, m in zip(signal.astype("float64") / SIZE.get(likelihood, 1.0), observed, strict=True):
        keep = m.ravel() > 0
        code, value = minimise(matrix[keep], y.ravel()[keep], np.tile(weight, positions[0]), signs,
                               *LIKELIHOODS[likelihood])
        codes.append(code.reshape(*positions, -1))
        least.append(value)
    return np.stack(codes), np.array(least)


@pytest.mark.parametrize("measurement", MEASUREMENTS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("prior", CODE_PRIORS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_codes_certificate_saving_and_export(likelihood, prior, solver, measurement, models, signals, tmp_path):
    refused = refusal(likelihoods.get(likelihood), solvers.get(solver))
    if refused is not None:
        with pytest.raises(ValueError, match=refused):
            models(likelihood, prior, solver)
        return
    model, mask, signal = models(likelihood, prior, solver), MEASUREMENTS[measurement], signals[likelihood]
    expected, least = optimum(model, likelihood, prior, signal, mask)
    assert 0 < np.count_nonzero(np.abs(expected) > 1e-6) < expected.size
    code = model.encode(signal, mask=mask)
    np.testing.assert_allclose(code, expected, atol=1e-3 * np.abs(expected).max())
    certificate_holds(model, likelihood, prior, signal, mask, least)
    if mask is not None:
        return
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    kinds = [type(getattr(m, name)) for m in (model, loaded) for name in ("likelihood", "code_prior")]
    assert kinds[:2] == kinds[2:] and type(loaded.encoder.solver) is type(model.encoder.solver)
    np.testing.assert_allclose(loaded.encode(signal), code, atol=1e-5)
    exports_or_refuses(model, signal, tmp_path / "m.onnx")


def refusal(likelihood, solver):
    """What a model says whose solver cannot have this likelihood; None: it can."""
    if likelihood.curvature is None and isinstance(solver, ISTA | ActiveSet):
        return "needs a bound of the likelihood's curvature.*solver='backtracking'"
    return "needs the Gaussian likelihood.*active=False" if solver.active and not likelihood.quadratic else None


def certificate_holds(model, likelihood, prior, signal, mask, least):
    """The lower bound is one, also for a rough code, and tight at convergence."""
    rough = np.zeros((2, 34, 2), "float32")
    rough[:, 10] = 0.3 * np.array(CODE_PRIORS[prior][0])
    if likelihoods.get(likelihood).dual_value(1.0, 1.0) is None:
        with pytest.raises(ValueError, match="has no dual value"):
            model.convergence(signal, rough, mask=mask)
        return
    at_rough, at_end = model.convergence(signal, rough, mask=mask), model.convergence(signal, mask=mask)
    size = np.abs(least)
    for reached in (at_rough, at_end):
        assert (reached.objective >= least - 1e-7 * size).all()
        assert (reached.objective - reached.gap <= least + 1e-7 * size).all()
    assert (at_rough.gap > 1e-3 * size).all() and (at_end.gap < 1e-3 * size).all()


def exports_or_refuses(model, signal, path):
    """A file that gives the dense codes, or a refusal that names the way out."""
    from crsae_onnx import SparseEncoder
    from crsae_onnx.convert import convert

    solver, counts = model.encoder.solver, model.likelihood.size_name is not None
    if not solver.exports or solver.adaptive and not counts:
        with pytest.raises(ValueError, match="has no form in an exported graph.*Encode with Keras"):
            convert(model, path)
        return
    if model.likelihood.onnx is None or model.code_prior.onnx is None:
        with pytest.raises(ValueError, match="has no form in an ONNX graph.*Encode with Keras"):
            convert(model, path)
        return
    convert(model, path)
    if solver.adaptive:  # a step near its bound: codes may differ where their objectives do not
        from crsae_onnx.validate import validate

        validate(model, path)
        return
    dense = model.export_reference(model.encoder.tolerance)
    np.testing.assert_allclose(SparseEncoder(path).encode(signal), dense.encode(signal), atol=1e-4)


@pytest.mark.parametrize("prior", CODE_PRIORS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_lambda_max_is_where_the_last_code_value_dies(likelihood, prior, signals):
    prior, signal, counts = PRIORS.get(prior, prior), signals[likelihood], likelihood in SIZE
    model = kc.CRsAE(2, 7, likelihood=likelihood, code_prior=prior, iterations=300, seed=2, **OPTIONS[likelihood])
    model.build((None, None, 1))
    largest = kc.lambda_max(signal, keras.ops.convert_to_numpy(model.dictionary.kernel), code_prior=prior,
                            likelihood=model.likelihood, baseline=BASELINE if counts else None)
    for factor, alive in ((1.001, False), (0.99, True)):
        model.lambda_reg.assign(np.full(2, factor * largest / DISPERSION[likelihood]))
        assert model.encode(signal).any() == alive
