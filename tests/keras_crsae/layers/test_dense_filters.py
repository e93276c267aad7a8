import keras
import numpy as np
import pytest

from keras_crsae.layers import ConvDictionary, SparseCoding, SparseCodingCell
from keras_crsae.layers.dense_filters import DensePart, check_unexplained
from tests.keras_crsae.operators.test_ridge import matrix


def cell(dense_filters=1, dense_penalty=1.0, strides=1, channels=1, **options):
    dictionary = ConvDictionary(4, 9, channels=channels, strides=strides)
    return SparseCodingCell(dictionary, dense_filters=dense_filters, dense_penalty=dense_penalty, **options)


@pytest.mark.parametrize("prior", ["soft", "nonnegative_soft"])
@pytest.mark.parametrize("strides, dense, penalty", [(1, 1, 2.0), (4, 1, None), (4, 2, 0.5)])
def test_where_sparse_codes_are_zero_the_dense_part_is_ridge_regression(rng, prior, strides, dense, penalty):
    layer = SparseCoding(cell(dense, penalty, strides, code_prior=prior, lambda_init=1e6), iterations=300)
    signal = rng.standard_normal((2, 101, 1)).astype("float32")
    code = np.asarray(layer(signal))
    assert not code[..., :-dense].any()
    a = matrix(np.asarray(layer.cell.dictionary.unit_kernel())[..., -dense:], strides, 101)
    both = np.concatenate([a, (penalty or 0.0) ** 0.5 * np.eye(a.shape[1])])
    for y, z in zip(signal[..., 0], code[..., -dense:], strict=True):
        best = np.linalg.lstsq(both, np.append(y, np.zeros(a.shape[1])), rcond=None)[0]
        np.testing.assert_allclose(a @ z.ravel(), a @ best, atol=1e-5)


def test_the_optimum_of_both_parts_fulfils_its_conditions(rng):
    """A^T r = ridge x, |B^T r| <= weight, with equality and the sign of u where u is not zero."""
    layer = SparseCoding(cell(1, 0.7, lambda_init=0.8, code_prior="soft"), iterations=1500)
    signal = rng.standard_normal((1, 60, 1)).astype("float32")
    code, dictionary = np.asarray(layer(signal)), layer.cell.dictionary
    correlation = np.asarray(dictionary.adjoint(signal - dictionary(code)))
    np.testing.assert_allclose(correlation[..., 3], 0.7 * code[..., 3], atol=1e-3)
    sparse, u = correlation[..., :3], code[..., :3]
    assert np.abs(sparse).max() < 0.8 + 1e-3 and 0 < np.count_nonzero(u) < u.size
    np.testing.assert_allclose(sparse[u != 0], 0.8 * np.sign(u[u != 0]), atol=1e-3)


@pytest.mark.parametrize("block_size", [1, 8])
@pytest.mark.parametrize("gradient", ["unrolled", "truncated", "decoder"])
def test_blocks_give_the_same_codes_and_gradients_pass(rng, block_size, gradient):
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    layer = SparseCoding(cell(lambda_init=0.5), iterations=12, block_size=block_size, gradient=gradient)
    plain = SparseCoding(layer.cell, iterations=12, block_size=1)
    signal = rng.standard_normal((2, 61, 1)).astype("float32")
    np.testing.assert_allclose(layer(signal), plain(signal), atol=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(signal)))
    slope = tape.gradient(loss, layer.cell.dictionary.kernel.value)
    assert (slope is None) == (gradient == "decoder")
    assert slope is None or (np.isfinite(slope).all() and np.abs(slope).max() > 0)


@pytest.mark.parametrize("shared", [False, True])
def test_lambda_of_dense_filters_is_zero_and_stays_so(shared):
    made = cell(lambda_init=2.0, lambda_shared=shared, sigma=0.5)
    made.build((None, None, 1))
    assert np.asarray(made.lambda_reg).tolist() == ([2.0] if shared else [2.0, 2.0, 2.0, 0.0])
    made.lambda_reg.assign(made.lambda_reg.constraint(made.lambda_reg + 1.0))
    np.testing.assert_allclose(made.penalty_weight(), [0.75] * 3 + [1.0])
    np.testing.assert_allclose(made.penalty_weight(sigma=1.0), [1.5] * 3 + [1.0])
    assert cell(dense_penalty=None, strides=2).dense_weight == 0.0


def test_a_cell_comes_back_from_its_config():
    made = SparseCodingCell.from_config(cell(code_prior="soft").get_config())
    assert (made.dense_filters, made.dense_penalty, made.sparse_prior.signed) == (1, 1.0, True)


@pytest.mark.parametrize("dense, strides, channels, explains", [(1, 1, 1, True), (1, 1, 2, False), (4, 4, 1, True),
                                                                (3, 4, 1, False)])
def test_dense_filters_that_explain_every_signal_need_a_penalty(dense, strides, channels, explains):
    dictionary = ConvDictionary(dense + 1, 9, strides=strides, channels=channels)
    check_unexplained(dense, 0.1, dictionary)
    if explains:
        with pytest.raises(ValueError, match=f"{dense} dense filter.* explain any signal.*`dense_penalty`"):
            check_unexplained(dense, None, dictionary)
    else:
        check_unexplained(dense, None, dictionary)


def test_what_dense_filters_exclude_is_refused():
    with pytest.raises(ValueError, match="at least one filter sparse"):
        cell(dense_filters=4)
    with pytest.raises(ValueError, match="None where it is 0"):
        cell(dense_filters=0)
    with pytest.raises(ValueError, match="need the Gaussian likelihood.*Poisson"):
        cell(likelihood="poisson")
    with pytest.raises(ValueError, match="dense_penalty"):
        cell(dense_penalty=-1.0)


def test_the_sparse_adjoint_is_that_of_the_first_filters(rng):
    made = cell()
    made.build((None, None, 1))
    signal = rng.standard_normal((2, 50, 1)).astype("float32")
    part = DensePart(made.dictionary, 1, 1.0)
    np.testing.assert_allclose(part.adjoint_of_sparse(signal), made.dictionary.adjoint(signal)[..., :3], atol=1e-6)
