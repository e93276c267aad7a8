"""Settings of a denoiser's training: their defaults, and which contradict each other."""

import json

import pytest

from keras_crsae.applications.denoising import DenoiserTraining
from keras_crsae.problem import GammaPrior


def test_defaults_follow_from_whether_there_are_clean_targets():
    one, other = DenoiserTraining().resolve(0.1), DenoiserTraining(supervised=False).resolve(0.1)
    assert (one.iterations, one.tied, one.gradient, one.lambda_learning) == (10, False, "unrolled", "backprop")
    assert (other.iterations, other.tied, other.gradient, other.lambda_learning) == (30, True, "decoder", "em")


def test_a_given_value_is_kept():
    settings = DenoiserTraining(iterations=3, lambda_learning=None, sigma_power=0.5).resolve((0.1, 0.2))
    assert settings.iterations == 3 and settings.sigma_power == 0.5
    assert settings.lambda_learning is None  # lambda is kept as it is: not the default


def test_the_threshold_grows_faster_than_sigma_for_a_range_of_levels_alone():
    assert DenoiserTraining().resolve((0.1, 0.2)).sigma_power == 0.17
    assert DenoiserTraining().resolve((0.1, 0.1)).sigma_power == DenoiserTraining().resolve(0.1).sigma_power == 0.0


def test_cdlnet_has_settings_of_its_own_and_no_power_of_sigma():
    settings = DenoiserTraining.cdlnet(filters=8).resolve((0.02, 0.2))
    assert (settings.filters, settings.strides, settings.iterations, settings.training_shifts) == (8, 1, 20, 1)
    assert settings.sigma_power == 0.0 and settings.learning_rate == 1e-3 and settings.lambda_learning is None


def test_an_estimate_of_the_error_has_the_defaults_of_the_error_itself():
    settings = DenoiserTraining(supervised=False, loss="sure").resolve((0.1, 0.2))
    assert (settings.iterations, settings.tied, settings.gradient, settings.lambda_learning) == (
        10, False, "unrolled", "backprop")
    assert settings.sigma_power == 0.0 and settings.to_dict()["loss"] == "sure"
    assert DenoiserTraining.cdlnet(supervised=False, loss="sure").resolve(0.1).iterations == 20


def test_settings_are_frozen_and_fit_into_json():
    settings = DenoiserTraining(lambda_prior=GammaPrior(strength=2.0), model_options={"tolerance": None})
    with pytest.raises(AttributeError):
        settings.filters = 3
    stored = json.loads(json.dumps(settings.to_dict()))
    assert stored["lambda_prior"]["strength"] == 2.0 and stored["kernel_size"] == 8


@pytest.mark.parametrize("options, words", [
    *(({"supervised": False, "lambda_learning": how}, "drives lambda to zero")
      for how in ("backprop", "bias", "em_through_code")),
    ({"supervised": False, "tied": False}, "as they were first"),
    ({"supervised": False, "architecture": "cdlnet"}, "noise pass"),
    ({"loss": "sure"}, "the error itself is known"), ({"loss": "mse"}, "one of"),
    ({"loss": "sure", "supervised": False, "low_pass_pixels": 2.0}, "low_pass_pixels"),
    ({"loss": "sure", "supervised": False, "sigma_power": 0.1}, "sigma_power"),
    ({"architecture": "unet"}, "architecture"), ({"flat_share": 1.0}, "flat_share"), ({"clip_norm": 0}, "clip_norm"),
    ({"averaging": -0.1}, "averaging"), ({"backtrack_db": 0}, "backtrack_db"),
    ({"crop_pixels": 0}, "crop_pixels"), ({"batch_size": 1.5}, "batch_size")])
def test_settings_that_contradict_each_other_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        DenoiserTraining(**options)
