"""The sorter "crsae" run by SpikeInterface."""

import inspect
import json

import numpy as np
import pytest

si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")

from keras_crsae.applications.spike_sorting import SortingParameters, load_result, sort  # noqa: E402
from keras_crsae.applications.spikeinterface import as_templates  # noqa: E402

# SpikeInterface leaves closing the files it writes and maps to the garbage collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def test_run_sorter_sorts_a_recording_that_is_only_in_memory(run_sorter, probe_recording, result, calls, tmp_path):
    sorting = run_sorter("crsae", probe_recording, folder=tmp_path / "out", units=np.int64(3), freq_min=300,
                         freq_max=9000, parameters={"epochs": 1})
    assert sorting.get_unit_spike_train(1).tolist() == [100, 150]
    for name in ("best_channel", "main_channel_id"):
        assert sorting.get_property(name).tolist() == [2, 1, 3]
    options = calls[0]
    assert options["units"] == 3 and options["band"] == (300.0, 9000.0) and options["seed"] == 0
    assert options["parameters"] == SortingParameters(epochs=1)
    np.testing.assert_array_equal(options["traces"], probe_recording.get_traces())
    assert options["recording"].get_channel_gains().tolist() == [0.5, 1.0, 2.0, 4.0]
    written = json.loads((tmp_path / "out" / "spikeinterface_params.json").read_text())["sorter_params"]
    assert written["freq_max"] == 9000.0 and written["units"] == 3
    assert written["parameters"]["epochs"] == 1
    assert (tmp_path / "out" / "sorter_output" / "result" / "saved").read_text() == "4"


@pytest.mark.filterwarnings("ignore:The extractor is not serializable")
def test_run_sorter_reads_a_saved_recording_where_it_is_stored(run_sorter, probe_recording, calls, tmp_path, capsys):
    saved = probe_recording.save(folder=tmp_path / "recording", verbose=False, progress_bar=False)
    run_sorter("crsae", saved, folder=tmp_path / "out", delete_output_folder=True, verbose=True)
    printed = capsys.readouterr().out
    assert "not marked as filtered" in printed and "one unit dropped" in printed
    assert calls[0]["band"] is None and calls[0]["units"] is None
    assert not (tmp_path / "out" / "recording").exists()


def test_an_existing_folder_is_kept_and_a_failed_run_says_why(run_sorter, probe_recording, calls, tmp_path):
    from spikeinterface.sorters.utils import SpikeSortingError

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("kept")
    with pytest.raises(ValueError, match="already exists"):
        run_sorter("crsae", probe_recording, folder=tmp_path / "out")
    assert (tmp_path / "out" / "precious").read_text() == "kept" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(SpikeSortingError, match="refused"):
        run_sorter("crsae", probe_recording, folder=tmp_path / "failed", seed=13)
    with pytest.raises(ValueError, match="given together"):
        run_sorter("crsae", probe_recording, folder=tmp_path / "half", freq_min=300)
    with pytest.raises(ValueError, match="half the sampling frequency: 10000 Hz at 20000 Hz"):
        run_sorter("crsae", probe_recording, folder=tmp_path / "band", freq_min=300, freq_max=12000)
    with pytest.raises(ValueError, match="`units` must be a positive int"):
        run_sorter("crsae", probe_recording, folder=tmp_path / "units", units=0)
    with pytest.raises(ValueError, match="Unknown sorting parameters"):
        run_sorter("crsae", probe_recording, folder=tmp_path / "name", parameters={"no_such": 1})


def test_the_options_are_those_of_the_function():
    """A band has two names in SpikeInterface, which adds jobs; positions come with its recordings, progress with
    ``verbose``, the short names of constants with ``parameters``."""
    from keras_crsae.applications.spikeinterface.sorter import CrsaeSorter

    options = set(inspect.signature(sort).parameters) - {"recording", "sampling_frequency", "channel_locations",
                                                         "progress", "band", "options"}
    sorter = CrsaeSorter.default_params()
    assert {name for name in sorter if name in CrsaeSorter._default_params} == options | {
        "freq_min", "freq_max", "job_kwargs"}
    for name in options - {"parameters"}:
        assert sorter[name] == inspect.signature(sort).parameters[name].default


@pytest.mark.filterwarnings("ignore")  # SpikeInterface's own
def test_it_passes_what_spikeinterface_checks_of_every_sorter_with_two_segments(run_sorter, tmp_path):
    """``SorterCommonTestSuite`` of SpikeInterface's archive: a saved recording, default parameters, files that stay."""
    from spikeinterface.sorters.sorterlist import get_default_sorter_params, sorter_dict

    recording, truth = si.generate_ground_truth_recording(durations=[5.0, 3.0], sampling_frequency=20000.0,
                                                          num_channels=4, num_units=3, seed=2)
    saved = recording.save(folder=tmp_path / "rec", verbose=False, format="binary", progress_bar=False)
    assert saved.get_num_segments() == 2
    sorting = run_sorter("crsae", saved, folder=tmp_path / "out", remove_existing_folder=True,
                         delete_output_folder=True, verbose=False, raise_error=True,
                         **get_default_sorter_params("crsae"))
    assert {"recording", "params", "log"} <= set(sorting.sorting_info)
    assert sorting.get_num_segments() == 2 and sorting.get_num_units() == 3
    main = sorting.get_property("main_channel_id")
    assert main.dtype == saved.channel_ids.dtype and np.isin(main, saved.channel_ids).all()
    for segment in (0, 1):  # each true unit has a sorted one at its spikes, in either segment
        for unit in truth.unit_ids:
            times = truth.get_unit_spike_train(unit, segment_index=segment)
            hits = [np.abs(times[:, None] - sorting.get_unit_spike_train(u, segment_index=segment)).min(axis=1) < 10
                    for u in sorting.unit_ids]
            assert max(hit.mean() for hit in hits) > 0.9
    assert not (tmp_path / "out" / "sorter_output").is_dir()
    for name in ("recording", "params", "log"):
        assert (tmp_path / "out" / f"spikeinterface_{name}.json").is_file()
    assert sorter_dict["crsae"].get_sorter_version()


@pytest.mark.filterwarnings("ignore:The extractor is not serializable")
def test_it_runs_as_one_of_several_jobs(run_sorter, probe_recording, calls, tmp_path):
    """As SpikeInterface's tests of its launcher."""
    from spikeinterface.sorters import run_sorter_jobs

    jobs = [{"sorter_name": "crsae", "recording": probe_recording, "folder": tmp_path / f"{seed}", "verbose": True,
             "raise_error": False, "seed": seed} for seed in (0, 1)]
    sortings = run_sorter_jobs(jobs, engine="loop", return_output=True)
    assert [options["seed"] for options in calls] == [0, 1]
    assert [sorting.get_unit_spike_train(1).tolist() for sorting in sortings] == [[100, 150]] * 2


def test_job_kwargs_bound_the_threads_and_unknown_ones_are_refused(run_sorter, probe_recording, result, monkeypatch,
                                                                   tmp_path):
    from threadpoolctl import threadpool_info

    threads = []

    def pretend(recording, **options):
        threads.append(max(pool["num_threads"] for pool in threadpool_info()))
        return result

    monkeypatch.setattr("keras_crsae.applications.spikeinterface.sorter.sort", pretend)
    run_sorter("crsae", probe_recording, folder=tmp_path / "one", job_kwargs={"n_jobs": 1, "progress_bar": False})
    assert threads == [1]
    with pytest.raises(ValueError, match="job_kwargs: cores is not a valid job keyword"):
        run_sorter("crsae", probe_recording, folder=tmp_path / "two", job_kwargs={"cores": 1})


@pytest.mark.filterwarnings("ignore:The extractor is not serializable")
@pytest.mark.parametrize("silent", [0.0, np.nan])
def test_a_silent_tetrode_among_several_gives_no_units_and_the_others_come_back(run_sorter, result, monkeypatch,
                                                                                tmp_path, silent):
    from spikeinterface.sorters import run_sorter_by_property

    traces = np.random.default_rng(0).normal(size=(40_000, 12)).astype(np.float32)
    traces[:, 4:8] = silent
    recording = si.NumpyRecording([traces], 20_000.0)
    recording.set_property("group", np.repeat([0, 1, 2], 4))
    recording.annotate(is_filtered=True)
    pretend = "keras_crsae.applications.spikeinterface.sorter.sort"

    monkeypatch.setattr(pretend, lambda recording, **options: result if np.isfinite(
        recording.get_traces()).all() and recording.get_traces().any() else sort(recording, **options))
    with pytest.warns(UserWarning, match="an empty sorting.*Every channel"):
        sorting = run_sorter_by_property("crsae", recording, grouping_property="group", folder=tmp_path / "out")
    assert sorting.get_num_units() == 6 and sorted(set(sorting.get_property("group"))) == [0, 2]
    assert len(sorting.get_property("best_channel")) == 6
    log = json.loads((tmp_path / "out" / "1" / "spikeinterface_log.json").read_text())
    assert not log["error"] and "Every channel" in log["runtime_trace"][0]
    # Noise alone has no units either.
    with pytest.warns(UserWarning, match="No repeating waveform"):
        monkeypatch.setattr(pretend, sort)
        assert run_sorter("crsae", recording.select_channels(recording.channel_ids[:4]),
                          folder=tmp_path / "noise").get_num_units() == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # pandas', scikit-learn's and SpikeInterface's own
def test_run_sorter_finds_the_units_of_a_generated_recording(run_sorter, tmp_path):
    pytest.importorskip("pandas", reason="spikeinterface[comparison] is not installed")
    from spikeinterface.comparison import compare_sorter_to_ground_truth

    recording, truth = si.generate_ground_truth_recording(durations=[20.0], sampling_frequency=20000.0,
                                                          num_channels=4, num_units=3, seed=2)  # SNR 20 and above
    sorting = run_sorter("crsae", recording, folder=tmp_path / "out")
    found = compare_sorter_to_ground_truth(truth, sorting, delta_time=0.5, exhaustive_gt=True).get_performance()
    assert found["accuracy"].astype(float).min() > 0.95 and sorting.get_num_units() == 3
    loaded = load_result(tmp_path / "out" / "sorter_output" / "result")
    np.testing.assert_array_equal(loaded.sorting.to_spike_vector(), sorting.to_spike_vector())
    assert (loaded.sorting.get_property("snr") > 4).all()
    # Templates lie on the truth, trough on trough: Templates counts its samples from the spikes.
    learned = as_templates(loaded, recording)
    assert np.abs(learned.templates_array).max(axis=2).argmax(axis=1).tolist() == [loaded.nbefore] * 3
    # A trough's amplitude is negative, as its template.
    np.testing.assert_allclose(sorting.get_property("median_amplitude"), sorting.get_property("peak_amplitude"),
                               rtol=0.2)
