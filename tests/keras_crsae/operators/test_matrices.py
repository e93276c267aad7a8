"""Products with sparse matrices and bounds of norms, against NumPy."""

import numpy as np
import pytest
import scipy.sparse
from keras import ops

from keras_crsae.operators import matrices


def test_sparse_products_are_numpys(rng):
    matrix = scipy.sparse.random(7, 11, 0.3, random_state=1, format="csr")
    tensor = matrices.sparse_tensor(matrix)
    for dtype in ("float32", "float64"):
        x, y = rng.standard_normal((4, 11)).astype(dtype), rng.standard_normal((4, 7)).astype(dtype)
        np.testing.assert_allclose(matrices.sparse_product(tensor, ops.convert_to_tensor(x)), x @ matrix.T, atol=1e-5)
        np.testing.assert_allclose(matrices.sparse_product(tensor, ops.convert_to_tensor(y), transpose=True),
                                   y @ matrix, atol=1e-5)


@pytest.mark.parametrize("squarings, above", [(8, 1.015), (4, 1.25)])
def test_the_bound_of_an_eigenvalue_is_above_it_and_close(squarings, above, rng):
    roots = rng.standard_normal((3, 30, 40)).astype("float32")
    grams = roots @ roots.transpose(0, 2, 1)
    true = np.linalg.eigvalsh(grams)[:, -1]
    found = np.asarray(matrices.largest_eigenvalue(ops.convert_to_tensor(grams), squarings))
    assert (true <= found).all() and (found <= above * true).all()


@pytest.mark.parametrize("shape", [(20, 33), (33, 20), (3, 20, 33)])
def test_spectral_norms_are_those_of_the_svd(shape, rng):
    matrix = rng.standard_normal(shape)
    true = np.linalg.norm(matrix, 2, axis=(-2, -1)).max()
    assert true <= matrices.spectral_norm(matrix) <= true * (1 + 1e-5)


@pytest.mark.parametrize("shape", [(30, 400), (300, 200)])
def test_spectral_norms_of_sparse_matrices(shape):
    matrix = scipy.sparse.random(*shape, 0.05, random_state=2)
    true = np.linalg.norm(matrix.toarray(), 2)
    assert true * (1 - 1e-6) <= matrices.spectral_norm(matrix) <= true * (1 + 1e-4)


def test_small_is_what_a_gram_matrix_can_be_had_of():
    assert matrices.is_small(100, 10**5) and not matrices.is_small(2000, 3000) and not matrices.is_small(1000, 10**8)
