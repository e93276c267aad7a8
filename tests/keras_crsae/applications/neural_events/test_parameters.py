"""Tuning constants."""

import pytest

from keras_crsae.applications.neural_events.parameters import DEFAULTS, EventParameters


def test_a_dictionary_and_back():
    assert EventParameters.from_dict(DEFAULTS.to_dict()) == DEFAULTS


@pytest.mark.parametrize("values", [
    {"neurons": "all"}, {"baseline": "mean"}, {"likelihood": "gaussian"}, {"signs": "negative"}, {"steps": 0},
    {"first_kernels": "random"}, {"folds": 1}, {"rounds": -1}, {"hidden_share": 1.0}, {"learning_rate": 0.0},
    {"smoothness": -1.0}, {"merge_ms": float("nan")}, {"held_out_groups": 1}, {"unknown": 1}])
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        EventParameters.from_dict(values)
