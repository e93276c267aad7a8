"""Tuning constants of the sorter."""

import dataclasses
import json

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting import SortingParameters, sort
from keras_crsae.applications.spike_sorting.parameters import with_options


def test_parameters_survive_json():
    parameters = SortingParameters(refractory_ms=2, iterations=np.int64(7), epochs=0)
    stored = json.loads(json.dumps(parameters.to_dict()))
    assert SortingParameters.from_dict(stored) == parameters
    assert isinstance(parameters.refractory_ms, float) and isinstance(parameters.iterations, int)
    assert SortingParameters.from_dict({}) == SortingParameters()


@pytest.mark.parametrize("field", dataclasses.fields(SortingParameters), ids=lambda field: field.name)
def test_negative_and_wrong_values_are_refused(field):
    for value in (-1, True, "1", None, float("nan"), 2.5 if isinstance(field.default, int) else 0):
        with pytest.raises(ValueError, match=f"`{field.name}` must be .* Received: {field.name}="):
            SortingParameters(**{field.name: value})


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="Unknown sorting parameters: refractory.*refractory_ms"):
        SortingParameters.from_dict({"refractory": 1.0})


def test_durations_are_rounded_to_samples():
    parameters = SortingParameters()
    assert [parameters.samples(ms, 30000) for ms in (0.7, 1.5, 1.0, 0.001)] == [21, 45, 30, 1]


def test_options_stand_above_the_parameters_and_leave_the_rest():
    base = SortingParameters(refractory_ms=2.0, epochs=5, detection_threshold_sd=6.0)
    assert with_options(base) == base
    assert with_options(base, threshold=5, epochs=0, learning_seconds=20) == dataclasses.replace(
        base, detection_threshold_sd=5.0, epochs=0, learning_seconds=20.0)
    wide, narrow = (with_options(base, amplitude_variation=cv) for cv in (0.3, 0.02))
    for parameters, cv in ((wide, 0.3), (narrow, 0.02)):
        assert parameters.maximum_amplitude_cv == parameters.initial_amplitude_cv == cv
        assert parameters.minimum_amplitude_cv <= cv <= parameters.first_rounds_amplitude_cv


@pytest.mark.parametrize(("options", "message"), [
    ({"treshold": 4}, "Unknown options: treshold.*threshold, amplitude_variation, epochs, learning_seconds"),
    ({"threshold": 0}, "`threshold` must be"), ({"amplitude_variation": 10}, "is a fraction"),
    ({"epochs": 1.5}, "`epochs`"), ({"learning_seconds": float("inf")}, "`learning_seconds`")])
def test_unfit_options_are_refused_before_work(options, message):
    with pytest.raises(ValueError, match=message):
        with_options(SortingParameters(), **options)
    with pytest.raises(ValueError, match=message):
        sort(np.zeros(40_000), 20_000, **options)
