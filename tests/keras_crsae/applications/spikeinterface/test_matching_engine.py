"""The matching engine "crsae": what SpikeInterface checks of every engine in its own tests, and more."""

import pickle

import numpy as np
import pytest

si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
pytest.importorskip("spikeinterface.sortingcomponents.matching", reason="spikeinterface[sortingcomponents]")

from spikeinterface.core import ChannelSparsity, Templates, compute_sparsity  # noqa: E402
from spikeinterface.sortingcomponents.matching import find_spikes_from_templates  # noqa: E402
from spikeinterface.sortingcomponents.matching.method_list import matching_methods  # noqa: E402

from keras_crsae.applications.spikeinterface.matching_engine import CrsaeMatching, register_matching  # noqa: E402

# SpikeInterface's own, numba's and scikit-learn's.
pytestmark = pytest.mark.filterwarnings("ignore")
JOBS = {"n_jobs": 1, "chunk_duration": "500ms", "progress_bar": False}


@pytest.fixture(scope="module")
def generated():
    """(recording of two segments, true sorting, sparse ``Templates`` in its stored unit), as SpikeInterface's tests."""
    recording, truth = si.generate_ground_truth_recording(durations=[4.0, 3.0], sampling_frequency=20000.0,
                                                          num_channels=4, num_units=4, seed=3)
    analyzer = si.create_sorting_analyzer(truth, recording, sparse=False)
    analyzer.compute({"random_spikes": {}, "templates": {}, "noise_levels": {}}, progress_bar=False)
    templates = analyzer.get_extension("templates").get_data(outputs="Templates")
    return recording, truth, templates.to_sparse(compute_sparsity(analyzer, method="snr", threshold=0.5))


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(matching_methods, "crsae", None)
    return register_matching()


def scores(spikes, truth, tolerance=10):
    """Accuracy of each true unit, units matched by their index."""
    out = []
    for unit, unit_id in enumerate(truth.unit_ids):
        hits = found = true = 0
        for segment in range(truth.get_num_segments()):
            times = truth.get_unit_spike_train(unit_id, segment_index=segment)
            mine = np.sort(spikes["sample_index"][(spikes["cluster_index"] == unit)
                                                  & (spikes["segment_index"] == segment)])
            near = np.abs(times[:, None] - mine[None]).min(axis=1, initial=10**6)
            hits, found, true = hits + int((near <= tolerance).sum()), found + len(mine), true + len(times)
        out.append(hits / (found + true - hits))
    return np.array(out)


def test_registering_adds_the_engine_once(registered):
    assert registered is CrsaeMatching is matching_methods["crsae"] is register_matching()
    assert not registered.need_noise_levels and registered.name == "crsae" and "amplitude_cv" in registered.params_doc


def test_spikes_of_true_templates_are_found_in_every_segment(generated, registered):
    recording, truth, templates = generated
    spikes, extra = find_spikes_from_templates(recording, templates, method="crsae", method_kwargs={},
                                               extra_outputs=True, job_kwargs=JOBS)
    assert extra is None and spikes.dtype.names == ("sample_index", "channel_index", "cluster_index", "amplitude",
                                                    "segment_index")
    assert scores(spikes, truth).min() > 0.9 and set(spikes["segment_index"]) == {0, 1}
    assert abs(np.median(spikes["amplitude"]) - 1) < 0.1
    main = templates.get_main_channels(peak_sign="both", outputs="index", with_dict=False)
    np.testing.assert_array_equal(spikes["channel_index"], main[spikes["cluster_index"]])
    order = np.lexsort((spikes["sample_index"], spikes["segment_index"]))
    np.testing.assert_array_equal(spikes["sample_index"], spikes["sample_index"][order])


def test_chunks_units_and_offsets_do_not_matter(generated, registered):
    """A recording in counts with gains, not centered, searched with templates in microvolts, and in long chunks."""
    recording, truth, templates = generated
    first = si.NumpyRecording([recording.get_traces(segment_index=0)], 20000.0)
    counts = si.NumpyRecording([np.rint(20 * first.get_traces() + 3000).astype(np.int16)], 20000.0)
    counts.set_channel_gains(0.05)
    counts.set_channel_offsets(-150.0)
    assert templates.is_in_uV
    one, other = (find_spikes_from_templates(rec, templates, method="crsae", job_kwargs={**JOBS, "chunk_duration": d})
                  for rec, d in ((first, "500ms"), (counts, "3s")))
    pairs = [set(zip(found["sample_index"].tolist(), found["cluster_index"].tolist(), strict=True))
             for found in (one, other)]
    assert len(pairs[0] ^ pairs[1]) < 0.03 * len(pairs[0])


def test_a_node_is_pickled_to_other_processes(generated, registered):
    recording, _, templates = generated
    node = CrsaeMatching(recording, templates)
    copy = pickle.loads(pickle.dumps(node))
    margin = node.get_margin()
    traces = recording.get_traces(segment_index=0, start_frame=20000 - margin, end_frame=30000 + margin)
    (spikes,), (again,) = (n.compute(traces, 20000, 30000, 0, margin) for n in (node, copy))
    np.testing.assert_array_equal(spikes, again)
    assert len(spikes) and spikes["sample_index"].min() >= margin
    assert spikes["sample_index"].max() < 10000 + margin


def test_options_set_the_prior_and_invalid_ones_are_refused(generated):
    recording, _, templates = generated
    given = CrsaeMatching(recording, templates, amplitude_cv=0.2, firing_rate_hz=20.0, refractory_ms=2.0)
    assert given.matcher.refractory == 40
    for options, message in (({"amplitude_cv": 0}, "amplitude_cv"), ({"firing_rate_hz": -1}, "firing_rate_hz"),
                             ({"refractory_ms": 0}, "refractory_ms"), ({"learning_seconds": 0}, "learning_seconds")):
        with pytest.raises(ValueError, match=message):
            CrsaeMatching(recording, templates, **options)
    with pytest.raises(ValueError, match="4 channels, the recording has 3"):
        CrsaeMatching(recording.select_channels(recording.channel_ids[:3]), templates)
    slow = Templates(np.zeros((1, 30, 4)), 10000.0, nbefore=10)
    with pytest.raises(ValueError, match="10000 Hz, the recording of 20000"):
        CrsaeMatching(recording, slow)


def test_templates_within_the_noise_have_no_spikes(generated, registered):
    recording, _, templates = generated
    small = Templates(1e-3 * templates.get_dense_templates(), 20000.0, nbefore=templates.nbefore)
    assert not len(find_spikes_from_templates(recording, small, method="crsae", job_kwargs=JOBS))


def test_on_many_channels_a_template_lives_on_those_it_reaches(registered):
    """12 channels, each unit on three of them; a channel that is always zero changes nothing."""
    rng = np.random.default_rng(0)
    traces = rng.normal(size=(60_000, 12)).astype(np.float32)
    traces[:, 11] = 0
    shape = -np.exp(-0.5 * ((np.arange(40) - 12) / 2.0) ** 2)
    waves = np.zeros((3, 40, 12))
    for unit in range(3):
        waves[unit, :, 3 * unit:3 * unit + 3] = shape[:, None] * [5.0, 9.0, 5.0]
    times = np.arange(200, 59_000, 301)
    for n, time in enumerate(times):
        traces[time - 12:time + 28] += waves[n % 3]
    recording = si.NumpyRecording([traces], 20000.0)
    mask = np.abs(waves).max(axis=1) > 0
    sparse = Templates(waves, 20000.0, nbefore=12).to_sparse(ChannelSparsity(mask, np.arange(3), np.arange(12)))
    node = CrsaeMatching(recording, sparse)
    assert [np.flatnonzero(kernel.any(axis=0)).tolist() for kernel in np.moveaxis(node.matcher.kernel, -1, 0)] == [
        [0, 1, 2], [3, 4, 5], [6, 7, 8]]
    spikes = find_spikes_from_templates(recording, sparse, method="crsae", job_kwargs=JOBS)
    assert np.isin(spikes["sample_index"], times[:, None] + np.arange(-1, 2)).mean() > 0.98
    assert abs(len(spikes) - len(times)) < 4


@pytest.mark.slow
def test_lupin_sorts_with_the_engine(generated, registered, tmp_path, monkeypatch):
    """Lupin asks for torch, which its own engine needs and this one does not."""
    pytest.importorskip("networkx", reason="spikeinterface[sortingcomponents] is not installed")
    from spikeinterface.sorters import run_sorter
    from spikeinterface.sorters.internal.lupin import LupinSorter

    monkeypatch.setattr(LupinSorter, "is_installed", classmethod(lambda cls: True))
    used = []
    compute = CrsaeMatching.compute_matching
    monkeypatch.setattr(CrsaeMatching, "compute_matching",
                        lambda self, *args: used.append(1) or compute(self, *args))
    recording, truth = si.generate_ground_truth_recording(durations=[10.0], sampling_frequency=30000.0,
                                                          num_channels=4, num_units=3, seed=2)
    recording = recording.save(folder=tmp_path / "recording", verbose=False, progress_bar=False)
    sorting = run_sorter("lupin", recording, folder=tmp_path / "lupin", template_matching_engine="crsae", seed=0)
    assert used and sorting.get_num_units() >= 2
