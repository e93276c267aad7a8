"""The encoder on measured data: codes against SciPy in float64, step sizes against NumPy's SVD."""

import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from keras import ops

from keras_crsae.layers import ConvDictionary, SparseCoding, SparseCodingCell, UnrolledCoding
from keras_crsae.layers.measured_coding import MeasuredDictionary
from keras_crsae.problem import Blur, Identity, Mask, Matrix, Poisson, Subsample
from tests.twin import dictionary_matrix, minimise

RNG = np.random.default_rng(8)
PHI, STACK = RNG.standard_normal((10, 20)) / 3, RNG.standard_normal((3, 10, 20)) / 3
#: Name -> measurement, shape of the data, options of the dictionary, options of the call.
CASES = {
    "matrix": (Matrix(PHI), (2, 10, 1), dict(kernel_size=5), {}),
    "matrix, strides, channels": (Matrix(PHI), (2, 10, 2), dict(kernel_size=6, strides=4), {}),
    "sparse": (Matrix(scipy.sparse.csr_matrix(PHI * (np.abs(PHI) > 0.3))), (2, 10, 1), dict(kernel_size=5), {}),
    "dense": (Matrix(PHI), (2, 10, 1), dict(kernel_size=20, filters=7), {}),
    "dense images": (Matrix(PHI, (4, 5, 1)), (2, 10, 1, 1), dict(kernel_size=(4, 5), filters=6), {}),
    "images": (Matrix(PHI, (4, 5, 1)), (2, 10, 1, 1), dict(kernel_size=(2, 3)), {}),
    "stack, one each": (Matrix(STACK), (2, 10, 1), dict(kernel_size=5), dict(operator=np.array([2, 0]))),
    "stack, one for all": (Matrix(STACK), (2, 10, 1), dict(kernel_size=5), dict(operator=1)),
    "dense stack, one each": (Matrix(STACK), (2, 10, 1), dict(kernel_size=20, filters=5),
                              dict(operator=np.array([2, 0]))),
    "dense stack, one for all": (Matrix(STACK), (2, 10, 1), dict(kernel_size=20, filters=5), dict(operator=1)),
    "subsample": (Subsample(3, 1), (2, 10, 2), dict(kernel_size=5, strides=2), {}),
    "blur": (Blur([0.2, 0.5, 0.3]), (2, 20, 2), dict(kernel_size=5), {}),
    "valid blur": (Blur([0.2, 0.5, 0.3], "valid"), (2, 18, 1), dict(kernel_size=5, strides=2), {}),
    "blurred images": (Blur(np.ones((3, 3)) / 9), (2, 7, 8, 1), dict(kernel_size=(3, 3)), {}),
    "mask": (Matrix(PHI), (2, 10, 1), dict(kernel_size=5), dict(mask=RNG.random((2, 10, 1)) < 0.7)),
    "dense mask": (Matrix(PHI), (2, 10, 1), dict(kernel_size=20, filters=5), dict(mask=RNG.random((2, 10, 1)) < 0.7)),
}


def encoder(measurement, shape, options, **more):
    rank = len(shape) - 2
    dictionary = ConvDictionary(**{"filters": 2, **options}, rank=rank,
                                channels=measurement.signal_channels(shape[-1]))
    cell = SparseCodingCell(dictionary, code_prior="soft", lambda_init=0.3, measurement=measurement, dtype="float64")
    made = SparseCoding(cell, dtype="float64", **{"iterations": 600, **more})
    made.build(shape)
    return made


def matrices(made, shape, call):
    """Phi D as a matrix for each signal, by NumPy; masked rows are zero."""
    measurement, dictionary = made.cell.measurement, made.cell.dictionary
    space, channels = measurement.signal_space(shape[1:-1]), measurement.signal_channels(shape[-1])
    kernel = ops.convert_to_numpy(dictionary.unit_kernel())
    padded = tuple(-(-(n - k) // s) * s + k for n, k, s in
                   zip(space, dictionary.kernel_size, dictionary.strides, strict=True))
    whole = dictionary_matrix(kernel, padded, dictionary.strides)[0]
    whole = whole.reshape(*padded, channels, -1)[tuple(slice(0, n) for n in space)].reshape(-1, whole.shape[1])
    units = ops.convert_to_tensor(np.eye(len(whole)).reshape(-1, *space, channels))
    for i in range(shape[0]):
        operator = call.get("operator")
        operator = operator if operator is None or np.ndim(operator) == 0 else operator[i]
        phi = ops.convert_to_numpy(measurement.of_batch(operator, "float64").forward(units)).reshape(len(units), -1).T
        rows = 1.0 if "mask" not in call else call["mask"][i].reshape(-1, 1)
        yield rows * (phi @ whole)


@pytest.mark.parametrize("name", CASES)
def test_codes_minimise_the_measured_objective_and_steps_are_short_enough(name):
    measurement, shape, options, call = CASES[name]
    made, y = encoder(measurement, shape, options), np.random.default_rng(3).standard_normal(shape)
    codes = np.asarray(made(y, **call)).reshape(shape[0], -1)
    assert np.count_nonzero(codes) < codes.size
    for i, matrix in enumerate(matrices(made, shape, call)):
        data = y[i].ravel() * (1.0 if "mask" not in call else call["mask"][i].ravel())
        least = minimise(matrix, data, 0.3, [1, -1])[1]
        reached = 0.5 * np.sum((data - matrix @ codes[i]) ** 2) + 0.3 * np.abs(codes[i]).sum()
        assert reached <= least * (1 + 1e-5)
        assert float(made.cell.step_size) <= 1 / np.linalg.norm(matrix, 2) ** 2 * (1 + 1e-6)


@pytest.mark.parametrize("options", [
    dict(unroll=True), dict(remat=True), dict(tolerance=1e-9), dict(gradient="truncated"), dict(gradient="decoder"),
    dict(return_sequences=True)], ids=lambda o: next(iter(o)))
@pytest.mark.parametrize("name", ["matrix", "dense"])
def test_every_way_to_run_gives_the_same_code(name, options):
    measurement, shape, dictionary, call = CASES[name]
    plain, other = (encoder(measurement, shape, dictionary, **more) for more in (
        dict(iterations=150), dict(iterations=150, **options)))
    other.cell.dictionary.kernel.assign(plain.cell.dictionary.kernel)
    y = np.random.default_rng(3).standard_normal(shape)
    found = np.asarray(other(y, **call))
    found = found[:, -1] if "return_sequences" in options else found
    np.testing.assert_allclose(found, plain(y, **call), atol=1e-6)


def test_the_gradient_reaches_the_filters_through_the_matrix():
    measurement, shape, options, call = CASES["dense"]
    made, y = encoder(measurement, shape, options, iterations=5), tf.constant(RNG.standard_normal(shape))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(made(y, **call) ** 2)
    gradient = tape.gradient(loss, made.cell.dictionary.kernel.value)
    assert np.abs(np.asarray(gradient)).max() > 1e-3


@pytest.mark.parametrize("name", ["matrix", "dense", "stack, one each"])
def test_the_gradient_of_the_optimum_is_that_of_many_iterations(name):
    measurement, shape, options, call = CASES[name]
    rng, gradients = np.random.default_rng(0), []
    y, kernel = tf.constant(rng.standard_normal(shape)), None
    for gradient in ("unrolled", "implicit"):
        made = encoder(measurement, shape, options, gradient=gradient)
        kernel = rng.standard_normal(made.cell.dictionary.kernel.shape) if kernel is None else kernel
        made.cell.dictionary.kernel.assign(kernel / np.linalg.norm(kernel, axis=(0, 1)))
        made.cell.refresh_step_size()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(made(y, **call) ** 2)
        gradients.append(np.asarray(tape.gradient(loss, made.cell.dictionary.kernel.value)))
    np.testing.assert_allclose(gradients[1], gradients[0], atol=0.05 * np.abs(gradients[0]).max())


def test_a_mask_of_the_cell_is_that_of_a_call_and_gives_way_to_it():
    observed, y = (RNG.random((30, 1)) < 0.6).astype("float64"), RNG.standard_normal((2, 30, 1))
    plain = encoder(Identity(), y.shape, dict(kernel_size=5), iterations=20)
    masked = encoder(Mask(observed), y.shape, dict(kernel_size=5), iterations=20)
    masked.cell.dictionary.kernel.assign(plain.cell.dictionary.kernel)
    whole = np.broadcast_to(observed, y.shape)
    np.testing.assert_array_equal(masked(y), plain(y, mask=whole))
    np.testing.assert_array_equal(masked(y, mask=1 - whole), plain(y, mask=1 - whole))


def test_phi_d_and_its_adjoint_stand_in_for_a_dictionary():
    measurement, shape, options, _ = CASES["matrix, strides, channels"]
    made, y = encoder(measurement, shape, options), RNG.standard_normal(shape)
    both = MeasuredDictionary(made.cell.dictionary, measurement, y)
    code = RNG.standard_normal((2, *made.compute_output_shape(shape)[1:]))
    forward = np.asarray(both.synthesis(ops.convert_to_tensor(code)))
    assert forward.shape == shape
    np.testing.assert_allclose(np.sum(forward * y), np.sum(code * np.asarray(both.adjoint(ops.convert_to_tensor(y)))),
                               rtol=1e-6)


def test_what_a_measurement_excludes_is_refused():
    dictionary = ConvDictionary(2, 5)
    cell = SparseCodingCell(dictionary, measurement=Matrix(PHI))
    with pytest.raises(ValueError, match="mixes samples that `active` works on"):
        SparseCoding(cell, active=True)
    with pytest.raises(ValueError, match="use solver='fista'"):
        SparseCoding(cell, solver="backtracking")
    with pytest.raises(ValueError, match="mixes samples that `UnrolledCoding` works on"):
        UnrolledCoding(cell, 3)
    with pytest.raises(ValueError, match="Measurements other than masks are for Gaussian noise"):
        SparseCodingCell(dictionary, measurement=Matrix(PHI), likelihood=Poisson())
    cell.build((None, None, 1))
    with pytest.raises(ValueError, match="One iteration by hand"):
        cell(np.zeros((1, 10, 1)), cell.get_initial_state(signal=tf.zeros((1, 10, 1))))
