"""The benchmark of matching engines: its recordings and its figures."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("spikeinterface.benchmark", reason="spikeinterface is not installed")

from benchmarks import matching_study as benchmark  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # SpikeInterface's own


def test_spikes_keep_the_refractory_time_and_some_are_synchronous():
    truth = benchmark.firing(benchmark.Kind(4, 6, 2), 20.0, seed=0)
    trains = [truth.get_unit_spike_train(unit) for unit in truth.unit_ids]
    assert len(trains) == 6 and min(np.diff(train).min() for train in trains) >= 120
    every = np.concatenate(trains)
    assert 0.05 < 1 - len(np.unique(every)) / len(every) < 0.12  # a tenth was added, less what came too early


def test_templates_are_those_of_the_recording_on_the_channels_they_reach(tmp_path):
    kind = benchmark.Kind(4, 3, 2, noise_uv=0.01)
    recording, truth, templates, noise = benchmark.generate(kind, 2.0, 0, tmp_path / "made")
    assert noise.tolist() == [0.01] * 4 and templates.nbefore == 30
    spikes = truth.to_spike_vector()
    times = spikes["sample_index"]
    alone = np.flatnonzero((np.diff(times, prepend=-1000) > 150) & (np.diff(times, append=10**6) > 150))[0]
    at, unit = times[alone], spikes["unit_index"][alone]
    cut = recording.get_traces(start_frame=at - 30, end_frame=at + templates.num_samples - 30)
    np.testing.assert_allclose(cut, templates.get_dense_templates()[unit], atol=0.1)


def test_recall_of_collisions_is_told_by_lag_and_by_similarity():
    """Three units of which the first two are alike: their collisions on one sample are missed, all others found."""
    pandas = pytest.importorskip("pandas", reason="spikeinterface[comparison] is not installed")
    tp, fn = np.full((3, 3, 11), 10), np.zeros((3, 3, 11), int)
    for unit in range(3):
        tp[unit, unit] = 0
    tp[0, 1, 5], fn[0, 1, 5], tp[1, 0, 5], fn[1, 0, 5] = 0, 10, 0, 10
    scores = pandas.DataFrame({"accuracy": [0.8, 0.9, np.nan], "precision": [1, 1, 0], "recall": [0.8, 0.9, 0]})
    templates = np.zeros((3, 5, 2))
    templates[0, 2, 0], templates[1, 2, 0], templates[1, 3, 0], templates[2, 2, 1] = 1.0, 1.0, 0.1, 1.0
    made = benchmark.figures(SimpleNamespace(get_performance=lambda: scores), SimpleNamespace(all_tp=tp, all_fn=fn),
                             templates)
    assert made["accuracy"] == pytest.approx(1.7 / 3) and made["lowest"] == 0
    assert made["collisions"] == 660 and made["collision_recall"] == pytest.approx(640 / 660)
    assert list(made["by_lag"].values()) == pytest.approx([40 / 60, 1, 1])
    assert made["by_similarity"] == {"below 0.5": 1.0, "0.5 to 0.9": None, "0.9 and above": pytest.approx(200 / 220)}


def test_a_row_holds_the_means_over_seeds():
    parts = {"by_lag": dict.fromkeys(benchmark.LAGS, 1.0), "by_similarity": dict.fromkeys(benchmark.SIMILARITIES),
             "collision_recall": 0.5, "processor_seconds_a_second": 0.02}
    found = [{"crsae": {"accuracy": accuracy, "lowest": accuracy - 0.1, **parts}} for accuracy in (0.9, 1.0)]
    assert benchmark.rows_of(found, ("crsae",)) == [
        ["crsae", "0.950", "0.800", "0.500", "1.000", "1.000", "1.000", "-", "-", "-", "20 ms"]]


@pytest.mark.slow
def test_ours_loses_to_no_engine_of_spikeinterface():
    pytest.importorskip("pandas", reason="spikeinterface[comparison] is not installed")
    found = benchmark.study(benchmark.Kind(4, 6, 2), 10.0, seed=0, engines=("crsae", "wobble", "tdc-peeler"))
    ours = found.pop("crsae")
    assert ours["accuracy"] > 0.98 and ours["collision_recall"] > 0.98
    for other in found.values():
        assert ours["accuracy"] >= other["accuracy"] and ours["collision_recall"] >= other["collision_recall"]
