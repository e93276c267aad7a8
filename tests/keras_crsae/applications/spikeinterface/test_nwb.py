"""Units in NWB files."""

import dataclasses
import datetime

import numpy as np
import pytest
from crsae_onnx.core.errors import FileError

si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
pynwb = pytest.importorskip("pynwb", reason="the extra `nwb` is not installed")

from keras_crsae.applications.spikeinterface.nwb import write_nwb  # noqa: E402

# hdmf's own.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_spikeinterface_reads_the_spikes_back(sorted_spikes, tmp_path):
    from spikeinterface.extractors import read_nwb_sorting

    result = sorted_spikes[2]
    path = write_nwb(result, tmp_path / "units.nwb")
    sorting = read_nwb_sorting(path)  # the sampling frequency is the table's resolution
    assert sorting.get_sampling_frequency() == pytest.approx(result.sampling_frequency)
    for unit, unit_id in enumerate(sorting.unit_ids):
        np.testing.assert_array_equal(sorting.get_unit_spike_train(unit_id),
                                      result.spike_samples[result.spike_units == unit])
    with pynwb.NWBHDF5IO(str(path), "r") as io:
        file = io.read()
        assert "not known" in file.session_description and "keras-crsae" in file.units.description
        assert file.units["snr"][0] > 4 and "waveform_mean" not in file.units.colnames
    with pytest.raises(FileError, match="exists"):
        write_nwb(result, path)
    with pytest.raises(FileError, match="has units already"):
        write_nwb(result, path, append=True)


def test_units_are_added_to_a_file_with_the_recordings_times_and_templates_in_volts(sorted_spikes, tmp_path):
    traces, _, result = sorted_spikes
    recording = si.NumpyRecording([traces[:20000], traces[20200:]], result.sampling_frequency, t_starts=[10.0, 100.0])
    recording.set_channel_gains(0.5)
    recording.set_channel_offsets(0.0)
    two = dataclasses.replace(result, segments=[(0, 20000), (20200, 50000)])
    start = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)
    file = pynwb.NWBFile("a session", "id", start)
    with pynwb.NWBHDF5IO(str(tmp_path / "session.nwb"), "w") as io:
        io.write(file)
    write_nwb(two, tmp_path / "session.nwb", recording, append=True)
    with pynwb.NWBHDF5IO(str(tmp_path / "session.nwb"), "r") as io:
        file = io.read()
        assert file.session_description == "a session"
        np.testing.assert_allclose(file.units["obs_intervals"][0], [[10, 12], [100, 102.98]])
        times = file.units["spike_times"][0]
        mine = result.spike_samples[result.spike_units == 0]
        np.testing.assert_allclose(times[mine < 20000], 10 + mine[mine < 20000] / 1e4)
        np.testing.assert_allclose(times[mine >= 20200], 100 + (mine[mine >= 20200] - 20200) / 1e4)
        np.testing.assert_allclose(file.units["waveform_mean"][0], 1e-6 * result.templates[0], rtol=1e-6)


def test_what_is_no_file_to_add_to_is_refused(sorted_spikes, tmp_path):
    (tmp_path / "text.nwb").write_text("no")
    for name, message in (("no.nwb", "No file"), ("text.nwb", "no NWB file")):
        with pytest.raises(FileError, match=message):
            write_nwb(sorted_spikes[2], tmp_path / name, append=True)
