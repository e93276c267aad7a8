"""What trials need of the code, in whole models: groups over neurons, signs by filter; against independent twins."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.problem import GroupSparse, SignedByFilter
from tests.twin import dictionary_matrix

SHARE, WEIGHT = 0.6, 0.35
NEURONS, TIME, KERNEL = 3, 30, 7


@pytest.fixture(scope="module")
def raster():
    """Two trials of three neurons, (trials, neurons, time, 1)."""
    return np.random.default_rng(7).standard_normal((2, NEURONS, TIME, 1)).astype("float32")


def grouped(within="soft", iterations=1500, **options):
    model = kc.CRsAE(2, (1, KERNEL), iterations=iterations, lambda_init=WEIGHT, seed=3,
                     code_prior=GroupSparse(within, share=SHARE), **options)
    model.build((None, None, None, 1))
    return model


def group_optimum(model, trial, signed):
    """Code and least objective of one trial by SciPy, groups written out, norms smoothed by 1e-7."""
    from scipy.optimize import minimize

    kernel = keras.ops.convert_to_numpy(model.dictionary.unit_kernel()).astype("float64")
    matrix, positions = dictionary_matrix(kernel, trial.shape[:-1], (1, 1))
    y, shape = trial.ravel().astype("float64"), (*positions, 2)
    alone, together = WEIGHT * (1 - SHARE), WEIGHT * SHARE * np.sqrt(NEURONS)
    columns = matrix.shape[1]

    def objective(parts):
        z = parts[:columns] - parts[columns:]
        residual = matrix @ z - y
        norms = np.sqrt(np.square(z.reshape(shape)).sum(axis=0) + 1e-14)
        slope = matrix.T @ residual + together * (z.reshape(shape) / norms).ravel()
        return (0.5 * residual @ residual + alone * parts.sum() + together * norms.sum(),
                np.concatenate([slope + alone, alone - slope]))

    bounds = [(0, None)] * columns + [(0, None if signed else 0)] * columns
    found = minimize(objective, np.full(2 * columns, 1e-2), jac=True, method="L-BFGS-B", bounds=bounds,
                     options=dict(maxiter=20000, maxfun=40000, ftol=1e-15, gtol=1e-9, maxcor=50))
    return (found.x[:columns] - found.x[columns:]).reshape(shape), found.fun


@pytest.mark.parametrize("within", ["soft", "nonnegative_soft"])
def test_group_codes_and_their_certificate_are_those_of_a_convex_solver(within, raster, tmp_path):
    model = grouped(within)
    code = model.encode(raster)
    expected, least = (np.stack(v) for v in zip(*(group_optimum(model, trial, within == "soft") for trial in raster),
                                                strict=True))
    alive = np.abs(expected).max(axis=1) > 1e-4
    assert 0.1 < alive.mean() < 0.9
    np.testing.assert_allclose(code, expected, atol=3e-3 * np.abs(expected).max())
    done, rough = model.convergence(raster, code), model.convergence(raster, np.round(code, 1))
    for reached in (done, rough):
        assert (reached.objective >= least * (1 - 1e-5)).all()
        assert (reached.objective - reached.gap <= least * (1 + 1e-6)).all()
    assert (done.gap < 1e-3 * least).all() and (rough.gap > 5 * done.gap).all()
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.code_prior.get_config() == model.code_prior.get_config()
    np.testing.assert_allclose(loaded.encode(raster), code, atol=1e-6)


def test_events_of_several_neurons_come_together(raster):
    """At equal penalties of one neuron, groups share their times more than codes of each by itself."""
    code = grouped(iterations=200).encode(raster)
    alone = kc.CRsAE(2, (1, KERNEL), iterations=200, lambda_init=WEIGHT, seed=3, code_prior="soft")
    alone.build((None, None, None, 1))
    apart = alone.encode(raster)
    together, single = ((np.count_nonzero(c, axis=1)[c.any(axis=1)]).mean() for c in (code, apart))
    assert together > 1.2 * single


@pytest.mark.parametrize("block_size", [1, 4, "auto"])
def test_folding_leaves_groups_whole(block_size, raster):
    model = grouped(iterations=40, block_size=block_size)
    assert model.encoder.block is None or model.encoder.block[0] == 1
    np.testing.assert_allclose(model.encode(raster), grouped(iterations=40, block_size=1).encode(raster), atol=1e-5)


def test_groups_train_and_their_lambda_is_the_closed_form(raster):
    model = grouped(iterations=20, gradient="decoder", lambda_learning="em_closed_form",
                    lambda_prior=kc.GammaPrior(mean=0.1, strength=1.0))
    model.compile(keras.optimizers.Adam(0.0))
    code = model.encode(raster).astype("float64")
    history = model.fit(raster, batch_size=2, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    norms = (1 - SHARE) * np.abs(code).sum(axis=(1, 2)) + SHARE * np.sqrt(NEURONS) * \
        np.sqrt(np.square(code).sum(axis=1)).sum(axis=1)
    positions = NEURONS * (TIME - KERNEL + 1)
    expected = (2 * positions - 1) / (norms.mean(axis=0) + positions / 0.1)
    np.testing.assert_allclose(model.lambda_reg, expected, rtol=1e-4)
    assert (np.abs(expected - 0.2) > 2e-3).all()  # the codes count, beside the prior


def test_at_twice_the_ceiling_no_group_is_left(raster):
    model = grouped(iterations=200)
    model.adapt(raster)
    largest = 2 * float(model.training_state.lambda_ceiling)
    kernel = keras.ops.convert_to_numpy(model.dictionary.kernel)
    assert largest == pytest.approx(kc.lambda_max(raster, kernel, code_prior=model.code_prior), rel=1e-5)
    for factor, alive in ((1.001, False), (0.98, True)):
        model.lambda_reg.assign(np.full(2, factor * largest))
        assert model.encode(raster).any() == alive


def test_what_groups_cannot_have_is_refused(raster, tmp_path):
    from crsae_onnx.convert import convert

    with pytest.raises(ValueError, match="has no form in an ONNX graph.*Encode with Keras"):
        convert(grouped(iterations=2), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="active=True is for signals"):
        grouped(active=True)


def test_a_filter_of_sign_minus_one_is_one_turned_over(tmp_path):
    """Codes, certificate and training are those of a model whose filters are negated."""
    signal = np.random.default_rng(1).standard_normal((2, 60, 1)).astype("float32")
    options = dict(iterations=60, lambda_init=0.4, seed=2, gradient="decoder")
    signed, plain = (kc.CRsAE(2, 7, code_prior=prior, **options) for prior in
                     (SignedByFilter([1, -1]), "nonnegative_soft"))
    filters, turn = np.random.default_rng(2).standard_normal((7, 1, 2)), np.array([1, -1], "float32")
    signed.set_dictionary(filters)
    plain.set_dictionary(filters * turn)
    for _ in range(2):
        code = signed.encode(signal)
        np.testing.assert_allclose(code, plain.encode(signal) * turn, atol=1e-5)
        assert code[..., 0].min() == 0 and code[..., 1].max() == 0 and code[..., 1].any()
        np.testing.assert_allclose(signed.convergence(signal).gap, plain.convergence(signal).gap, atol=1e-4)
        for model in (signed, plain):
            model.compile(keras.optimizers.SGD(1e-2))
            model.fit(signal, epochs=1, verbose=0)
    np.testing.assert_allclose(signed.dictionary.kernel, plain.dictionary.kernel * turn, atol=1e-5)


@pytest.mark.parametrize("signs", [[1, 1], [0, 0], [1, -1], [-1, 0]], ids=str)
def test_every_mixture_of_signs_exports(tmp_path, signs):
    from crsae_onnx import SparseEncoder
    from crsae_onnx.convert import convert

    signal = np.random.default_rng(1).standard_normal((1, 60, 1)).astype("float32")
    model = kc.CRsAE(2, 7, code_prior=SignedByFilter(signs), iterations=20, lambda_init=0.4, seed=2)
    model.build((None, None, 1))
    convert(model, tmp_path / "m.onnx")
    code = SparseEncoder(tmp_path / "m.onnx").encode(signal)
    np.testing.assert_allclose(code, model.encode(signal), atol=1e-4)
    assert code[..., 0].any() and code[..., 1].any() and (code * signs >= 0).all()
