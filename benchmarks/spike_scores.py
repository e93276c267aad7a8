"""Scores of a sorting against the truth, by SpikeInterface's comparison."""

import warnings

import numpy as np

DELTA_MS = 0.5


def score(truth, samples, units, match_score=0.5):
    """Mean accuracy, precision and recall over the true units.

    Accuracy is TP / (TP + FN + FP); a spike is found when one of the matched unit lies within 0.5 ms. Units are
    matched one to one (Hungarian). As SpikeInterface does, a true unit that no sorted one reaches with an accuracy of
    ``match_score`` counts as missed: accuracy, precision and recall 0.

    Args:
        truth: benchmarks.spike_recordings.Recording.
        samples, units: (spikes,) the sorting.
        match_score: least accuracy of a match, SpikeInterface's default 0.5.

    Returns:
        dict of ``accuracy``, ``precision``, ``recall`` (means), ``by_unit`` (accuracies of the true units in order)
        and ``units`` (how many the sorting has).
    """
    from spikeinterface.comparison import compare_sorter_to_ground_truth
    from spikeinterface.core import NumpySorting

    true_units = np.unique(truth.spike_units)
    if len(samples) == 0:
        zeros = [0.0] * len(true_units)
        return {"accuracy": 0.0, "precision": 0.0, "recall": 0.0, "by_unit": zeros, "units": 0}
    order = np.argsort(samples, kind="stable")
    tested = NumpySorting.from_samples_and_labels([samples[order]], [units[order]], truth.sampling_frequency)
    known = NumpySorting.from_samples_and_labels([truth.spike_samples], [truth.spike_units], truth.sampling_frequency)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas' own
        compared = compare_sorter_to_ground_truth(known, tested, delta_time=DELTA_MS, match_score=match_score,
                                                  exhaustive_gt=truth.exhaustive)
        found = compared.get_performance("by_unit").loc[true_units].astype(float).fillna(0.0)
    means = {name: float(found[name].mean()) for name in ("accuracy", "precision", "recall")}
    return means | {"by_unit": found["accuracy"].tolist(), "units": int(tested.get_num_units())}
