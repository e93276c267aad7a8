"""Matrices as measurements: dense, sparse, stacks; bounds against NumPy's SVD; what is refused."""

import numpy as np
import pytest
import scipy.sparse
from keras import ops

from keras_crsae.problem import Matrix
from tests.twin import dictionary_matrix


@pytest.fixture
def matrix(rng):
    return rng.standard_normal((8, 15)).astype("float32") / 3


def test_time_channels_images_and_sparse_ones_agree_with_numpy(matrix, rng):
    x = rng.standard_normal((3, 15, 2)).astype("float32")
    expected = np.einsum("mn,bnc->bmc", matrix, x)
    sparse = scipy.sparse.csr_matrix(matrix)
    for measurement in (Matrix(matrix), Matrix(sparse)):
        np.testing.assert_allclose(measurement.forward(x), expected, atol=1e-5)
    image = x[..., :1].reshape(3, 3, 5, 1)
    flat = Matrix(matrix, signal_shape=(3, 5, 1))
    np.testing.assert_allclose(flat.forward(image), expected[:, :, :1, None], atol=1e-5)
    assert flat.adjoint(flat.forward(image)).shape == image.shape
    assert Matrix(sparse).norm == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-4)


def test_a_stack_gives_each_signal_its_own_matrix(matrix, rng):
    stack, x = Matrix(np.stack([matrix, 2 * matrix])), rng.standard_normal((2, 15, 1)).astype("float32")
    expected = np.einsum("mn,bnc->bmc", matrix, x)
    np.testing.assert_allclose(stack.of_batch(np.array([1, 0])).forward(x), expected * [[[2]], [[1]]], atol=1e-5)
    np.testing.assert_allclose(stack.of_batch(1).forward(x), 2 * expected, atol=1e-5)
    assert stack.norm == pytest.approx(2 * np.linalg.norm(matrix, 2), rel=1e-4)
    with pytest.raises(ValueError, match="stack of 2 matrices: say which one"):
        stack.of_batch()


@pytest.mark.parametrize("kernel_size, strides", [(5, 1), (6, 3), (15, 1)])
@pytest.mark.parametrize("stacked", [False, True])
def test_eigenvalues_and_norms_of_filters_are_those_of_the_svd(kernel_size, strides, stacked, matrix, rng):
    kernel = rng.standard_normal((kernel_size, 1, 4)).astype("float32")
    kernel /= np.sqrt(np.square(kernel).sum(axis=(0, 1)))
    padded = -(-(15 - kernel_size) // strides) * strides + kernel_size
    dictionary = dictionary_matrix(kernel.astype("float64"), (padded,), (strides,))[0][:15]
    true = np.linalg.norm(matrix.astype("float64") @ dictionary, 2) ** 2
    measurement = Matrix(np.stack([matrix, 0.5 * matrix]) if stacked else matrix)
    found = float(measurement.largest_eigenvalue(ops.convert_to_tensor(kernel), (strides,), lambda: 100.0))
    most = measurement.norm**2 * np.linalg.norm(dictionary, 2) ** 2 * 1.3 if stacked else true * 1.02
    assert true * (1 - 1e-6) <= found <= most
    if stacked:
        each = measurement.of_batch(np.array([0, 1])).largest_eigenvalue(ops.convert_to_tensor(kernel), (strides,),
                                                                         lambda: 100.0)
        np.testing.assert_allclose(each, [true, true / 4], rtol=0.02)
    if strides == 1:
        columns = np.linalg.norm(matrix @ dictionary, axis=0).reshape(-1, 4).max(axis=0)
        np.testing.assert_allclose(measurement.column_norms(ops.convert_to_tensor(kernel)), columns, rtol=1e-4)


def test_a_matrix_that_is_too_large_for_its_gram_matrix_takes_the_product_of_norms(rng):
    measurement = Matrix(scipy.sparse.random(1500, 3000, 1e-3, random_state=0))
    kernel = ops.ones((5, 1, 2)) / 5**0.5
    assert float(measurement.largest_eigenvalue(kernel, (1,), lambda: 7.0)) == pytest.approx(7 * measurement.norm**2)


@pytest.mark.parametrize("given, message", [
    (np.ones(4), "must have shape"), (np.ones((2, 3), complex), "real numbers"), (np.zeros((2, 3)), "all zero"),
    (np.array([[1, np.nan]]), "finite"), (np.array([[1, np.inf]]), "finite"), (np.ones((0, 4)), "rows and columns"),
    (np.stack([np.ones((2, 3)), np.zeros((2, 3))]), "of the stack is all zero"), ([["a", "b"]], "real numbers"),
    ([scipy.sparse.eye(3), scipy.sparse.eye(4)], "one shape")])
def test_what_is_no_matrix_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Matrix(given)


def test_shapes_that_do_not_fit_are_refused(matrix):
    with pytest.raises(ValueError, match="as many numbers as the matrix has columns, 15"):
        Matrix(matrix, signal_shape=(4, 4, 1))
    with pytest.raises(ValueError, match="acts on time"):
        Matrix(matrix).check(2)


@pytest.mark.parametrize("kind", ["dense", "stack", "sparse"])
def test_configs_are_plain_and_give_the_same_values(kind, matrix):
    import json

    given = {"dense": matrix, "stack": np.stack([matrix, matrix + 1]), "sparse": scipy.sparse.coo_matrix(matrix)}[kind]
    config = json.loads(json.dumps(Matrix(given).get_config()))
    loaded = Matrix.from_config(config).matrix
    dense = [a.toarray() if kind == "sparse" else a for a in (given, loaded)]
    np.testing.assert_array_equal(*dense)
