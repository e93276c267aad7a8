"""Steps that are accepted or halved: the optimum, no divergence, few iterations, and every way of running them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.data import simulate_spikes, spike_templates
from keras_crsae.operators import convolution
from keras_crsae.problem import Binomial, Poisson, Problem, objective
from keras_crsae.solvers import FISTA, Backtracking
from keras_crsae.solvers.operations import SignalOperations
from keras_crsae.solvers.proximal_step import descent
from tests.twin import dictionary_matrix, minimise

POISSON = (lambda y, eta: np.exp(eta) - y * eta, lambda y, eta: np.exp(eta) - y)


def coder(filters=2, kernel_size=7, likelihood="poisson", strides=1, rank=1, prior="nonnegative_soft", lambda_init=1.0,
          step_size="auto", **options):
    """A layer with filters of its own."""
    dictionary = kc.ConvDictionary(filters, kernel_size, strides=strides, rank=rank)
    cell = kc.SparseCodingCell(dictionary, likelihood=likelihood, code_prior=prior, lambda_init=lambda_init,
                               step_size=step_size)
    return kc.SparseCoding(cell, **{"iterations": 400, **options})


def encode(layer, signal, **given):
    """The layer's code, by a graph."""
    if not layer.built:
        layer.build(signal.shape)
    layer.cell.restore_constraints()
    return tf.function(lambda: layer(signal, **given), autograph=False)().numpy()


def counts(rng, shape, rate=2.0):
    return rng.poisson(rate, shape).astype("float32")


CASES = {"signal": (dict(), (40,)), "soft": (dict(prior="soft"), (40,)), "strided": (dict(strides=2), (41,)),
         "channels, not in blocks": (dict(block_size=1), (31,)),
         "image": (dict(rank=2, kernel_size=(3, 4)), (9, 8)),
         "image, strided": (dict(rank=2, kernel_size=4, strides=2), (9, 10))}


@pytest.mark.parametrize("case", CASES)
def test_codes_are_those_of_scipy(rng, case):
    options, space = CASES[case]
    layer = coder(iterations=1500, **options)
    channels = 2 if "channels" in case else 1
    signal = counts(rng, (2, *space, channels)) / 2
    observed = np.round(rng.uniform(0.2, 1.0, signal.shape), 1).astype("float32")
    observed[:, 5:8] = 0
    baseline, dispersion = np.linspace(-0.5, 0.3, channels, dtype="float32"), np.array([0.5, 0.25], "float32")
    code = encode(layer, signal, mask=observed, baseline=baseline, dispersion=dispersion)
    strides, size = layer.cell.dictionary.strides, layer.cell.dictionary.kernel_size
    whole = tuple(-(-(n - k) // s) * s + k for n, k, s in zip(space, size, strides, strict=True))
    kernel = np.asarray(layer.cell.dictionary.unit_kernel(), float)
    matrix, positions = dictionary_matrix(kernel, whole, strides)
    inside = np.zeros((*whole, channels), bool)
    inside[tuple(slice(0, n) for n in space)] = True
    matrix = matrix[inside.ravel()]
    assert type(layer.solver) is Backtracking and code.shape == (2, *positions, 2)
    for y, m, z, sigma2 in zip(signal, observed, code, dispersion, strict=True):
        m, mu = m.ravel().astype(float), np.broadcast_to(baseline, y.shape).ravel()
        expected, _ = minimise(matrix, y.ravel().astype(float), sigma2, (1, -1) if case == "soft" else (1,),
                               lambda y, eta, m=m, mu=mu: m * POISSON[0](y, eta + mu),
                               lambda y, eta, m=m, mu=mu: m * POISSON[1](y, eta + mu))
        assert 0 < np.count_nonzero(expected > 1e-4) < expected.size
        np.testing.assert_allclose(z.ravel(), expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("rate, baseline", [(0.0, np.log(1e-3)), (1e-3, np.log(1e-3)), (1.0, np.log(1e-3)), (30.0, 0.0),
                                            (1e3, np.log(1e-3)), (1e3, np.log(1e3)), (1e4, 0.0)])
def test_no_rate_lets_the_iterations_run_away(rng, rate, baseline):
    layer = coder(iterations=300, lambda_init=max(0.05, np.sqrt(rate)), prior="soft")
    signal = counts(rng, (3, 60, 1), rate)
    signal[1] *= rng.random(signal[1].shape) < 0.2  # silence beside peaks
    code = encode(layer, signal, baseline=np.float32(baseline))
    problem = Problem(Poisson(), layer.cell.code_prior, baseline=tf.constant(baseline, "float64"))
    weight = np.asarray(layer.cell.penalty_weight())
    eta = layer.cell.dictionary(code)
    reached, zero = (np.asarray(objective(problem, tf.constant(signal), scale * code, scale * eta, weight))
                     for scale in (1.0, 0.0))
    assert np.isfinite(code).all() and (reached <= zero + 1e-6 * np.abs(zero)).all()
    layer.iterations = 1500
    code = encode(layer, signal, baseline=np.float32(baseline))
    best = np.asarray(objective(problem, tf.constant(signal), code, layer.cell.dictionary(code), weight))
    assert (reached - best <= 1e-2 * (zero - best) + 1e-6 * np.abs(zero)).all()


def test_a_gap_of_the_data_may_hold_any_rate():
    """Where a filter's flank alone is observed, its peak in the gap overflows; nothing of that counts."""
    layer = coder(filters=1, kernel_size=5, lambda_init=1e-3, iterations=600)
    layer.build((None, 9, 1))
    layer.cell.dictionary.kernel.assign(np.array([0.02, 0.5, 0.7, 0.5, 0.02])[:, None, None])
    signal, mask = np.full((1, 9, 1), 50.0, "float32"), np.zeros((1, 9, 1), "float32")
    mask[:, 0] = 1
    code = encode(layer, signal, mask=mask)
    eta = np.asarray(layer.cell.dictionary(code))
    assert np.isfinite(code).all() and eta.max() > 100 and eta[0, 0, 0] == pytest.approx(np.log(50), abs=0.1)


def test_a_signal_has_the_same_code_alone_and_beside_louder_ones(rng):
    layer = coder(iterations=60)
    signal = np.concatenate([counts(rng, (1, 40, 1)), counts(rng, (1, 40, 1), 300.0), np.zeros((1, 40, 1), "float32")])
    together = encode(layer, signal)
    alone = np.concatenate([encode(layer, signal[i:i + 1]) for i in range(3)])
    assert together[0].any() and not together[2].any()
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [dict(unroll=True), dict(block_size=1), dict(remat=True), dict(gradient="decoder"),
                                     dict(gradient="truncated"), dict(tolerance=1e-9)], ids=str)
def test_every_way_of_running_gives_the_same_code(rng, options):
    signal, codes = counts(rng, (2, 41, 1)), []
    for more in (dict(), options):
        layer = coder(iterations=30, **more)
        layer.build(signal.shape)
        layer.cell.dictionary.kernel.assign(np.random.default_rng(1).standard_normal((7, 1, 2)))
        codes += [encode(layer, signal), encode(layer, signal, training=True)]
    assert codes[0].any()
    for code in codes[1:]:
        np.testing.assert_allclose(code, codes[0], atol=1e-4)


def test_iterates_are_returned_and_the_last_is_the_code(rng):
    signal = counts(rng, (2, 30, 1))
    layer = coder(iterations=12)
    layer.build(signal.shape)
    code = encode(layer, signal)
    layer.return_sequences = True
    sequence = encode(layer, signal)
    assert sequence.shape == (2, 12, 24, 2)
    np.testing.assert_allclose(sequence[:, -1], code, atol=1e-5)


def test_xla_gives_the_same_code(rng):
    signal = counts(rng, (2, 41, 1))
    layer = coder(iterations=30)
    layer.build(signal.shape)
    compiled = tf.function(lambda y: layer(y, training=True), jit_compile=True)(signal)
    np.testing.assert_allclose(compiled, encode(layer, signal, training=True), atol=1e-4)


def test_a_tolerance_stops_and_refusals_do_not(rng):
    """A first step that is far too long is refused many times; the code that stays zero meanwhile is no rest."""
    signal = counts(rng, (2, 40, 1), 5.0)
    whole = coder(iterations=1500)
    whole.build(signal.shape)
    expected = encode(whole, signal)
    whole.tolerance = 1e-4
    np.testing.assert_allclose(encode(whole, signal), expected, atol=0.02 * expected.max())
    long = coder(iterations=1500, solver="backtracking", step_size=1e6, tolerance=1e-4)
    long.build(signal.shape)
    long.cell.dictionary.kernel.assign(whole.cell.dictionary.kernel)
    np.testing.assert_allclose(encode(long, signal), expected, atol=0.02 * expected.max())


@pytest.mark.parametrize("gradient", ["unrolled", "truncated"])
def test_the_gradient_is_that_of_the_accepted_steps(rng, gradient):
    """Against finite differences, with the step sizes held: a small change of the filters refuses no other step."""
    signal = rng.poisson(3.0, (2, 25, 1)).astype("float64")
    dictionary = kc.ConvDictionary(2, 5, dtype="float64")
    cell = kc.SparseCodingCell(dictionary, likelihood="poisson", lambda_init=0.5, dtype="float64")
    layer = kc.SparseCoding(cell, iterations=9, gradient="unrolled", dtype="float64")
    layer.build(signal.shape)
    layer.refresh_in_training = False
    kernel, weight = np.asarray(dictionary.kernel), rng.standard_normal((2, 21, 2))

    def loss(values):
        dictionary.kernel.assign(values)
        return tf.reduce_sum(weight * layer(signal, training=True))

    with tf.GradientTape() as tape:
        value = loss(kernel)
    found = tape.gradient(value, dictionary.kernel.value).numpy()
    direction = rng.standard_normal(kernel.shape)
    expected = (loss(kernel + 1e-6 * direction) - loss(kernel - 1e-6 * direction)) / 2e-6
    assert np.sum(found * direction) == pytest.approx(float(expected), rel=1e-4)
    if gradient == "truncated":  # all iterations of it: the same
        layer.gradient, layer.gradient_steps = gradient, 9
        with tf.GradientTape() as tape:
            value = loss(kernel)
        np.testing.assert_allclose(tape.gradient(value, dictionary.kernel.value), found, rtol=1e-9)


def iterations_to(fractions, solver, layer, signal, baseline, step=None, most=320):
    """Iterations after which the sum of the objectives stays within each fraction of the drop, by float64 sums."""
    cell, kernel = layer.cell, layer.cell.dictionary.unit_kernel()
    weight, strides = cell.penalty_weight(), cell.dictionary.strides
    problem = Problem(cell.likelihood, cell.code_prior, baseline=tf.constant([baseline], "float32"))
    exact = Problem(cell.likelihood, cell.code_prior, baseline=tf.constant([baseline], "float64"))
    signal = tf.constant(signal)
    if solver.adaptive:
        given = SignalOperations(problem, signal, kernel, strides, cell.first_step(signal, None, problem.baseline),
                                 weight)
        state = solver.begin(tf.zeros((len(signal), *cell.dictionary.code_space(signal.shape[1:-1]), 3)), given)
    else:
        given = descent(problem, signal, kernel, strides, step, weight * step)
        state = solver.init(tf.zeros((len(signal), *cell.dictionary.code_space(signal.shape[1:-1]), 3)))

    @tf.function(autograph=False)
    def one(*state):
        state = solver.step(state, given)
        code = solver.code(state)
        return state, tf.reduce_sum(objective(exact, signal, code, cell.dictionary(code), weight))

    best = encode(layer, signal, baseline=np.float32(baseline))
    best = float(tf.reduce_sum(objective(exact, signal, best, cell.dictionary(best), weight)))
    zero = tf.zeros_like(solver.code(state))
    first, values = float(tf.reduce_sum(objective(exact, signal, zero, cell.dictionary(zero), weight))), []
    for _ in range(most):
        state, value = one(*state)
        values.append(float(value))
    share = (np.array(values) - best) / (first - best)
    return [int(np.flatnonzero(share > f)[-1]) + 2 for f in fractions]


def overlapping(likelihood, amplitude, baseline, lambda_reg, windows=6, iterations=4000):
    """The data of the package's simulation, as counts, and a layer with its filters that is run to the optimum."""
    filters = -spike_templates(50, 3)
    code = simulate_spikes(filters, windows, 500, 1.5, (amplitude, 0.1 * amplitude), seed=1).code
    layer = coder(3, 50, likelihood, lambda_init=lambda_reg, iterations=iterations)
    layer.build((None, 500, 1))
    layer.cell.dictionary.kernel.assign(filters)
    layer.cell.restore_constraints()  # the step size of these filters
    eta = np.asarray(layer.cell.dictionary(code.astype("float32")), float) + baseline
    rng = np.random.default_rng(0)
    if likelihood == "poisson":
        return layer, rng.poisson(np.exp(np.minimum(eta, 11))).astype("float32")
    return layer, (rng.binomial(25, 1 / (1 + np.exp(-eta))) / 25).astype("float32")


def off_optimum(layer, signal, baseline):
    """Largest violation of a code's condition of optimality, relative to lambda sigma^2, of each signal; float64."""
    code = encode(layer, signal, baseline=np.float32(baseline)).astype(np.float64)
    cell, kernel = layer.cell, tf.cast(layer.cell.dictionary.unit_kernel(), tf.float64)
    eta = convolution.synthesis(tf.constant(code), kernel, cell.dictionary.strides) + baseline
    rise = convolution.adjoint(tf.constant(signal, tf.float64) - cell.likelihood.mean(eta), kernel,
                               cell.dictionary.strides).numpy() / np.asarray(cell.penalty_weight(), np.float64)
    return np.where(code > 0, np.abs(rise - 1), np.maximum(rise - 1, 0)).max(axis=(1, 2))


def test_automatic_iterations_end_at_the_optimum_of_loud_signals(rng):
    layer = coder(3, 15, lambda_init=1.5 * np.sqrt(1000.0), iterations="auto")
    assert (off_optimum(layer, counts(rng, (2, 200, 1), 1000.0), np.log(1000.0)) < 1e-3).all()


@pytest.mark.parametrize("likelihood, amplitude, baseline, variance", [
    ("poisson", 9.0, -2.0, np.exp(-2.0)), (Binomial(25), 16.0, -3.5, 25 * np.exp(-3.5) / (1 + np.exp(-3.5))**2)],
    ids=["poisson", "binomial"])
def test_automatic_iterations_end_at_the_optimum_where_strong_events_overlap(likelihood, amplitude, baseline, variance):
    layer, signal = overlapping(likelihood, amplitude, baseline, np.sqrt(2 * np.log(1353) * variance),
                                iterations="auto")
    assert (off_optimum(layer, signal, baseline) < 1e-3).all()


@pytest.mark.slow
def test_poisson_reaches_a_hundredth_of_the_drop_in_75_iterations_and_a_thousandth_in_300():
    layer, signal = overlapping("poisson", 9.0, -2.0, np.sqrt(2 * np.log(1353) * np.exp(-2)))
    hundredth, thousandth = iterations_to((1e-2, 1e-3), Backtracking(), layer, signal, -2.0)
    assert hundredth <= 75 and thousandth <= 300


@pytest.mark.slow
def test_binomial_needs_half_of_the_iterations_that_the_gaussian_step_needs():
    p = 1 / (1 + np.exp(3.5))
    layer, signal = overlapping(Binomial(25), 16.0, -3.5, np.sqrt(2 * np.log(1353) * p * (1 - p) * 25), windows=3)
    step = tf.identity(layer.cell.step_size.value)
    (own,), (gaussian,) = (iterations_to((1e-2,), FISTA(), layer, signal, -3.5, s, 130) for s in (step, step / 4))
    assert own <= gaussian / 2


@pytest.mark.parametrize("options, words", [
    (dict(solver="ista"), "Use solver='backtracking'"),
    (dict(dtype="mixed_bfloat16"), "compares sums that need float32"),
    (dict(analysis=kc.ConvDictionary(2, 7)), "with `analysis` there is none")], ids=lambda v: "")
def test_what_no_search_for_steps_can_do_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        coder(**options)


@pytest.mark.parametrize("wrong", [dict(decrease=0), dict(decrease=1.1), dict(increase=1.0), dict(relative_slack=-1),
                                   dict(longest_step=0)])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="0 < decrease <= 1 < increase.*Received"):
        Backtracking(**wrong)


def test_a_layer_with_it_is_saved(rng, tmp_path):
    signal = counts(rng, (2, 30, 1))
    model = keras.Sequential([keras.Input((30, 1)), coder(iterations=10, solver=Backtracking(decrease=0.9))])
    code = model.predict(signal, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.layers[-1].solver.get_config() == Backtracking(decrease=0.9).get_config()
    np.testing.assert_allclose(loaded.predict(signal, verbose=0), code, atol=1e-6)
