"""The recordings that drift."""

import numpy as np
import pytest

pytest.importorskip("spikeinterface.generation", reason="spikeinterface[generation] is not installed")

from benchmarks import drift_recordings  # noqa: E402

# SpikeInterface's own.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_generated_recordings_share_spikes_and_differ_by_motion(tmp_path):
    still, moving, truth = drift_recordings.generate("rigid", 2.0, 1, tmp_path)
    assert still.get_num_channels() == moving.get_num_channels() == 32 and truth.get_num_units() == 10
    assert still.get_num_samples() == 60_000 == moving.get_num_samples()


def test_a_tetrode_differs_by_the_amplitudes_of_its_spikes_from_the_beginning_to_the_end(tmp_path):
    still, moving, truth = drift_recordings.generate("tetrode", 21.0, 1, tmp_path)
    difference = moving.get_traces(return_in_uV=True) - still.get_traces(return_in_uV=True)
    spikes = truth.to_spike_vector()
    at = spikes["sample_index"]
    size = np.abs(difference[at]).max(axis=1)
    ends, middle = np.abs(at - 315_000) > 200_000, np.abs(at - 315_000) < 50_000
    assert truth.get_num_units() == 6 and still.get_num_channels() == 4 and still.get_num_samples() == 630_000
    assert size[ends].mean() > 3 * size[middle].mean() > 0
    quiet = np.ones(len(difference), bool)
    quiet[np.concatenate([at + shift for shift in range(-60, 80)])] = False
    assert not difference[quiet].any()
