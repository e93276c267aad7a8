"""Training on counts: both likelihoods in every way to learn, and what must not harm."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.data.streams.batch_source import array_batches

pytestmark = pytest.mark.filterwarnings("ignore:lambda was held")  # small data, weak filters
LIKELIHOODS = {"poisson": dict(likelihood="poisson", exposure=2.0), "binomial": dict(likelihood="binomial", trials=8)}


@pytest.fixture(scope="module")
def counts():
    made = kc.data.simulate_spikes(-kc.data.spike_templates(15, 2), windows=24, samples=60, events_per_window=1,
                                   amplitude=(10.0, 1.0), seed=0)
    return np.random.default_rng(1).binomial(8, 1 / (1 + np.exp(3.0 - made.clean)))


def model(name="poisson", learning_rate=1e-2, nonfinite="stop", **options):
    first = {"iterations": 4, "seed": 0, "gradient": "decoder", **LIKELIHOODS.get(name, {})}
    made = kc.CRsAE(2, 15, **{**first, **options})
    made.compile(keras.optimizers.Adam(learning_rate), nonfinite=nonfinite)
    return made


def weights(made):
    return [keras.ops.convert_to_numpy(v) for v in made._trainer.variables()]


def same(one, other):
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name, options", [
    ("poisson", dict(gradient="unrolled", lambda_learning="em")),
    ("binomial", dict(gradient="truncated", gradient_steps=2, lambda_learning="backprop")),
    ("binomial", dict(lambda_learning="em_closed_form", lambda_shared=True)),
    ("poisson", dict(tied=False, lambda_learning=None, baseline_scope="signal")),
    ("binomial", dict(refit_distance=5, baseline_scope="shared"))], ids=lambda o: "-".join(map(str, o)))
def test_every_way_to_learn_lowers_the_loss(counts, name, options):
    made = model(name, **options)
    history = made.fit(counts, epochs=4, batch_size=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert all(np.isfinite(a).all() for a in weights(made))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_baseline_follows_the_codes(counts, name):
    """From the mean of the data down to the rate between events: no more than half of what events took is left."""
    made = model(name, refit_distance=7, iterations=20)
    made.set_dictionary(-kc.data.spike_templates(15, 2))
    made.adapt(counts)
    first = float(made.baseline[0])
    made.fit(counts, epochs=8, batch_size=8, verbose=0)
    true = np.log(8 / 2 / (1 + np.exp(3.0))) if name == "poisson" else -3.0
    assert abs(float(made.baseline[0]) - true) < 0.5 * (first - true)
    held = model(name, baseline_learning=False)
    held.fit(counts, epochs=1, verbose=0)
    assert float(held.baseline[0]) == pytest.approx(first)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_signals_without_counts_do_no_harm(counts, name):
    made = model(name)
    made.fit(np.concatenate([counts, np.zeros_like(counts[:8])]), epochs=2, batch_size=8, verbose=0, shuffle=False)
    made.train_on_batch(np.zeros_like(counts[:4]))
    assert all(np.isfinite(a).all() for a in weights(made))
    np.testing.assert_array_equal(made.encode(np.zeros_like(counts[:1])), 0)


@pytest.mark.parametrize("change", [lambda c: c / 8, lambda c: c - 1.0, lambda c: c + 0.25])
@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_what_is_no_count_is_refused_before_training(counts, change, call):
    made = model()
    with pytest.raises(ValueError, match="counts"):
        getattr(made, call)(change(counts))
    assert not made.built or int(made.optimizer.iterations) == 0


def test_sizes_that_do_not_fit_are_refused_before_training(counts):
    made = model("binomial")
    for options, words in ((dict(trials=np.full(5, 8)), "`trials`"), (dict(exposure=1.0), "divided by `trials`"),
                           (dict(trials=4), "at most"), (dict(support=np.ones((24, 60, 2))), "code's shape")):
        with pytest.raises(ValueError, match=words):
            made.fit(counts, verbose=0, **options)
    with pytest.raises(ValueError, match="belong to arrays"):
        made.fit(tf.data.Dataset.from_tensor_slices(counts).batch(4), trials=8, verbose=0)
    with pytest.raises(ValueError, match="expected counts"):
        made.fit(counts, counts - 1.0, verbose=0)


def test_arrays_dicts_and_streams_train_alike(counts):
    trials = np.where(np.arange(24) % 3, 8, 16)
    support = np.ones((24, 46, 1))

    def trained(x, **options):
        made = model("binomial")
        made.fit(x, epochs=2, verbose=0, shuffle=False, **options)
        return made

    parts = {"signal": counts.astype("float32"), "trials": trials.astype("float32"), "support": support}
    expected = trained(counts, trials=trials, support=support, batch_size=8)
    same(trained(parts, batch_size=8), expected)
    same(trained(array_batches((parts,), 8, shuffle=False)), expected)
    found, other = trained(tf.data.Dataset.from_tensor_slices(parts).batch(8)), expected
    for a, b in zip(found.weights, other.weights, strict=True):
        if "training_state" not in a.path:  # a dataset of one's own has no order to be kept
            np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(expected.evaluate(counts, trials=trials, verbose=0)[0],
                               expected.evaluate(parts, verbose=0)[0], rtol=1e-6)


def test_validation_data_may_be_dicts(counts):
    made = model("binomial")
    parts = {"signal": counts, "trials": np.full(24, 16)}
    history = made.fit(parts, epochs=1, verbose=0, validation_data=(parts, None)).history
    again = model("binomial").fit(parts, epochs=1, verbose=0, validation_split=0.25).history
    assert np.isfinite(history["val_loss"] + again["val_loss"]).all()


def test_more_trials_weigh_more():
    """The mean loss of two signals is that of all their trials."""
    counts = np.random.default_rng(0).binomial(6, 0.3, (2, 60, 1))
    made = model("", likelihood="binomial", trials=6)
    made.adapt(counts)
    a, b = (made.evaluate(counts[i:i + 1], trials=t, verbose=0)[0] for i, t in ((0, 6), (1, 18)))
    both = made.evaluate(counts, trials=[6, 18], verbose=0)[0]
    assert both == pytest.approx((6 * a + 18 * b) / 24, rel=1e-5)


def test_a_mask_leaves_samples_out(counts):
    mask = np.ones(counts.shape)
    mask[:, 30:40] = 0
    one, other = model(), model()
    one.fit(counts * mask.astype(int), sample_weight=mask, epochs=1, verbose=0, shuffle=False)
    other.fit(np.where(mask > 0, counts, 3), sample_weight=mask, epochs=1, verbose=0, shuffle=False)
    same(one, other)


def test_a_batch_that_holds_no_counts_is_stopped_or_skipped(counts):
    def stream():
        yield counts[:8]
        yield counts[:8] - 1
        yield counts[8:16]

    data = tf.data.Dataset.from_generator(stream, output_signature=tf.TensorSpec((None, 60, 1), tf.float32))
    data = data.apply(tf.data.experimental.assert_cardinality(3))
    with pytest.raises(FloatingPointError, match="counts"):
        model().fit(data, epochs=1, verbose=0)
    made, clean = model(nonfinite="skip"), model(nonfinite="skip")
    with pytest.warns(UserWarning, match="1 batches were skipped"):
        made.fit(data, epochs=1, verbose=0)
    for batch in (counts[:8], counts[8:16]):
        clean.train_on_batch(batch)
    for a, b in zip(made.dictionary_variables, clean.dictionary_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)  # a stream's graph knows no sizes and sums in another order


def test_training_that_is_saved_goes_on_exactly(tmp_path, counts):
    def fresh():
        return model("binomial", refit_distance=5, baseline_scope="channel")

    trials = np.where(np.arange(24) % 3, 8, 16)
    fitting = dict(batch_size=8, verbose=0, trials=trials)
    whole, half = fresh(), fresh()
    whole.fit(counts, epochs=4, **fitting)
    half.fit(counts, epochs=2, **fitting)
    half.save(tmp_path / "half.keras")
    rest = keras.saving.load_model(tmp_path / "half.keras")
    np.testing.assert_array_equal(rest.encode(counts), half.encode(counts))
    assert rest.likelihood.size == 8 and rest.refit_distance == 5
    rest.fit(counts, epochs=4, initial_epoch=2, **fitting)
    same(rest, whole)


def test_the_loss_of_a_loop_of_ones_own_takes_the_mean(counts):
    made = model("binomial")
    made.adapt(counts)
    loss = float(made.compute_loss(counts, None, made(counts)))
    assert loss == pytest.approx(made.evaluate(counts, verbose=0)[0], rel=1e-4)


def test_warnings_of_lambda_speak_of_counts(counts):
    """They have no sigma that could be lowered."""
    runaway = model("binomial", lambda_learning="em_closed_form", lambda_prior=kc.GammaPrior(strength=1e-4))
    with pytest.warns(UserWarning, match="held at half of lambda_max.*lambda_learning=None") as said:
        runaway.fit(counts, epochs=3, batch_size=8, verbose=0)
    silent = model("poisson", lambda_init=1e6, lambda_learning=None)
    with pytest.warns(UserWarning, match="All codes are zero.*these counts.*below lambda =") as more:
        silent.fit(counts, epochs=1, batch_size=8, verbose=0)
    assert not [warning for warning in (*said, *more) if "sigma" in str(warning.message)]
