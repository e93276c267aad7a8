"""Known onsets (``support=``) against least squares and SciPy on the columns that are left, and top-k."""

import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.problem import GroupSparse
from tests.twin import dictionary_matrix, minimise

KERNEL, TIME, FILTERS = 15, 90, 2


@pytest.fixture(scope="module")
def data():
    """Three signals, and the onsets of their events: few, some near together; none in the last signal."""
    rng = np.random.default_rng(3)
    support = np.zeros((3, TIME - KERNEL + 1, FILTERS), "float32")
    for place in ((0, 4, 0), (0, 12, 1), (0, 40, 0), (0, 75, 1), (1, 20, 0), (1, 27, 1), (1, 60, 1)):
        support[place] = 1
    return rng.standard_normal((3, TIME, 1)).astype("float32"), support


def encoder(prior="soft", weight=1e-6, size=KERNEL, filters=FILTERS, rank=1, **options):
    """Smooth filters, for which ||D||^2 is far above 1."""
    bumps = np.hanning(KERNEL)[:, None] * np.array([1.0, 0.5]) + 0.1 * np.eye(KERNEL)[:, :2]
    cell = kc.SparseCodingCell(kc.ConvDictionary(filters, size, rank=rank), code_prior=prior, lambda_init=weight)
    layer = kc.SparseCoding(cell, **{"iterations": 40, **options})
    layer.build((None,) * (rank + 1) + (1,))
    bumps = (bumps / np.linalg.norm(bumps, axis=0))[:, :filters]
    cell.dictionary.set_kernel(bumps.reshape(cell.dictionary.kernel.shape))
    cell.refresh_step_size()
    return layer


def columns(layer, support, space=(TIME,)):
    """The dictionary's columns in one signal's support, and where they are."""
    kernel = np.asarray(layer.cell.dictionary.unit_kernel(), float)
    matrix, _ = dictionary_matrix(kernel, space, layer.cell.dictionary.strides)
    where = np.flatnonzero(support.ravel())
    return matrix[:, where], where


@pytest.mark.parametrize("solver", ["fista", "backtracking"])
@pytest.mark.parametrize("block_size", [1, "auto"])
def test_without_a_penalty_the_code_is_least_squares_on_the_support(block_size, solver, data):
    signal, support = data
    layer = encoder(block_size=block_size, solver=solver)
    code = np.asarray(layer(signal, support=support))
    assert not code[support == 0].any() and not code[2].any()
    for y, found, seen in zip(signal, code, support, strict=True):
        matrix, where = columns(layer, seen)
        expected = np.linalg.lstsq(matrix, y.ravel().astype(float), rcond=None)[0]
        np.testing.assert_allclose(found.ravel()[where], expected, atol=2e-3)
    short = encoder(block_size=block_size, solver=solver)
    short.cell.step_size_init = float(short.cell.step_size)  # 1 / ||D||^2, as if nothing were known
    rough = np.asarray(short(signal, support=support))
    if solver == "fista":
        assert np.abs(rough - code).max() > 0.02


def test_with_a_penalty_a_mask_and_signs_it_is_the_code_of_scipy(data):
    signal, support = data
    mask = (np.random.default_rng(0).random(signal.shape) > 0.2).astype("float32")
    layer = encoder("nonnegative_soft", weight=0.3, iterations=60)
    code = np.asarray(layer(signal, mask=mask, support=support))
    for y, m, found, seen in zip(signal[:2], mask, code, support, strict=False):
        matrix, where = columns(layer, seen)
        keep = m.ravel() > 0
        expected, _ = minimise(matrix[keep], y.ravel()[keep].astype(float), 0.3, (1,))
        np.testing.assert_allclose(found.ravel()[where], expected, atol=1e-3)


def test_a_graph_of_open_sizes_a_common_support_and_ones_everywhere(data):
    signal, support = data
    layer = encoder(weight=0.2)
    graph = tf.function(lambda y, s: layer(y, support=s),
                        input_signature=[tf.TensorSpec((None, None, 1)), tf.TensorSpec((None, None, FILTERS))])
    np.testing.assert_allclose(graph(signal, support), layer(signal, support=support), atol=1e-5)
    alone = np.concatenate([np.asarray(layer(y[None], support=support[:1])) for y in signal])
    np.testing.assert_allclose(layer(signal, support=support[:1]), alone, atol=1e-5)
    everywhere = layer(signal, support=np.ones_like(support))
    np.testing.assert_allclose(everywhere, layer(signal), atol=1e-5)


@pytest.mark.parametrize("gradient", ["unrolled", "decoder"])
def test_gradients_and_remat_follow_the_longer_steps(gradient, data):
    signal, support = (tf.constant(a) for a in data)
    found = []
    for options in (dict(), dict(remat=True), dict(unroll=True)):
        layer = encoder(weight=0.2, iterations=20, gradient=gradient, **options)
        with tf.GradientTape() as tape:
            code = layer(signal, support=support, training=True)
            loss = tf.reduce_mean((layer.cell.dictionary(code) - signal) ** 2)
        found.append(tape.gradient(loss, layer.cell.dictionary.kernel.value).numpy())
    assert np.abs(found[0]).max() > 1e-3
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5)


def test_values_outside_of_the_support_have_no_part_in_the_norm_of_their_group():
    """Of three neurons two have an onset: their code is that of a group of the two, at the weight of three."""
    rng = np.random.default_rng(1)
    signal = rng.standard_normal((1, 3, TIME, 1)).astype("float32")
    support = np.zeros((1, 3, TIME - KERNEL + 1, 1), "float32")
    support[0, :2, 30], support[0, :2, 70] = 1, 1
    layer = encoder(GroupSparse("soft", share=0.5), 0.4, (1, KERNEL), filters=1, rank=2)
    code = np.asarray(layer(signal, support=support))
    kernel = np.asarray(layer.cell.dictionary.unit_kernel())[0, :, 0, 0]
    for start in (30, 70):  # the onsets are apart, so each group is its own shrinkage of D^T y
        inner = signal[0, :2, start:start + KERNEL, 0] @ kernel
        soft = np.sign(inner) * np.maximum(np.abs(inner) - 0.2, 0)
        expected = soft * max(0.0, 1 - 0.2 * np.sqrt(3) / np.linalg.norm(soft))
        np.testing.assert_allclose(code[0, :2, start, 0], expected, atol=1e-4)
    assert np.count_nonzero(code) <= 4


@pytest.mark.parametrize("shape", [(3, TIME, FILTERS), (TIME - KERNEL + 1, FILTERS), (3, TIME - KERNEL + 1, 3)])
def test_a_support_of_another_shape_is_refused(shape, data):
    with pytest.raises(ValueError, match="`support` must be 0/1 of the code's shape"):
        encoder()(data[0], support=np.ones(shape, "float32"))


def test_the_largest_values_alone_are_kept_and_may_be_fitted_anew(data):
    signal, _ = data
    whole = np.asarray(encoder(weight=0.3, iterations=60)(signal))
    layer = encoder(weight=0.3, iterations=60, top_k=3)
    code = np.asarray(layer(signal))
    assert (np.count_nonzero(code, axis=1) == 3).all()
    np.testing.assert_allclose(code[code != 0], whole[code != 0], atol=1e-6)
    assert np.abs(whole[code == 0]).max() <= np.abs(code[code != 0]).max()
    anew = np.asarray(layer(signal, support=(code != 0).astype("float32")))
    fits = [np.square(signal - np.asarray(layer.cell.dictionary(c))).sum() for c in (code, anew)]
    assert fits[1] < fits[0]
    again = kc.SparseCoding.from_config(layer.get_config())
    assert again.top_k == 3
    with pytest.raises(ValueError, match="return_sequences=False"):
        encoder(top_k=2, return_sequences=True)
    with pytest.raises(ValueError, match="top_k"):
        encoder(top_k=0)
