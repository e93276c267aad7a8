"""One training step: each stage moves its own variables, in the direction of its loss."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.training.two_stage_trainer import TwoStageTrainer


def model_of(spikes, filters, lambda_optimizer=None, **options):
    model = kc.CRsAE(3, 21, iterations=20, seed=0, **{"gradient": "decoder", **options})
    model.set_dictionary(filters)
    model.adapt(spikes.signal)
    model.compile(keras.optimizers.SGD(0.0), lambda_optimizer, run_eagerly=True)
    return model


def statistics(model, signal):
    """Mean ||z_c||_1 of a signal's code, positions, and the closed form of lambda, all in NumPy."""
    code = np.asarray(model.encode(signal), float)
    norms, positions = np.abs(code).sum(axis=1).mean(axis=0), code.shape[1]
    mean = np.asarray(model.training_state.prior_mean, float)
    return norms, positions, (2 * positions - 1) / (norms + positions / mean)


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_a_gradient_step_moves_every_lambda_towards_its_closed_form(spikes, factor):
    model = model_of(spikes, spikes.filters, keras.optimizers.SGD(1e-4), lambda_learning="em")
    closed = statistics(model, spikes.signal)[2]
    for _ in range(3):  # the closed form depends on the code, and so on lambda
        model.lambda_reg.assign(closed)
        closed = statistics(model, spikes.signal)[2]
    model.lambda_reg.assign(factor * closed)
    before = np.asarray(model.lambda_reg, float)
    wanted = np.sign(statistics(model, spikes.signal)[2] - before)
    model.train_on_batch(spikes.signal)
    moved = np.asarray(model.lambda_reg, float) - before
    assert (np.sign(moved) == wanted).all() and (wanted == (1 if factor < 1 else -1)).all()


def test_the_lambda_loss_has_its_minimum_at_the_closed_form(spikes):
    """The definition, sum_c [lambda_c (a_c + delta) - (N_e + r - 1) log lambda_c], around the step's result."""
    model = model_of(spikes, spikes.filters, lambda_learning="em_closed_form")
    norms, positions, _ = statistics(model, spikes.signal)
    mean = np.asarray(model.training_state.prior_mean, float)
    model.train_on_batch(spikes.signal)
    found = np.asarray(model.lambda_reg, float)

    def loss(rates):
        return np.sum(rates * (norms + positions / mean) - (2 * positions - 1) * np.log(rates))

    for c in range(3):
        for change in (0.99, 1.01):
            assert loss(np.where(np.arange(3) == c, change * found, found)) > loss(found)
    logs = model.test_on_batch(spikes.signal, return_dict=True)
    norms, positions, _ = statistics(model, spikes.signal)
    assert logs["lambda_loss"] == pytest.approx(loss(found), rel=1e-4)


@pytest.mark.parametrize("learning, moves", [(None, False), ("em", True), ("em_closed_form", True)])
def test_lambda_moves_only_where_it_learns_and_filters_only_by_their_optimiser(spikes, learning, moves):
    model = model_of(spikes, spikes.filters, lambda_learning=learning)
    kernel, rates = np.array(model.dictionary.kernel), np.array(model.lambda_reg)
    model.train_on_batch(spikes.signal[:8])
    np.testing.assert_allclose(model.dictionary.kernel, kernel, atol=1e-6)
    assert (np.abs(np.asarray(model.lambda_reg) - rates) > 1e-4).any() == moves


@pytest.mark.parametrize("learning", ["em_through_code", "bias", "backprop"])
def test_lambda_follows_the_gradient_of_its_losses_through_the_code(spikes, learning):
    """Finite differences of the losses that ``evaluate`` reports: both of them for the authors' EM, else the first."""
    rate, clean = 1e-4 if learning == "em_through_code" else 0.1, 0.9 * spikes.signal  # a move above float32's rounding
    model = model_of(spikes, spikes.filters, keras.optimizers.SGD(rate), lambda_learning=learning, gradient="unrolled")
    first = np.array(model.lambda_reg)

    def losses(filter_number, change):
        model.lambda_reg.assign(first + change * (np.arange(3) == filter_number))
        logs = model.test_on_batch(spikes.signal, clean, return_dict=True)
        return logs["reconstruction_loss"] + (logs["lambda_loss"] if learning == "em_through_code" else 0.0)

    step = 0.01 * first.mean()
    slopes = np.array([(losses(c, step) - losses(c, -step)) / (2 * step) for c in range(3)])
    model.lambda_reg.assign(first)
    model.train_on_batch(spikes.signal, clean)
    moved = (first - np.asarray(model.lambda_reg)) / rate
    np.testing.assert_allclose(moved, slopes, rtol=0.05, atol=0.02 * np.abs(slopes).max())


def test_a_bias_stays_where_it_is_while_the_step_size_follows_the_filters(spikes, near_filters):
    ends = {}
    for learning in ("bias", "backprop"):
        model = model_of(spikes, near_filters, keras.optimizers.SGD(0.0), lambda_learning=learning, gradient="unrolled")
        model.compile(keras.optimizers.SGD(0.5), keras.optimizers.SGD(0.0), run_eagerly=True)
        before = float(model.step_size), np.asarray(model.encoder.cell.threshold())
        model.train_on_batch(spikes.signal[:8])
        assert abs(float(model.step_size) / before[0] - 1) > 1e-3
        ends[learning] = np.asarray(model.encoder.cell.threshold()) / before[1] - 1
    assert np.abs(ends["bias"]).max() < 1e-5 < np.abs(ends["backprop"]).max()


def test_a_model_may_learn_on_another_forward_pass(spikes):
    """As Denoiser does: the trainer calls what is set as ``forward``."""
    model = model_of(spikes, spikes.filters)
    trainer, calls = TwoStageTrainer(model), []

    def half(batch, training):
        calls.append(training)
        code, (error, weight) = trainer.plain_forward(batch, training)
        return code, (0.5 * error, weight)

    plain = trainer.test_step(spikes.signal[:8])["loss"]
    trainer.forward = half
    for metric in trainer.metrics:
        metric.reset_state()
    np.testing.assert_allclose(trainer.test_step(spikes.signal[:8])["loss"], 0.5 * plain, rtol=1e-5)
    assert calls == [False]


def test_the_step_size_follows_the_filters_after_a_step(spikes, near_filters):
    model = kc.CRsAE(3, 21, iterations=5, gradient="decoder", seed=0)
    model.set_dictionary(near_filters)
    model.adapt(spikes.signal)
    model.compile(keras.optimizers.Adam(5e-2), run_eagerly=True)
    before = float(model.step_size)
    model.train_on_batch(spikes.signal)
    assert float(model.step_size) != before
    assert float(model.step_size) * float(model.dictionary.largest_eigenvalue()) == pytest.approx(1, rel=1e-5)
