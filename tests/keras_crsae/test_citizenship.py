"""CRsAE among Keras' own things: kinds of data, callbacks, compile options, precision, configs, larger models."""

import contextlib
import io
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc

FITTING = dict(batch_size=4, epochs=2, shuffle=False, verbose=0)
EAGERLY = dict(run_eagerly=True)  # few steps take less time than a trace


@pytest.fixture(scope="module")
def signal():
    return np.random.default_rng(3).standard_normal((12, 60, 1)).astype("float32")


def fresh(signal, optimizer=None, compiled=None, **options):
    options = {"iterations": 4, "sigma": 0.5, "lambda_init": 2.0, "gradient": "decoder", "seed": 0, **options}
    model = kc.CRsAE(2, 9, **options)
    model.adapt(signal, init="windows")
    model.compile(optimizer or keras.optimizers.Adam(1e-2), **(compiled or {}))
    return model


def values(model):
    return [keras.ops.convert_to_numpy(v) for v in
            [*model.weights, *model.optimizer.variables, *model.lambda_optimizer.variables]]


def assert_same(a, b, atol=1e-6):
    for x, y in zip(values(a), values(b), strict=True):
        np.testing.assert_allclose(x, y, atol=atol, rtol=1e-5)


class Windows(keras.utils.PyDataset):
    def __init__(self, signal):
        super().__init__()
        self.signal = signal

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return self.signal[4 * i:4 * i + 4]


def generate(signal):
    while True:
        yield from (signal[i:i + 4] for i in (0, 4, 8))


@pytest.mark.parametrize("adapted", [True, False])
def test_arrays_datasets_pydatasets_and_generators_train_alike(signal, adapted):
    def one():
        model = kc.CRsAE(2, 9, iterations=4, sigma=0.5, lambda_init=2.0, gradient="decoder", seed=0)
        model.build((None, None, 1))
        model.compile(keras.optimizers.Adam(1e-2), run_eagerly=adapted)
        if adapted:
            model.adapt(signal)
        return model

    kinds = {"array": (signal, {}), "float64": (signal.astype("float64"), {}),
             "dataset": (tf.data.Dataset.from_tensor_slices(signal).batch(4), {}),
             "pydataset": (Windows(signal), {}), "generator": (generate(signal), dict(steps_per_epoch=3))}
    first = None
    for data, extra in (kinds[kind] for kind in (("array", "dataset", "generator") if adapted else kinds)):
        model = one()
        options = {k: v for k, v in FITTING.items() if k != "batch_size" or isinstance(data, np.ndarray)}
        model.fit(data, **options, **extra)
        first = first or model
        assert_same(first, model)
    assert int(first.optimizer.iterations) == 6


def test_integers_train_as_their_floats(signal):
    counts = (100 * signal).astype("int16")
    a, b = (fresh(counts, compiled=EAGERLY, sigma=50.0, lambda_init=0.02) for _ in range(2))
    a.fit(counts, **FITTING)
    b.fit(counts.astype("float32"), **FITTING)
    assert_same(a, b)
    np.testing.assert_array_equal(a.predict(counts, verbose=0), a.predict(counts.astype("float32"), verbose=0))


def test_evaluate_and_predict_agree_with_the_layers(signal):
    model = fresh(signal)
    made = model.predict(signal, batch_size=5, verbose=0)
    np.testing.assert_allclose(made, model(signal), atol=1e-6)
    scores = model.evaluate(signal, batch_size=5, verbose=0, return_dict=True)  # 5, 5, 2: batches weigh by their size
    assert scores["loss"] == scores["reconstruction_loss"] == pytest.approx(np.mean((made - signal) ** 2), rel=1e-5)
    assert scores["sparsity"] == pytest.approx(np.count_nonzero(model.encode(signal)) / (12 * 52 * 2), rel=1e-5)
    assert scores["sigma"] == 0.5 and 0 < scores["sparsity"] < 1
    assert model.evaluate(signal, verbose=0)[0] == pytest.approx(scores["loss"], rel=1e-5)


def test_sample_weights_of_a_batch_weigh_both_losses_and_nothing_else(signal):
    weight = np.array([1.0] * 4 + [0.0] * 8, "float32")
    model = fresh(signal)
    some = model.evaluate(signal, sample_weight=weight, batch_size=12, verbose=0, return_dict=True)
    few = model.evaluate(signal[:4], verbose=0, return_dict=True)
    for name in ("loss", "lambda_loss"):
        assert some[name] == pytest.approx(few[name], rel=1e-5)
    assert some["sparsity"] != few["sparsity"]


@pytest.mark.parametrize("gradient, kind", [("unrolled", "int32"), ("decoder", "bool")])
def test_a_mask_hides_samples_from_training(signal, gradient, kind):
    """Of every dtype, and without the axis of channels."""
    mask = np.ones(signal.shape, "float32")
    mask[:, 20:30] = 0
    filled = np.where(mask > 0, signal, 50.0).astype("float32")
    options = dict(lambda_init=0.5, sigma="estimate", sigma_learning=True, gradient=gradient)
    a, b = (kc.CRsAE(2, 9, iterations=4, seed=0, **options) for _ in range(2))
    for model, data, weight in ((a, signal, mask), (b, filled, mask[..., 0].astype(kind))):
        model.compile(keras.optimizers.Adam(1e-2))
        model.fit(data, sample_weight=weight, **FITTING)
    assert_same(a, b, atol=1e-5)


@pytest.fixture(scope="module")
def watched(signal, tmp_path_factory):
    """A model, its history, what fit printed and the folder that TensorBoard wrote, of two epochs."""
    folder, shown, model = tmp_path_factory.mktemp("board"), io.StringIO(), fresh(signal)
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    with contextlib.redirect_stdout(shown):
        history = model.fit(signal, validation_data=signal, callbacks=[keras.callbacks.TensorBoard(folder), scheduler],
                            **{**FITTING, "verbose": 2}).history
    return model, history, shown.getvalue(), folder


def test_history_and_progress_bar_show_both_losses(watched):
    _, history, shown, _ = watched
    names = {"loss", "reconstruction_loss", "lambda_loss", "sparsity", "sigma"}
    assert set(history) == {*names, *(f"val_{n}" for n in names), "learning_rate"}
    assert history["loss"] == history["reconstruction_loss"]
    assert re.search(r"lambda_loss: -?\d", shown) and "reconstruction_loss: " in shown


def test_callbacks_act_on_the_dictionary_optimiser_and_its_model(signal, tmp_path):
    model = fresh(signal, compiled=EAGERLY)
    rate = float(model.lambda_optimizer.learning_rate)
    callbacks = [keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, min_delta=1e9),
                 keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_loss", save_best_only=True),
                 keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, min_delta=1e9)]
    history = model.fit(signal, validation_data=signal, callbacks=callbacks, **{**FITTING, "epochs": 9}).history
    assert len(history["loss"]) == 3  # EarlyStopping
    assert float(model.optimizer.learning_rate) == pytest.approx(0.0025)
    assert float(model.lambda_optimizer.learning_rate) == pytest.approx(rate)
    best = keras.saving.load_model(tmp_path / "best.keras")
    assert best.evaluate(signal, verbose=0)[0] == pytest.approx(min(history["val_loss"]), rel=1e-4)


def test_tensorboard_records_both_losses(watched):
    written = b"".join(f.read_bytes() for f in watched[-1].rglob("events*"))
    assert b"lambda_loss" in written and b"reconstruction_loss" in written


def test_learning_rate_scheduler_sets_the_dictionary_rate(watched):
    assert float(watched[0].optimizer.learning_rate) == pytest.approx(0.05)


@pytest.mark.parametrize("gradient, kinds", [
    ("unrolled", [dict(steps_per_execution=3), dict(jit_compile=True), dict(run_eagerly=True)]),
    ("decoder", [dict(steps_per_execution=3, jit_compile=True), dict(run_eagerly=True)])], ids=["unrolled", "decoder"])
def test_compile_options_change_nothing_but_speed(signal, gradient, kinds):
    options = dict(gradient=gradient, sigma_learning=True)
    plain = fresh(signal, **options)
    plain.fit(signal, **FITTING)
    for compiled in kinds:
        other = fresh(signal, compiled=compiled, **options)
        other.fit(signal, **FITTING)
        assert_same(plain, other, atol=2e-5)


def test_mixed_bfloat16_trains_with_float32_lambda_step_size_and_losses(spikes, near_filters):
    model = kc.CRsAE(3, 21, iterations=20, gradient="decoder", seed=0, dtype="mixed_bfloat16")
    model.set_dictionary(near_filters)
    model.compile(keras.optimizers.Adam(1e-2))
    history = model.fit(spikes.signal, epochs=6, batch_size=8, verbose=0).history
    assert model.encoder.compute_dtype == "bfloat16"
    assert {v.dtype for v in (model.lambda_reg, model.sigma, model.step_size, model.dictionary.kernel)} == {"float32"}
    assert float(model.step_size) * float(model.dictionary.largest_eigenvalue()) == pytest.approx(1, rel=1e-5)
    assert kc.metrics.dictionary_error(spikes.filters, np.asarray(model.dictionary.kernel)).mean() < 0.25
    assert 0 < history["sparsity"][-1] < 0.1 and model.encode(spikes.signal).dtype == np.float32


@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "bfloat16"])
def test_other_half_precisions_are_refused_at_construction(policy):
    with pytest.raises(ValueError, match="mixed_bfloat16"):
        kc.CRsAE(2, 9, dtype=policy)


def random_options(rng):
    rank = int(rng.integers(1, 3))
    size = [int(n) for n in rng.integers(3, 7, rank)]
    filters = int(rng.integers(1, 4))
    shared = bool(rng.integers(2))
    gradient = str(rng.choice(["unrolled", "truncated", "decoder"]))
    learning = [None, "em", "em_closed_form", "backprop"][rng.integers(0, 3 if gradient == "decoder" else 4)]
    return dict(
        filters=rng.choice([filters]), kernel_size=size, strides=[int(rng.integers(1, n + 1)) for n in size], rank=rank,
        iterations=rng.integers(1, 5), shrinkage=str(rng.choice(["soft", "nonnegative_soft"])),
        sigma="estimate" if rng.integers(2) else np.float32(rng.random() + 0.1), sigma_learning=bool(rng.integers(2)),
        sigma_rate=float(rng.random()) + 1e-3, lambda_shared=shared, lambda_learning=learning,
        lambda_init=["donoho", np.float64(0.3), 1, (rng.random(1 if shared else filters) + 0.1)][rng.integers(4)],
        lambda_prior=kc.GammaPrior(strength=float(rng.random()) + 0.5, mean=[None, 2.0][rng.integers(2)]),
        gradient=gradient, gradient_steps=int(rng.integers(1, 4)), tied=bool(rng.integers(2)),
        step_size=["auto", 0.05][rng.integers(2)], unroll=bool(rng.integers(2)),
        kernel_initializer=[None, "glorot_uniform"][rng.integers(2)], seed=[None, 3][rng.integers(2)],
        block_size=["auto", 1, 2][rng.integers(3)], dtype=["float32", "float64"][rng.integers(2)])


@pytest.mark.parametrize("seed", range(12))
def test_config_round_trip_gives_the_same_model(seed, tmp_path):
    rng = np.random.default_rng(seed)
    options = random_options(rng)
    model = kc.CRsAE(**options)
    model.build((None,) * (options["rank"] + 1) + (2,))
    again = kc.CRsAE.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    for name in ("iterations", "code_prior", "sigma_rate", "strides", "tied"):
        assert name in model.get_config()
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.get_config() == model.get_config() and loaded.dtype_policy.name == options["dtype"]
    y = rng.standard_normal((1, *(13,) * options["rank"], 2)).astype("float32")
    np.testing.assert_allclose(loaded(y), model(y), atol=1e-6)


def test_summary_lists_dictionary_and_encoder_with_their_shapes(signal):
    lines = []
    fresh(signal).summary(print_fn=lambda text, **_: lines.append(text), line_length=80)
    text = "\n".join(lines)
    assert "dictionary (ConvDictionary)" in text and "encoder (SparseCoding)" in text and "?" not in text
    assert re.search(r"Trainable params: 20 ", text)  # 2 filters of 9, and their lambdas


def test_crsae_is_a_layer_of_a_larger_functional_model(signal, tmp_path):
    inputs = keras.Input((None, 1))
    inner = kc.CRsAE(2, 9, iterations=4, sigma=0.5, strides=2, seed=0)
    outputs = keras.layers.Dense(1)(keras.layers.GlobalMaxPooling1D()(inner(inputs)))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "mse")
    before = keras.ops.convert_to_numpy(inner.dictionary.kernel)
    model.fit(signal, np.ones((12, 1), "float32"), verbose=0)
    assert np.abs(keras.ops.convert_to_numpy(inner.dictionary.kernel) - before).max() > 0
    assert inner(signal).shape == inner.compute_output_shape(signal.shape) == (12, 60, 1)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.predict(signal, verbose=0), model.predict(signal, verbose=0), atol=1e-6)


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_layers_that_share_a_dictionary_share_it_after_loading(signal, tmp_path, kind):
    dictionary = kc.ConvDictionary(2, 9)
    layers = [kc.SparseCoding(kc.SparseCodingCell(dictionary, lambda_init=0.3), iterations=4), dictionary]
    model = keras.Sequential([keras.Input((60, 1)), *layers])
    if kind == "functional":
        inputs = keras.Input((60, 1))
        model = keras.Model(inputs, layers[1](layers[0](inputs)))
    model.compile("adam", "mse")
    model.fit(signal, signal, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.predict(signal, verbose=0), model.predict(signal, verbose=0), atol=1e-6)
    assert loaded.layers[-2].cell.dictionary is loaded.layers[-1]
    assert len(loaded.trainable_variables) == len(model.trainable_variables) == 2
    loaded.fit(signal, signal, verbose=0)


def test_adapted_values_are_saved_and_not_resolved_again(signal, tmp_path):
    model = fresh(signal, compiled=EAGERLY, lambda_learning=None, sigma="estimate")
    kept = [float(model.sigma), *np.asarray(model.lambda_reg)]
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    for one in (model, loaded):
        one.fit(100 * signal, **FITTING)
        np.testing.assert_allclose([float(one.sigma), *np.asarray(one.lambda_reg)], kept, rtol=1e-6)
