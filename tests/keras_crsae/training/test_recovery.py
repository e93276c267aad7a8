"""EM recovers filters, lambda and noise level from simulated data with living codes."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates


def recover(seed, learning, epochs=16, rate=2e-2, **options):
    """144 steps of cosine-decayed Adam; returns mean filter error, lambda over its closed form, non-zeros an event.

    Three times as many steps end at the same values. 2,000 events a filter at 8 dB. The templates are the sharper
    three of five: a very smooth one leaves its fine structure undetermined at 100 iterations, since its code may then
    spread over neighbouring positions.
    """
    filters = spike_templates(45, 5, seed=seed)[..., :3]
    made = simulate_spikes(filters, windows=144, samples=1500, events_per_window=24.5, seed=seed)
    events = np.count_nonzero(made.code, axis=(0, 1))
    assert events.min() >= 2000 and 8 < made.snr < 10
    start = perturb_filters(filters, 0.45, seed=seed + 100)
    assert (kc.metrics.dictionary_error(filters, start) > 0.4).all()
    model = kc.CRsAE(3, 45, lambda_learning=learning, seed=seed, **{"gradient": "decoder", **options})
    model.set_dictionary(start)
    steps = epochs * 144 // 16
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)))
    model.fit(made.signal, epochs=epochs, batch_size=16, verbose=0)
    code = model.encode(made.signal)
    norms, positions = np.abs(code).sum(1).mean(0), code.shape[1]
    mean, strength = keras.ops.convert_to_numpy(model.training_state.prior_mean), model.lambda_prior.strength
    seen = positions
    if model.lambda_shared:
        norms, seen = norms.sum(), 3 * positions
    closed = (seen + strength * positions - 1) / (norms + strength * positions / mean)
    error = kc.metrics.dictionary_error(filters, keras.ops.convert_to_numpy(model.dictionary.kernel)).mean()
    return error, keras.ops.convert_to_numpy(model.lambda_reg) / closed, np.count_nonzero(code) / events.sum()


def test_em_recovers_filters_and_lambda():
    error, ratio, per_event = recover(0, "em", epochs=8)
    assert error < 0.1
    assert (np.abs(ratio - 1) < 0.15).all()
    assert 0.5 < per_event < 2


# Through every iteration the gradient depends more on the batch: at 2e-2 the error that is left depends on the order of
# the batches, .03 to .07 in 25 runs. Half that rate settles more of them.
UNROLLED = dict(gradient="unrolled", rate=1e-2)
# A shared lambda counts its prior once for all three filters. At strength 1 it settles higher than three would, and the
# shorter codes cost a little accuracy (errors of .049 to .057); this strength weighs as one prior a filter does.
SHARED = dict(lambda_shared=True, lambda_prior=kc.GammaPrior(strength=3.0))


@pytest.mark.slow
@pytest.mark.parametrize("learning, options, seeds", [
    ("em", {}, 3), ("em_closed_form", {}, 2), ("em", UNROLLED, 2), ("em", SHARED, 2)],
    ids=["em", "closed form", "unrolled", "shared"])
def test_em_recovers_from_several_seeds(learning, options, seeds):
    made = [recover(seed, learning, **options) for seed in range(seeds)]
    errors = np.array([error for error, _, _ in made])
    assert (errors < 0.1).all() and np.sum(errors < 0.05) >= seeds - 1
    for _, ratio, per_event in made:
        assert (np.abs(ratio - 1) < 0.15).all()
        assert 0.5 < per_event < 2


@pytest.mark.parametrize("case, start", [("signal", 0.7), ("signal", 1.4), ("mask", 0.7), ("supervised", 1.4)])
def test_sigma_learning_recovers_the_noise_level_from_both_sides(rng, start, case):
    filters = spike_templates(21, 3)
    made = simulate_spikes(filters, windows=32, samples=600, events_per_window=3, seed=3)
    model = kc.CRsAE(3, 21, iterations=60, sigma=start, sigma_learning=True, sigma_rate=0.2, gradient="decoder", seed=0)
    model.set_dictionary(filters)
    model.compile(keras.optimizers.Adam(1e-4))
    product = keras.ops.convert_to_numpy(model.lambda_reg) * start
    signal, target, mask = made.signal, None, None
    if case == "mask":
        mask = (rng.random(signal.shape) > 0.2).astype("float32")
        signal = np.where(mask > 0, signal, 9.0).astype("float32")
    if case == "supervised":
        target = made.clean
    model.fit(signal, target, sample_weight=mask, epochs=8, batch_size=8, verbose=0)
    assert float(model.sigma) == pytest.approx(1.0, rel=0.1)
    assert np.count_nonzero(model.encode(signal, mask=mask)) > 0.5 * np.count_nonzero(made.code)
    assert (keras.ops.convert_to_numpy(model.lambda_reg) * float(model.sigma) > 0.5 * product).all()


def test_lambda_through_backprop_lowers_the_supervised_error_and_the_em_loss_is_reported():
    filters = spike_templates(21, 3)
    made = simulate_spikes(filters, windows=32, samples=300, events_per_window=3, seed=6)
    errors = []
    for learning in ("backprop", None):
        model = kc.CRsAE(3, 21, iterations=30, lambda_init=6.0, lambda_learning=learning, seed=0)
        model.set_dictionary(filters)
        model.compile(keras.optimizers.SGD(0.0), keras.optimizers.Adam(0.1))
        history = model.fit(made.signal, made.clean, epochs=4, batch_size=8, verbose=0).history
        errors.append(model.evaluate(made.signal, made.clean, verbose=0)[0])
        assert np.isfinite(history["lambda_loss"]).all()
    assert errors[0] < 0.97 * errors[1]
