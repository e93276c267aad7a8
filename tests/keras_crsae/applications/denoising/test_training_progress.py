"""The course of a training by steps and by the clock."""

import itertools

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.applications.denoising.training_progress import Backtracking, RateSchedule, TrainingProgress


@pytest.fixture(scope="module")
def fit():
    """Train a small model under a ``TrainingProgress``; its first learning rates are 0.01 and 0.02."""
    data = np.random.default_rng(0).standard_normal((8, 12, 12, 1)).astype("float32")
    model = kc.Denoiser(2, 3, iterations=2, tied=False, sigma=1.0, lambda_init=1.0, seed=0)
    model.adapt(data, "windows")

    def run(progress, epochs=50, batch_size=2):
        model.compile(keras.optimizers.Adam(1.0), keras.optimizers.Adam(1.0))
        model.fit(data, epochs=epochs, batch_size=batch_size, callbacks=[progress], verbose=0)
        return model, progress

    return run


def test_steps_end_the_training_at_the_last_rate_of_the_cosine(fit):
    model, progress = fit(TrainingProgress((0.01, 0.02), steps=6, verbose=0))
    assert int(model.optimizer.iterations) == 6 == progress.record["steps"]
    last = 0.5 * (1 + np.cos(np.pi * 5 / 6))
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01 * last, rel=1e-5)
    assert float(model.lambda_optimizer.learning_rate) == pytest.approx(0.02 * last, rel=1e-5)


def test_minutes_end_the_training_at_a_rate_near_zero(fit):
    seconds = itertools.count()  # a second passes at each look
    model, progress = fit(TrainingProgress((0.01, 0.02), minutes=1.0, verbose=0, clock=lambda: float(next(seconds))))
    assert progress.record["minutes"] == pytest.approx(1.0, abs=0.15)
    assert 10 < progress.record["steps"] < 60 and float(model.optimizer.learning_rate) < 1e-4


def test_what_is_closer_to_its_end_counts():
    record = {"steps": 4, "minutes": 0.25, "history": []}  # of an earlier run
    progress = TrainingProgress((0.01, 0.02), steps=100, minutes=1.0, record=record)
    assert progress.fraction(10) == 0.25 and progress.fraction(90) == 0.9 and progress.fraction(200) == 1.0


def test_each_step_is_reported_from_the_beginning_with_what_was_reached_last(fit):
    told = []
    fit(TrainingProgress((0.0, 0.0), steps=6, verbose=0, report=lambda step, done: told.append((step, round(done, 3)))))
    assert [done for _, done in told] == [0.0, 0.167, 0.333, 0.5, 0.667, 0.833, 1.0]
    assert told[0][0] == "train, the first step takes longest" and told[5][0].startswith("train, step 4 of 6")


def test_lines_report_psnr_where_the_noise_is_known_and_the_loss_else(fit, capsys):
    fit(TrainingProgress((0.0, 0.0), steps=4, sigma=0.1))
    assert "training for 4 steps\nstep 4 of 4" in (out := capsys.readouterr().out) and "dB in training" in out
    fit(TrainingProgress((0.0, 0.0), steps=4))
    assert "sigma^2 in training" in capsys.readouterr().out


def test_rates_rise_stay_and_fall():
    schedule = RateSchedule(warm_up_steps=4, flat_share=0.5)
    assert [round(schedule.factor(step, step / 10), 3) for step in (0, 1, 3, 5, 6, 10)] == [0.25, 0.5, 1, 1, 0.905, 0]


def test_a_loss_far_above_the_last_ones_brings_earlier_weights_back(fit):
    model, _ = fit(TrainingProgress((0.01, 0.01), steps=4, verbose=0))
    backtracking = Backtracking(fall_db=2.0)
    assert not any(backtracking.went_back(model, loss) for loss in (1.0, 1.1, 0.9, 1.0))
    steps, good = int(model.optimizer.iterations), np.asarray(model.dictionary.kernel)
    model.decoder.kernel.assign(5.0 * model.decoder.kernel.value)
    model.dictionary.kernel.assign(model.dictionary.kernel.value[::-1])
    assert not backtracking.went_back(model, 1.4) and backtracking.went_back(model, 1.9)
    np.testing.assert_array_equal(model.dictionary.kernel, good)
    assert int(model.optimizer.iterations) == steps and backtracking.went_back(model, float("nan"))


def test_training_that_goes_back_goes_on_at_lower_rates():
    progress = TrainingProgress((0.01, 0.02), steps=10, backtrack_db=1.0, verbose=0)
    progress.backtracking.went_back = lambda model, loss: loss > 1
    for loss in (0.5, 2.0):
        progress.on_epoch_end(0, {"reconstruction_loss": loss, "sparsity": 0.1})
    assert progress.rates == (0.008, 0.016)
    assert [row.get("backtracked") for row in progress.record["history"]] == [None, True]
