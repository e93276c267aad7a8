"""Parts of the benchmark of events in trials."""

import numpy as np

from benchmarks import neural_events as benchmark
from keras_crsae.applications.neural_events import EVENT_FIELDS


def events(*rows):
    return np.array([(trial, 0, time, 0, amplitude) for trial, time, amplitude in rows], EVENT_FIELDS)


def test_later_trials_are_counted_from_zero():
    found = benchmark.later(events((3, 1.0, 1.0), (benchmark.LEARN + 2, 5.0, 1.0)))
    assert found["trial"].tolist() == [2] and found["time_ms"].tolist() == [5.0]


def test_the_threshold_of_the_best_score_is_found():
    true = events((0, 100.0, 1.0), (0, 300.0, 1.0))
    candidates = events((0, 100.0, 5.0), (0, 300.0, 4.0), (0, 200.0, 1.0))
    level, scores = benchmark.tuned(true, candidates)
    assert scores.f1 == 1 and len(benchmark.above(candidates, level)) == 2


def test_kernels_are_averaged_in_bins():
    assert benchmark.binned(np.arange(10.0)[:, None])[:, 0, 0].tolist() == [2.0, 7.0]
