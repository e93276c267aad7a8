"""Recordings, scores and rows of the spike-sorting benchmark."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
pytest.importorskip("pandas", reason="spikeinterface[comparison] is not installed")

from benchmarks import spike_recordings, spike_scores, spike_sorting, spike_worker  # noqa: E402

# SpikeInterface leaves closing the files it writes and maps to the garbage collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def matched(true, found, reach):
    """Spikes of ``true`` that get a spike of ``found`` within ``reach`` samples, each used once; sorted trains."""
    count = i = j = 0
    while i < len(true) and j < len(found):
        if abs(true[i] - found[j]) <= reach:
            count, i, j = count + 1, i + 1, j + 1
        elif found[j] < true[i]:
            j += 1
        else:
            i += 1
    return count


def independent_scores(truth, samples, units, match_score):
    """Accuracy, precision and recall by an independent matcher and SciPy's assignment."""
    from scipy.optimize import linear_sum_assignment

    reach = int(0.5e-3 * truth.sampling_frequency)
    true = [np.sort(truth.spike_samples[truth.spike_units == u]) for u in np.unique(truth.spike_units)]
    found = [np.sort(samples[units == u]) for u in np.unique(units)]
    hits = np.array([[matched(a, b, reach) for b in found] for a in true])
    accuracy = np.array([[h / (len(a) + len(b) - h) for h, b in zip(row, found, strict=True)]
                         for row, a in zip(hits, true, strict=True)])
    out = np.zeros((len(true), 3))
    for i, j in zip(*linear_sum_assignment(-np.where(accuracy < match_score, 0, accuracy)), strict=True):
        if accuracy[i, j] >= match_score:
            out[i] = accuracy[i, j], hits[i, j] / len(found[j]), hits[i, j] / len(true[i])
    return out


@pytest.fixture(scope="module")
def truth():
    return spike_recordings.simulate("sim_single_white", seed=3, duration=8.0)


def worsened(truth, seed, jitter=9, lost=0.1, extra=40, swapped=0.1):
    """A sorting with lost, invented, moved and mislabelled spikes, in any order."""
    rng = np.random.default_rng(seed)
    kept = rng.random(len(truth.spike_samples)) > lost
    samples = truth.spike_samples[kept] + rng.integers(-jitter, jitter + 1, kept.sum())
    units = np.where(rng.random(kept.sum()) < swapped, rng.integers(0, 4, kept.sum()), truth.spike_units[kept])
    samples = np.concatenate([samples, rng.integers(0, len(truth.traces), extra)])
    units = np.concatenate([units, rng.integers(0, 3, extra)])
    order = rng.permutation(len(samples))
    return samples[order], units[order] * 10 + 5


@pytest.mark.parametrize("seed, lost, match_score", [(0, 0.1, 0.5), (1, 0.3, 0.5), (2, 0.6, 0.5), (2, 0.6, 0.0)])
def test_scores_equal_an_independent_matcher(truth, seed, lost, match_score):
    samples, units = worsened(truth, seed, lost=lost)
    ours = spike_scores.score(truth, samples, units, match_score)
    expected = independent_scores(truth, samples, units, match_score)
    # An invented spike between two true ones can be counted in either way: a spike or two of a hundred.
    np.testing.assert_allclose(ours["by_unit"], expected[:, 0], atol=0.01)
    np.testing.assert_allclose([ours[k] for k in ("accuracy", "precision", "recall")], expected.mean(axis=0), atol=0.01)
    assert ours["units"] == len(np.unique(units)) and 0 <= ours["accuracy"] < 0.9


def test_the_truth_scores_one_and_nothing_scores_zero(truth):
    perfect = spike_scores.score(truth, truth.spike_samples, truth.spike_units)
    assert perfect["accuracy"] == perfect["precision"] == perfect["recall"] == 1.0 and perfect["units"] == 3
    nothing = spike_scores.score(truth, np.zeros(0, int), np.zeros(0, int))
    assert nothing["accuracy"] == 0.0 and nothing["by_unit"] == [0.0] * 3
    late = spike_scores.score(truth, truth.spike_samples + 16, truth.spike_units)  # 0.53 ms
    assert late["accuracy"] < 0.1 and spike_scores.score(truth, truth.spike_samples + 15, truth.spike_units)[
        "accuracy"] == 1.0


@pytest.mark.parametrize("kind", spike_recordings.SIMULATED)
def test_simulated_recordings_are_what_their_description_says(kind):
    recording = spike_recordings.simulate(kind, seed=1, duration=10.0)
    channels, units = {"sim_tetrode": (4, 6), "sim_probe32": (32, 15)}.get(kind, (1, 3))
    assert recording.traces.shape == (300000, channels) and recording.traces.dtype == np.int16
    assert recording.locations.shape == (channels, 2)
    assert np.unique(recording.spike_units).tolist() == list(range(units))
    signal = recording.traces * (recording.gain_uv / spike_recordings.NOISE_UV)
    noise = np.median(np.abs(signal), axis=0) / 0.6745
    assert np.all(np.abs(noise - 1) < 0.06)  # spikes add to the noise of sd 1
    for unit in range(units):
        times = recording.spike_samples[recording.spike_units == unit]
        assert np.diff(times).min() >= 0.003 * 30000 - 1
        mean = np.mean([signal[t - 20:t + 40] for t in times], axis=0)
        assert 19 <= np.unravel_index(np.abs(mean).argmax(), mean.shape)[0] <= 21, "spike_samples are the extrema"
        if channels == 1:
            assert mean.min() == pytest.approx((-8.0, -5.5, -4.0)[unit], abs=0.5)
    if channels == 1:
        gaps = np.diff(recording.spike_samples) / 30
        near = np.mean((np.append(np.inf, gaps) < 2) | (np.append(gaps, np.inf) < 2))
        assert 0.25 < near < 0.42  # a third of the spikes have a neighbour within 2 ms
    coloured = np.corrcoef(signal[:-1, 0], signal[1:, 0])[0, 1]
    assert (coloured > 0.4) == (kind != "sim_single_white")


def test_a_seed_is_a_recording_and_another_seed_another():
    first, again, other = (spike_recordings.simulate("sim_tetrode", s, duration=3.0) for s in (4, 4, 5))
    np.testing.assert_array_equal(first.traces, again.traces)
    assert not np.array_equal(first.spike_samples, other.spike_samples)


def test_the_tetrodes_last_two_units_are_alike():
    rng = np.random.default_rng(0)
    tetrode = 12.5 * np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    templates = spike_recordings.draw_templates(tetrode, 6, rng, similar=0.95)
    cosines = np.einsum("utc,vtc->uv", templates, templates)
    assert cosines[4, 5] == pytest.approx(0.95) and np.sort(cosines[np.triu_indices(6, 1)])[-2] < 0.96


def test_the_beginning_of_a_recording_keeps_its_spikes(truth):
    part = truth.first(2.0)
    assert part.duration == 2.0 and part.spike_samples.max() < 60000
    assert len(part.spike_samples) == np.sum(truth.spike_samples < 60000)


def test_missing_data_and_unknown_kinds_are_refused(monkeypatch):
    monkeypatch.delenv("KERAS_CRSAE_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="KERAS_CRSAE_DATA"):
        spike_recordings.load("tetrode")
    with pytest.raises(ValueError, match="Unknown kind"):
        spike_recordings.load("octrode")


@pytest.mark.parametrize("kind", spike_recordings.FILES)
def test_shared_files_are_read(kind):
    try:
        recording = spike_recordings.load(kind)
    except FileNotFoundError:
        pytest.skip("KERAS_CRSAE_DATA names no folder with the shared recordings")
    assert recording.spike_samples.max() < len(recording.traces)
    assert recording.exhaustive == (kind != "hc1_semireal")
    if kind == "hc1_semireal":
        assert np.unique(recording.spike_units).tolist() == [0]


def test_a_run_scores_what_the_worker_found(truth, tmp_path, monkeypatch):
    """A stand-in for the worker, in another process, answers with the truth, late, or not at all."""
    worker = tmp_path / "stand_in.py"
    worker.write_text(
        "import json, sys, time\nfrom pathlib import Path\n"
        "folder = Path(sys.argv[1]); job = json.loads((folder / 'job.json').read_text())\n"
        "if job['sorter'] == 'slow': time.sleep(60)\n"
        "if job['sorter'] == 'bad': raise RuntimeError('no such thing')\n"
        "import numpy as np\nfrom spikeinterface.core import load\n"
        "recording = load(folder / 'recording')\n"
        "assert recording.get_num_samples() == 240000 and recording.get_channel_gains()[0] > 0\n"
        f"np.savez(folder / 'spikes.npz', samples={truth.spike_samples.tolist()}, units={truth.spike_units.tolist()})\n"
        "(folder / 'outcome.json').write_text(json.dumps({'seconds': 1.5, 'note': str(job['seed'])}))\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    good = spike_sorting.run(truth, "good", 7, 1, 60.0, module="stand_in")
    assert good["accuracy"] == 1.0 and good["seconds"] == 1.5 and good["note"] == "7"
    assert spike_sorting.run(truth, "slow", 0, 1, 1.0, module="stand_in") == {"failed": "stopped after 1 s"}
    bad = spike_sorting.run(truth, "bad", 0, 1, 60.0, module="stand_in")
    assert bad == {"failed": "crashed: RuntimeError: no such thing"}


def test_rows_hold_mean_range_worst_unit_and_failures():
    common = {"precision": 0.5, "recall": 0.5, "seconds": 2.0, "note": "", "units": 3}
    runs = [common | {"accuracy": 0.8, "by_unit": [0.9, 0.7]}, common | {"accuracy": 0.9, "by_unit": [0.95, 0.85]}]
    assert spike_sorting.row("ours", runs) == ["ours", "0.850 (0.800 ... 0.900)", "0.500", "0.500", "0.700", "3/3",
                                               "2.0", 2, ""]
    failed = spike_sorting.row("other", [{"failed": "crashed: KeyError: 1"}])
    assert failed[1] == "-" and failed[-1] == "crashed: KeyError: 1" and len(failed) == len(spike_sorting.HEADERS)
    mixed = spike_sorting.row("mixed", [runs[0], {"failed": "stopped after 1 s"}])
    assert mixed[1] == "0.800" and mixed[-1] == "stopped after 1 s"


def test_cut_offs_are_lowered_only_where_the_rate_asks_for_it():
    defaults = {"freq_max": 6000.0, "filtering": {"freq_max": 7000, "order": 2}, "seed": 1, "other": {"a": 1}}
    assert spike_worker.below_nyquist(defaults, 30000.0) == {}
    assert spike_worker.below_nyquist(defaults, 10000.0) == {
        "freq_max": 4500.0, "filtering": {"freq_max": 4500.0, "order": 2}}


def test_choices_follow_short_and_the_data_that_is_there(monkeypatch, capsys):
    monkeypatch.delenv("KERAS_CRSAE_DATA", raising=False)
    kinds, sorters, seeds = spike_sorting.chosen(spike_sorting.parse([]))
    assert tuple(kinds) == spike_recordings.SIMULATED and len(sorters) == 6 and seeds == [0, 1, 2]
    assert "omitted" in capsys.readouterr().out
    kinds, sorters, seeds = spike_sorting.chosen(spike_sorting.parse(["--short", "--sorters", "crsae", "lupin"]))
    assert tuple(kinds) == spike_sorting.SHORT_KINDS
    assert sorters == ["crsae"] and seeds == [0]
    with pytest.raises(FileNotFoundError):
        spike_sorting.chosen(spike_sorting.parse(["--kinds", "tetrode"]))


def test_the_script_explains_its_options_without_starting_tensorflow():
    code = "import sys; sys.argv = ['x', '--help']\nfrom benchmarks import spike_sorting as q\n" \
           "try: q.main()\nexcept SystemExit: print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--kinds" in done.stdout and "--short" in done.stdout and done.stdout.endswith("False\n")
