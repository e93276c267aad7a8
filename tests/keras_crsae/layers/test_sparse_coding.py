"""The encoder against the float64 twin, and as a layer among other layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_crsae as kc
from keras_crsae.layers.sparse_coding import AUTO_ITERATIONS
from tests.twin import dictionary_matrix, fista

CASES = [((9,), 1, 3, 1, (60,), "nonnegative_soft"), ((9,), 1, 3, 1, (61,), "soft"),
         ((9,), 3, 2, 1, (50,), "soft"), ((8,), 1, 3, 3, (56,), "soft"), ((5, 5), 2, 3, 2, (15, 13), "soft")]


@pytest.mark.parametrize("size, channels, filters, stride, space, shrinkage", CASES)
@pytest.mark.parametrize("unroll", [False, True])
def test_encoder_equals_numpy_fista(rng, size, channels, filters, stride, space, shrinkage, unroll):
    rank = len(size)
    model = kc.CRsAE(filters, size, strides=stride, rank=rank, iterations=30, shrinkage=shrinkage, sigma=0.5,
                     lambda_init=list(np.linspace(0.8, 1.4, filters)), unroll=unroll, seed=3)
    signal = rng.standard_normal((2, *space, channels)).astype("float32")
    code = model.encode(signal)
    kernel = ops.convert_to_numpy(model.dictionary.unit_kernel()).astype("float64")
    strides = (stride,) * rank
    space = tuple(-(-(n - k) // stride) * stride + k for n, k in zip(space, size, strict=True))
    matrix, positions = dictionary_matrix(kernel, space, strides)
    step = float(model.step_size)
    threshold = np.tile(np.linspace(0.8, 1.4, filters), int(np.prod(positions))) * 0.25 * step
    for y, z in zip(signal, code, strict=True):
        padded = np.zeros((*space, channels))
        padded[tuple(slice(0, n) for n in y.shape[:-1])] = y
        observed = np.zeros_like(padded)
        observed[tuple(slice(0, n) for n in y.shape[:-1])] = 1
        seen = matrix * observed.ravel()[:, None]
        expected = fista(seen, padded.ravel(), threshold, step, 30, shrinkage == "soft")
        assert 0 < np.count_nonzero(expected) < expected.size
        np.testing.assert_allclose(z.ravel(), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("stride", [1, 3])
def test_encoder_equals_numpy_fista_at_any_length(rng, stride):
    model = kc.CRsAE(2, 8, strides=stride, iterations=20, lambda_init=0.5, seed=3)
    model.build((None, None, 1))
    kernel, step = ops.convert_to_numpy(model.dictionary.unit_kernel()).astype("float64"), float(model.step_size)
    for length in (*range(8, 30), 63, 64, 65):
        signal = 3 * rng.standard_normal((1, length, 1)).astype("float32")
        code = model.encode(signal)
        full = -(-(length - 8) // stride) * stride + 8
        matrix, (positions,) = dictionary_matrix(kernel, (full,), (stride,))
        expected = fista(matrix[:length], signal.ravel(), np.full(2 * positions, 0.5 * step), step, 20, False)
        assert code.shape == (1, positions, 2) and np.any(expected)
        np.testing.assert_allclose(code.ravel(), expected, atol=1e-4 * expected.max(), err_msg=str(length))


@pytest.mark.parametrize("shrinkage", ["soft", "nonnegative_soft"])
def test_long_run_reaches_the_convex_optimum(rng, shrinkage):
    from sklearn.linear_model import Lasso

    model = kc.CRsAE(2, 7, iterations=3000, shrinkage=shrinkage, sigma=1.0, lambda_init=0.5, seed=1)
    signal = rng.standard_normal((1, 60, 1)).astype("float32")
    code = model.encode(signal).ravel().astype("float64")
    kernel = ops.convert_to_numpy(model.dictionary.unit_kernel()).astype("float64")
    matrix, _ = dictionary_matrix(kernel, (60,), (1,))
    y = signal.ravel().astype("float64")
    best = Lasso(alpha=0.5 / 60, fit_intercept=False, positive=shrinkage != "soft", tol=1e-12,
                 max_iter=200000).fit(matrix, y).coef_

    def objective(z):
        return 0.5 * np.sum((y - matrix @ z) ** 2) + 0.5 * np.abs(z).sum()

    assert objective(code) <= objective(best) * (1 + 1e-5)
    assert (code.min() < 0) == (shrinkage == "soft")


@pytest.mark.parametrize("length", [40, 41, 47])
def test_training_and_a_call_agree_in_codes_and_gradients(rng, length):
    """In training the last block's tail is written in place, in a call that may be converted it is multiplied."""
    cell = kc.SparseCodingCell(kc.ConvDictionary(2, 9), lambda_init=0.3)
    coder, signal = kc.SparseCoding(cell, iterations=25), 2 * rng.standard_normal((3, length, 1)).astype("float32")
    coder.build(signal.shape)
    coder.refresh_in_training = False
    made = []
    for training in (False, True):
        with tf.GradientTape() as tape:
            code = coder(signal, training=training)
            loss = tf.reduce_sum((cell.dictionary(code) - signal) ** 2)
        made.append((code, *tape.gradient(loss, [cell.dictionary.kernel.value, cell.lambda_reg.value])))
    assert np.any(made[0][0])
    for one, other in zip(*made, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length, known, unroll", [  # whole blocks, and not
    (40, True, True), (41, True, True), (40, False, True), (41, False, True), (41, True, False)])
def test_training_compiled_by_xla_gives_the_same_gradients(rng, length, known, unroll):
    cell = kc.SparseCodingCell(kc.ConvDictionary(2, 9), lambda_init=0.3)
    coder = kc.SparseCoding(cell, iterations=12 if unroll else 25, unroll=unroll)
    signal = 2 * rng.standard_normal((3, length, 1)).astype("float32")
    coder.build(signal.shape)
    coder.refresh_in_training = False
    kernel, shape = coder.cell.dictionary.kernel.value, (3, length if known else None, 1)

    def gradient(signal):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((coder.cell.dictionary(coder(signal, training=True)) - signal) ** 2)
        return tape.gradient(loss, kernel)

    made = [tf.function(gradient, input_signature=[tf.TensorSpec(shape)], jit_compile=compiled)(signal)
            for compiled in (False, True)]
    assert np.any(made[0])
    np.testing.assert_allclose(*made, rtol=1e-4, atol=1e-4)


def test_cell_runs_under_a_stock_rnn(rng):
    dictionary = kc.ConvDictionary(2, 5)
    cell = kc.SparseCodingCell(dictionary, lambda_init=0.3)
    signal = ops.convert_to_tensor(rng.standard_normal((2, 20, 1)).astype("float32"))
    cell.build((None, 20, 1))
    states = cell.get_initial_state(batch_size=2)
    assert [tuple(s.shape[1:]) for s in states] == list(cell.state_size)
    for _ in range(12):
        output, states = cell(signal, states)
    expected = kc.SparseCoding(cell, iterations=12)(signal)
    np.testing.assert_allclose(output, expected, atol=1e-6)
    sequence = kc.SparseCoding(cell, iterations=12, return_sequences=True)(signal)
    assert sequence.shape == (2, 12, 16, 2)
    np.testing.assert_allclose(sequence[:, -1], expected, atol=1e-6)


def test_layers_compose_in_a_functional_model(rng, tmp_path):
    inputs = keras.Input((40, 1))
    coder = kc.SparseCoding(kc.SparseCodingCell(kc.ConvDictionary(3, 7), lambda_init=0.2), iterations=8)
    outputs = keras.layers.Dense(2)(keras.layers.GlobalMaxPooling1D()(coder(inputs)))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "mse")
    x = rng.standard_normal((8, 40, 1)).astype("float32")
    model.fit(x, np.zeros((8, 2), "float32"), verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)


def loops_that_keep_iterates(gradient, iterations=60):
    """For each loop of a training graph's forward pass: does it stack values for the gradient?"""
    cell = kc.SparseCodingCell(kc.ConvDictionary(2, 5), lambda_init=0.3)
    coder = kc.SparseCoding(cell, iterations=iterations, gradient=gradient)
    coder.build((None, 40, 1))

    @tf.function
    def step(signal):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(cell.dictionary(coder(signal, training=True)) ** 2)
        return tape.gradient(loss, cell.dictionary.kernel.value)

    graph = step.get_concrete_function(tf.TensorSpec((2, 40, 1))).graph
    loops = [op for op in graph.get_operations() if op.type in ("While", "StatelessWhile")]
    return [any(t.dtype == tf.variant for t in op.inputs) for op in loops]


def test_memory_of_cheap_gradients_does_not_grow_with_the_iterations():
    assert any(loops_that_keep_iterates("unrolled"))
    assert not any(loops_that_keep_iterates("decoder"))
    # One loop holds the first 50 iterations and keeps nothing; the last ten are one pass.
    assert not loops_that_keep_iterates("truncated")[0]
    assert loops_that_keep_iterates("truncated", 60) == loops_that_keep_iterates("truncated", 600)


def stage(filters, size, rank=None, **options):
    dictionary = kc.ConvDictionary(filters, size, rank=rank, **options)
    return kc.SparseCoding(kc.SparseCodingCell(dictionary, lambda_init=0.05), iterations=4)


@pytest.mark.parametrize("options", [{}, dict(channels=None)], ids=["by default", "None"])
@pytest.mark.parametrize("first, second, shape", [((4, 9), (6, 5), (60, 2)), ((3, (4, 4)), (5, (3, 3)), (16, 12, 1))],
                         ids=["signals", "images"])
def test_a_layer_on_the_codes_of_another_takes_its_filters_as_channels(rng, tmp_path, first, second, shape, options):
    model = keras.Sequential([keras.Input(shape), stage(*first, **options), stage(*second, **options)])
    dictionaries = [layer.cell.dictionary for layer in model.layers]
    assert [d.channels for d in dictionaries] == [shape[-1], first[0]]
    assert [tuple(d.kernel.shape)[-2:] for d in dictionaries] == [(shape[-1], first[0]), (first[0], second[0])]
    signal = rng.standard_normal((2, *shape)).astype("float32")
    code = model.predict(signal, verbose=0)
    assert code.shape == (2, *(n - np.max(first[1]) - np.max(second[1]) + 2 for n in shape[:-1]), second[0])
    model.save(tmp_path / "stack.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "stack.keras").predict(signal, verbose=0), code,
                               atol=1e-6)


def test_channels_are_set_by_the_signal_also_without_an_input_shape(rng):
    coder = stage(4, 9)
    decoder = coder.cell.dictionary
    model = keras.Sequential([coder, decoder])
    assert decoder.channels is None and coder.compute_output_shape((None, 60, 3)) == (None, 52, 4)
    assert model(rng.standard_normal((2, 60, 3)).astype("float32")).shape == (2, 60, 3)
    assert decoder.channels == 3
    alone = kc.ConvDictionary(4, 9)
    assert alone(np.zeros((1, 10, 4), "float32")).shape == (1, 18, 1)
    with pytest.raises(ValueError, match="1 channels.*Received"):
        kc.SparseCoding(kc.SparseCodingCell(alone)).build((None, 60, 3))


def test_the_mask_of_a_masked_array_is_that_of_observed_samples(rng):
    signal, mask = rng.standard_normal((2, 60, 1)).astype("float32"), rng.random((2, 60, 1)) < 0.8
    coder, masked = stage(3, 9), np.ma.masked_where(~mask, np.where(mask, signal, np.nan))
    np.testing.assert_array_equal(coder(masked), coder(np.where(mask, signal, 0), mask=mask))


def test_filters_that_others_changed_are_used_with_norm_one_and_their_own_step_size(rng):
    signal, coder = rng.standard_normal((2, 60, 1)).astype("float32"), stage(3, 9)
    coder(signal)
    spread = rng.standard_normal((9, 1, 3)).astype("float32")
    low = np.ones((9, 1, 3), "float32") + 0.1 * spread  # alike: 1 / L is a third of the one before
    for kernel in (low, 3 * low, spread):
        coder.cell.dictionary.kernel.assign(kernel)
        code = np.asarray(coder(signal))
        expected = stage(3, 9)
        expected.build(signal.shape)
        expected.cell.dictionary.kernel.assign(kernel / np.linalg.norm(kernel, axis=(0, 1)))
        expected.cell.refresh_step_size()
        np.testing.assert_allclose(code, expected(signal), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(coder.cell.dictionary.kernel, axis=(0, 1)), 1, atol=1e-5)
        assert float(coder.cell.step_size) == pytest.approx(float(expected.cell.step_size), rel=1e-4)


@pytest.mark.parametrize("options, kind", [({}, "plain"), ({"active": True}, "active"),
                                           ({"solver": "backtracking"}, "adaptive")], ids=str)
def test_iterations_may_be_left_to_the_solver(options, kind):
    layer = kc.SparseCoding(kc.SparseCodingCell(kc.ConvDictionary(2, 9)), iterations="auto", **options)
    assert layer.iterations == AUTO_ITERATIONS[kind]
    assert kc.SparseCoding.from_config(layer.get_config()).iterations == layer.iterations


@pytest.mark.parametrize("likelihood, kind", [("poisson", "adaptive"), ("binomial", "gentle")])
def test_iterations_that_are_left_to_the_solver_follow_the_likelihood(likelihood, kind):
    cell = kc.SparseCodingCell(kc.ConvDictionary(2, 9), likelihood=likelihood)
    assert kc.SparseCoding(cell, iterations="auto").iterations == AUTO_ITERATIONS[kind]
