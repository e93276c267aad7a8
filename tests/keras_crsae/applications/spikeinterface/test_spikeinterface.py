"""Sorting results and recordings on SpikeInterface's side."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")

from keras_crsae.applications import spike_sorting  # noqa: E402
from keras_crsae.applications import spikeinterface as ours  # noqa: E402

FS = 20000.0
# SpikeInterface leaves closing the files it writes and maps to the garbage collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@dataclass
class Result:
    """What the adapters need of a sorting result."""

    spike_samples: np.ndarray
    spike_units: np.ndarray
    spike_amplitudes: np.ndarray
    templates: np.ndarray
    nbefore: int = 10
    sampling_frequency: float = FS
    noise: np.ndarray | None = None
    messages: list = field(default_factory=lambda: ["one unit dropped"])

    def save(self, folder):
        folder.mkdir()
        (folder / "saved").write_text(str(len(self.spike_samples)))


@pytest.fixture
def result():
    templates = np.zeros((3, 30, 4), np.float32)
    templates[0, 10, 2], templates[1, 10, 1], templates[2, 10, 3] = -50.0, 30.0, -20.0
    return Result(np.array([300, 100, 200, 150]), np.array([0, 1, 0, 1]),
                  np.array([1.0, 0.5, 2.0, 1.5], np.float32), templates)


@pytest.fixture
def recording():
    """5 s, 4 channels, int16 with gains and a probe; in memory only, so that it cannot be written down as it is."""
    traces = np.random.default_rng(0).integers(-300, 300, (int(5 * FS), 4)).astype(np.int16)
    made = si.NumpyRecording([traces], FS)
    made.set_channel_gains([0.5, 1.0, 2.0, 4.0])
    made.set_channel_offsets([0.0, 10.0, 0.0, 0.0])
    made.set_dummy_probe_from_locations(np.array([[0.0, 0], [20, 0], [0, 20], [20, 20]]))
    return made


def test_sorting_holds_spikes_and_unit_properties(result):
    result.noise = np.array([1.0, 2.0, 5.0, 4.0])
    sorting = ours.as_sorting(result)
    assert sorting.get_unit_ids().tolist() == [0, 1, 2] and sorting.get_sampling_frequency() == FS
    assert sorting.get_unit_spike_train(0).tolist() == [200, 300]
    assert sorting.get_unit_spike_train(1).tolist() == [100, 150] and not len(sorting.get_unit_spike_train(2))
    assert sorting.get_property("peak_amplitude").tolist() == [-50.0, 30.0, -20.0]
    assert sorting.get_property("best_channel").tolist() == [2, 1, 3]
    assert sorting.get_property("snr").tolist() == [10.0, 15.0, 5.0]
    assert sorting.get_property("num_spikes").tolist() == [2, 2, 0]
    np.testing.assert_allclose(sorting.get_property("median_amplitude"), [1.5, 1.0, np.nan])
    result.noise = None
    assert "snr" not in ours.as_sorting(result).get_property_keys()


def test_a_result_without_units_is_an_empty_sorting():
    none = Result(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 30, 4)))
    assert ours.as_sorting(none).get_num_units() == 0


@pytest.mark.filterwarnings("ignore:The extractor is not serializable")
def test_sorting_survives_saving(result, tmp_path):
    ours.as_sorting(result).save(folder=tmp_path / "sorting")
    loaded = si.load(tmp_path / "sorting")
    assert loaded.get_unit_spike_train(0).tolist() == [200, 300]
    assert loaded.get_property("best_channel").tolist() == [2, 1, 3]


def test_templates_know_probe_channels_and_unit(result, recording):
    recording = recording.rename_channels(["a", "b", "c", "d"])
    made = ours.as_templates(result, recording)
    assert made.channel_ids.tolist() == ["a", "b", "c", "d"] and made.nbefore == 10 and made.is_in_uV
    np.testing.assert_array_equal(made.templates_array, result.templates)
    np.testing.assert_array_equal(made.get_channel_locations(), recording.get_channel_locations())
    assert made.get_main_channels(peak_sign="both").tolist() == [2, 1, 3]
    by_probe = ours.as_templates(result, recording.get_probe())
    assert by_probe.get_channel_locations().shape == (4, 2) and not by_probe.is_in_uV
    assert ours.as_templates(result).num_channels == 4
    with pytest.raises(ValueError, match="has 2. Give the one that was sorted"):
        ours.as_templates(result, recording.select_channels(["a", "b"]))


def test_a_view_reads_like_the_array(recording):
    raw = recording.get_traces()
    view = ours.ArrayView(recording, scaled=False)
    assert view.shape == raw.shape and view.dtype == np.int16 and view.ndim == 2 and len(view) == len(raw)
    for index in (slice(10, 20), slice(None, None, 1000), slice(-5, None), slice(20, 10), 7, -1, np.int64(3),
                  (slice(5, 9), 2), (slice(5, 9), slice(1, 3)), (slice(5, 9), [3, 0]), (4, slice(None)), (4, 1),
                  (slice(9, 9), 1)):
        np.testing.assert_array_equal(view[index], raw[index], err_msg=str(index))
    np.testing.assert_array_equal(np.asarray(view), raw)


def test_a_view_gives_microvolts_where_gains_are_known(recording):
    view = ours.ArrayView(recording)
    assert view.scaled and view.dtype == np.float32
    np.testing.assert_allclose(view[:100], recording.get_traces()[:100] * [0.5, 1, 2, 4] + [0, 10, 0, 0], rtol=1e-6)
    bare = si.NumpyRecording([np.zeros((100, 2), np.float64)], FS)
    assert not ours.ArrayView(bare).scaled and ours.ArrayView(bare).dtype == np.float64
    with pytest.raises(ValueError, match="set_channel_gains"):
        ours.ArrayView(bare, scaled=True)


def test_a_view_refuses_what_it_cannot_read(recording):
    two = si.append_recordings([recording, recording])
    with pytest.raises(ValueError, match="2 segments.*concatenate_recordings"):
        ours.ArrayView(two)
    assert ours.ArrayView(si.concatenate_recordings([two])).shape == (int(10 * FS), 4)
    with pytest.raises(ValueError, match="Received: ndarray"):
        ours.ArrayView(np.zeros((5, 2)))
    view = ours.ArrayView(recording)
    for index in (slice(None, None, -1), [1, 2], (1, 2, 3)):
        with pytest.raises(IndexError, match="slice of time"):
            view[index]
    with pytest.raises(IndexError):
        view[len(view)]


def test_a_view_reads_only_what_is_asked(recording, monkeypatch):
    read = []
    original = type(recording).get_traces
    monkeypatch.setattr(type(recording), "get_traces",
                        lambda self, **k: read.append((k["start_frame"], k["end_frame"])) or original(self, **k))
    ours.ArrayView(recording)[1000:1010]
    assert read == [(1000, 1010)]


def test_locations_are_those_of_the_probe_or_none(recording):
    np.testing.assert_array_equal(ours.locations(recording), [[0, 0], [20, 0], [0, 20], [20, 20]])
    assert ours.locations(si.NumpyRecording([np.zeros((100, 2))], FS)) is None


@pytest.fixture
def calls(result, monkeypatch):
    """``sort`` replaced by one that notes what it was given and returns ``result``."""
    seen = []

    def sort(recording, **options):
        seen.append(options | {"recording": recording, "traces": recording.get_traces()})
        if options["seed"] == 13:
            raise ValueError("refused")
        return result

    monkeypatch.setattr(spike_sorting, "sort", sort)
    return seen


@pytest.fixture
def run_sorter(monkeypatch):
    from spikeinterface.sorters import run_sorter, sorterlist

    monkeypatch.setattr(sorterlist, "sorter_full_list", list(sorterlist.sorter_full_list))
    ours.register()
    return run_sorter


def test_registering_twice_is_registering_once(run_sorter):
    from spikeinterface.sorters import sorterlist

    assert ours.register() is ours.register()
    assert sorterlist.sorter_full_list.count(ours.register()) == 1 and "crsae" in sorterlist.installed_sorters()
    defaults = sorterlist.get_default_sorter_params("crsae")
    assert json.loads(json.dumps(defaults)) == defaults
    assert set(sorterlist.get_sorter_params_description("crsae")) == set(defaults)


def test_run_sorter_sorts_a_recording_that_is_only_in_memory(run_sorter, recording, result, calls, tmp_path):
    sorting = run_sorter("crsae", recording, folder=tmp_path / "out", units=np.int64(3), freq_min=300, freq_max=12000)
    assert sorting.get_unit_spike_train(1).tolist() == [100, 150]
    assert sorting.get_property("best_channel").tolist() == [2, 1, 3]
    options = calls[0]
    assert options["units"] == 3 and options["band"] == (300.0, 9000.0) and options["seed"] == 0
    np.testing.assert_array_equal(options["traces"], recording.get_traces())
    assert options["recording"].get_channel_gains().tolist() == [0.5, 1.0, 2.0, 4.0]
    written = json.loads((tmp_path / "out" / "spikeinterface_params.json").read_text())["sorter_params"]
    assert written["freq_max"] == 9000.0 and written["units"] == 3
    assert (tmp_path / "out" / "sorter_output" / "result" / "saved").read_text() == "4"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    # From the folder alone, moved elsewhere.
    from spikeinterface.sorters import read_sorter_folder

    (tmp_path / "out").rename(tmp_path / "moved")
    again = read_sorter_folder(tmp_path / "moved")
    assert again.get_unit_spike_train(0).tolist() == [200, 300]


@pytest.mark.filterwarnings("ignore:The extractor is not serializable")
def test_run_sorter_reads_a_saved_recording_where_it_lies(run_sorter, recording, calls, tmp_path, capsys):
    saved = recording.save(folder=tmp_path / "recording", verbose=False, progress_bar=False)
    run_sorter("crsae", saved, folder=tmp_path / "out", delete_output_folder=True, verbose=True)
    told = capsys.readouterr().out
    assert "not marked as filtered" in told and "one unit dropped" in told
    assert calls[0]["band"] is None and calls[0]["units"] is None
    assert not (tmp_path / "out" / "recording").exists()


def test_an_existing_folder_is_kept_and_a_failed_run_says_why(run_sorter, recording, calls, tmp_path):
    from spikeinterface.sorters.utils import SpikeSortingError

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("kept")
    with pytest.raises(ValueError, match="already exists"):
        run_sorter("crsae", recording, folder=tmp_path / "out")
    assert (tmp_path / "out" / "precious").read_text() == "kept" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(SpikeSortingError, match="refused"):
        run_sorter("crsae", recording, folder=tmp_path / "failed", seed=13)
    with pytest.raises(ValueError, match="given together"):
        run_sorter("crsae", recording, folder=tmp_path / "half", freq_min=300)


def test_several_segments_are_refused_by_spikeinterface(run_sorter, recording, calls, tmp_path):
    with pytest.raises(ValueError, match="concatenate_recordings"):
        run_sorter("crsae", si.append_recordings([recording, recording]), folder=tmp_path / "out")
    assert not calls


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # pandas', scikit-learn's and SpikeInterface's own
def test_run_sorter_finds_the_units_of_a_generated_recording(run_sorter, tmp_path):
    pytest.importorskip("pandas", reason="spikeinterface[comparison] is not installed")
    from spikeinterface.comparison import compare_sorter_to_ground_truth

    from keras_crsae.applications.spike_sorting.persistence import load_result

    recording, truth = si.generate_ground_truth_recording(durations=[20.0], sampling_frequency=FS, num_channels=4,
                                                          num_units=3, seed=2)  # SNR 20 and above
    sorting = run_sorter("crsae", recording, folder=tmp_path / "out")
    found = compare_sorter_to_ground_truth(truth, sorting, delta_time=0.5, exhaustive_gt=True).get_performance()
    assert found["accuracy"].astype(float).min() > 0.95 and sorting.get_num_units() == 3
    loaded = load_result(tmp_path / "out" / "sorter_output" / "result")
    np.testing.assert_array_equal(loaded.sorting.to_spike_vector(), sorting.to_spike_vector())
    assert (loaded.sorting.get_property("snr") > 4).all()
    # Templates lie on the truth, trough on trough: Templates counts its samples from the spikes.
    learned = ours.as_templates(loaded, recording)
    assert np.abs(learned.templates_array).max(axis=2).argmax(axis=1).tolist() == [loaded.nbefore] * 3
    # A trough's amplitude is negative, as its template.
    np.testing.assert_allclose(sorting.get_property("median_amplitude"), sorting.get_property("peak_amplitude"),
                               rtol=0.2)
