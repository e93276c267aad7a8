"""Known onsets, top-k and groups at the door of a model: encode, fit, streams, saving, refusals; counts and signals."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.problem import GroupSparse, SignedByFilter

KERNEL, TIME = 15, 90
POSITIONS = TIME - KERNEL + 1


@pytest.fixture(scope="module")
def trials():
    """Counts of 6 trials, where their events are, and the filter: a bump, raised amplitudes at known onsets."""
    rng = np.random.default_rng(0)
    filters = np.hanning(KERNEL + 2)[1:-1, None, None].copy()
    filters /= np.linalg.norm(filters)
    support = np.zeros((6, POSITIONS, 1), "float32")
    for trial in support:
        trial[rng.choice(np.arange(0, POSITIONS, 12), 3, replace=False)] = 1
    eta = np.stack([np.convolve(6.0 * s[:, 0], filters[:, 0, 0]) for s in support])[..., None]
    return rng.poisson(np.exp(eta - 1.0)).astype("float32"), support, filters


def poisson(filters=None, **options):
    model = kc.CRsAE(1, KERNEL, likelihood="poisson", seed=0, lambda_learning=None,
                     **{"iterations": 30, "gradient": "decoder", "lambda_init": 0.5, **options})
    if filters is not None:
        model.set_dictionary(filters)
    return model


def test_known_onsets_teach_the_filter_of_counts_and_streams_take_them(trials):
    counts, support, filters = trials
    kernels = []
    for stream in (False, True):
        model = poisson(kernel_regularizer=kc.regularizers.Smoothness(1e-3), kernel_constraint="non_neg")
        model.adapt(counts)
        model.compile(keras.optimizers.Adam(5e-2))
        if stream:
            batches = tf.data.Dataset.from_tensor_slices({"signal": counts, "support": support}).batch(6)
            model.fit(batches, epochs=25, verbose=0)
        else:
            model.fit(counts, support=support, epochs=25, batch_size=6, verbose=0)
        kernels.append(np.asarray(model.dictionary.kernel))
    assert kc.metrics.dictionary_error(filters, kernels[0])[0] < 0.35
    np.testing.assert_allclose(kernels[1], kernels[0], atol=1e-4)
    code = model.encode(counts, support=support)
    assert code.any() and not code[support == 0].any()
    logs = model.evaluate(counts, support=support, return_dict=True, verbose=0)
    assert logs["loss"] > logs["reconstruction_loss"]


def test_codes_of_counts_on_a_support_are_those_of_scipy(trials):
    from scipy.optimize import minimize

    counts, support, filters = trials
    model = poisson(filters, iterations=80)
    model.adapt(counts)
    code, baseline = model.encode(counts, support=support), float(model.baseline[0])
    weight = float(model.encoder.cell.penalty_weight()[0])
    for y, found, seen in zip(counts[:2, :, 0], code, support, strict=False):
        where = np.flatnonzero(seen)
        matrix = np.stack([np.convolve(np.eye(POSITIONS)[i], filters[:, 0, 0]) for i in where], axis=1)

        def objective(z, matrix=matrix, y=y):
            eta = matrix @ z + baseline
            return (np.exp(eta) - y * eta).sum() + weight * z.sum(), matrix.T @ (np.exp(eta) - y) + weight

        best = minimize(objective, np.zeros(len(where)), jac=True, bounds=[(0, None)] * len(where)).x
        np.testing.assert_allclose(found.ravel()[where], best, atol=2e-2)


def test_neurons_share_filters_and_have_a_baseline_each():
    """Two layouts of one thing: neurons as signals, and, without coupling, as rows of an image."""
    rng = np.random.default_rng(2)
    counts = rng.poisson(np.array([0.5, 4.0])[None, :, None, None] * np.ones((3, 2, TIME, 1))).astype("float32")
    options = dict(likelihood="poisson", baseline_scope="signal", iterations=40, seed=0, lambda_init=3.0)
    signals = kc.CRsAE(1, KERNEL, **options)
    rows = kc.CRsAE(1, (1, KERNEL), code_prior=GroupSparse(share=1e-6), **options)
    filters = np.hanning(KERNEL + 2)[1:-1]
    signals.set_dictionary(filters[:, None, None])
    rows.set_dictionary(filters[None, :, None, None])
    means = rows.mean(counts)
    np.testing.assert_allclose(means[:, :, :, 0].mean(axis=2), counts[:, :, :, 0].mean(axis=2), rtol=0.1)
    flat = signals.mean(counts.reshape(6, TIME, 1)).reshape(counts.shape)
    np.testing.assert_allclose(means, flat, rtol=0.05)


def test_top_k_is_an_option_of_the_model(trials, tmp_path):
    from crsae_onnx.convert import convert

    counts, _, filters = trials
    model = poisson(filters, top_k=2)
    code = model.encode(counts)
    assert (np.count_nonzero(code, axis=1) == 2).all()
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.encode(counts), code, atol=1e-5)
    np.testing.assert_allclose(model.encode(counts[:1]), code[:1], atol=1e-5)
    with pytest.raises(ValueError, match="top_k.*coded whole"):
        model.encode(counts, window=64)
    with pytest.raises(ValueError, match="top_k.*no form in an exported graph"):
        signals = kc.CRsAE(1, KERNEL, top_k=2)
        signals.build((None, None, 1))
        convert(signals, tmp_path / "m.onnx")


@pytest.mark.parametrize("prior", [SignedByFilter([-1]), "nonnegative_soft"], ids=str)
def test_signs_and_counts_go_together(prior, trials):
    counts, _, filters = trials
    model = poisson(filters, code_prior=prior, lambda_init=0.05)
    model.adapt(counts)
    code = model.encode(counts)
    side = code if prior == "nonnegative_soft" else -code
    assert side.max() > 0 and side.min() == 0
