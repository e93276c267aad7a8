"""The loop that carries a baseline of each signal; the ways of running are tested through the encoder."""

import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.layers.solver_loop import _body_length
from keras_crsae.problem import Binomial, GroupSparse


@pytest.mark.parametrize("count", [1, 7, 10, 12, 29, 59, 99, 399, 401])
def test_few_iterations_are_traced_beside_the_loop(count):
    length = _body_length(count)
    assert 7 <= length <= 12 and length + count % length <= max(length, 13)


def layer(likelihood, iterations=1000, scope="signal", size=5, rank=1, prior="nonnegative_soft", **options):
    dictionary = kc.ConvDictionary(2, size, rank=rank, strides=options.pop("strides", 1), kernel_initializer="ones")
    made = kc.SparseCoding(kc.SparseCodingCell(dictionary, likelihood=likelihood, code_prior=prior, lambda_init=1.0),
                           iterations=iterations, baseline_scope=scope, **options)
    return made


def run(call, *given, **options):
    """By a graph."""
    return tf.function(lambda: call(*given, **options), autograph=False)()


@pytest.mark.parametrize("options", [dict(), dict(block_size=1), dict(strides=2),
                                     dict(remat=True)], ids=str)
@pytest.mark.parametrize("kind", ["poisson", "binomial"])
def test_a_baseline_of_each_signal_is_the_best_one_and_the_code_is_the_one_for_it(rng, kind, options):
    trials = 10 if kind == "binomial" else 1
    likelihood = Binomial(10) if kind == "binomial" else "poisson"
    mean = np.array([[0.05, 0.3], [0.6, 0.1], [0.2, 0.2]])[:, None]  # (signals, 1, channels)
    counts = rng.binomial(trials, np.broadcast_to(mean, (3, 61, 2))) if kind == "binomial" else \
        rng.poisson(10 * np.broadcast_to(mean, (3, 61, 2)))
    y, mask = (counts / trials).astype("float32"), np.ones((3, 61, 2), "float32")
    mask[:, 20:30] = 0
    free = layer(likelihood, **options)
    free.build(y.shape)
    code, baseline = run(free.code_and_baseline, y, mask=mask)
    assert baseline.shape == (3, 1, 2) and np.asarray(code).any()
    eta = np.asarray(free.cell.dictionary(code))[:, :61] + np.asarray(baseline)
    mean = np.exp(eta) if kind == "poisson" else 1 / (1 + np.exp(-eta))
    np.testing.assert_allclose(np.sum(mask * mean, axis=1), np.sum(mask * y, axis=1), rtol=2e-3)
    given = layer(likelihood, scope="channel", **options)
    given.build(y.shape)
    given.cell.dictionary.kernel.assign(free.cell.dictionary.kernel)
    np.testing.assert_allclose(run(given, y, mask=mask, baseline=baseline), code, atol=5e-3 * np.max(code))


def test_members_of_a_group_have_a_baseline_each_and_silence_a_finite_one(rng):
    y = rng.poisson(np.array([0.5, 2.0, 8.0])[:, None, None], (2, 3, 40, 1)).astype("float32")
    y[0, 0] = 0
    free = layer("poisson", iterations=200, size=(1, 5), rank=2, prior=GroupSparse())
    free.build(y.shape)
    code, baseline = run(free.code_and_baseline, y)
    assert code.shape == (2, 3, 36, 2) and baseline.shape == (2, 3, 1, 1) and np.isfinite(baseline).all()
    eta = np.asarray(free.cell.dictionary(code) + baseline)
    np.testing.assert_allclose(np.exp(eta).sum(axis=(2, 3)), np.maximum(y.sum(axis=(2, 3)), 0.5), rtol=0.02)


@pytest.mark.parametrize("options, words", [
    (dict(likelihood="gaussian"), "needs a likelihood of counts"),
    (dict(likelihood="poisson", scope="trial"), "`baseline_scope` must be one of"),
    (dict(likelihood="poisson", size=(2, 5), rank=2, strides=(2, 1), prior=GroupSparse()), "a stride of 1")], ids=str)
def test_baselines_that_cannot_be_found_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        layer(**options)
