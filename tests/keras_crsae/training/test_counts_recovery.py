"""Filters of counts are recovered from simulated data, one seed of each case of ``benchmarks.counts_recovery``."""

import keras
import pytest

import keras_crsae as kc
from benchmarks.counts_recovery import CASES

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:lambda was held")]


def errors(group, name, seed=0):
    data, model = CASES[group][name](seed)
    return kc.metrics.dictionary_error(data["filters"], keras.ops.convert_to_numpy(model.dictionary.kernel))


def test_overlapping_templates_of_25_trials_are_recovered_and_better_than_by_the_gaussian_model():
    found, gaussian = errors("trials", "binomial").mean(), errors("trials", "gaussian").mean()
    assert found <= 0.20 and found <= 2 / 3 * gaussian, (found, gaussian)


@pytest.mark.parametrize("group, name, most", [("single", "binomial", 0.22), ("onsets", "binomial", 0.15),
                                               ("two", "binomial, from error .45", 0.25)])
def test_kernels_of_single_trials_are_recovered(group, name, most):
    assert (errors(group, name) <= most).all()
