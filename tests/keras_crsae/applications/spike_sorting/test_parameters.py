"""Tuning constants of the sorter."""

import dataclasses
import json

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting import SortingParameters


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
