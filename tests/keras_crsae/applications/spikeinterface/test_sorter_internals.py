"""The parts of SpikeInterface that have no public form; a new SpikeInterface that changes them fails here."""

import inspect
import json

import pytest

pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")

from spikeinterface.sorters import BaseSorter, sorterlist  # noqa: E402

from keras_crsae.applications.spikeinterface.sorter_internals import RECORDING_FILE  # noqa: E402

# SpikeInterface leaves closing the files it writes and maps to the garbage collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def test_spikeinterface_still_has_what_is_overridden_and_changed():
    parameters = ["recording", "output_folder", "verbose", "remove_existing_folder"]
    assert list(inspect.signature(BaseSorter.initialize_folder).parameters) == parameters
    assert isinstance(sorterlist.sorter_dict, dict) and isinstance(sorterlist.sorter_full_list, list)
    for hook in ("_check_params", "_check_apply_filter_in_params", "_setup_recording", "_run_from_folder",
                 "_get_result_from_folder"):
        assert callable(getattr(BaseSorter, hook))


def test_a_folder_with_a_saved_recording_can_be_moved(run_sorter, probe_recording, calls, tmp_path):
    run_sorter("crsae", probe_recording, folder=tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]  # no temporary folder remains
    from spikeinterface.sorters import read_sorter_folder

    (tmp_path / "out").rename(tmp_path / "moved")
    again = read_sorter_folder(tmp_path / "moved")
    assert again.get_unit_spike_train(0).tolist() == [200, 300]


def test_the_recording_is_stored_by_a_path_relative_to_the_folder(run_sorter, probe_recording, calls, tmp_path):
    run_sorter("crsae", probe_recording, folder=tmp_path / "out", with_output=False)
    assert (tmp_path / "out" / "recording").is_dir()
    assert str(tmp_path) not in json.dumps(json.loads((tmp_path / "out" / RECORDING_FILE).read_text()))
