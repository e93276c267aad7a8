"""Results as SpikeInterface's analyzer and as Phy's folder."""

import numpy as np
import pytest
from crsae_onnx.core.errors import FileError

si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")

from keras_crsae.applications.spikeinterface.analyzer import as_analyzer, as_extractor, write_phy  # noqa: E402

# SpikeInterface leaves closing the files it writes and maps to the garbage collector; pandas' and numba's own.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_an_analyzer_holds_what_the_gui_shows_and_is_loaded_with_its_recording(sorted_spikes, tmp_path):
    traces, _, result = sorted_spikes
    traces.tofile(tmp_path / "y.dat")
    mapped = np.memmap(tmp_path / "y.dat", "<i2", "r", shape=traces.shape)
    analyzer = as_analyzer(result, mapped, tmp_path / "analyzer", job_kwargs={"n_jobs": 1})
    loaded = si.load_sorting_analyzer(tmp_path / "analyzer")
    for one in (analyzer, loaded):
        assert set(one.get_loaded_extension_names()) | set(one.get_saved_extension_names() or []) >= {
            "waveforms", "templates", "spike_amplitudes", "correlograms", "template_similarity", "unit_locations"}
    assert loaded.has_recording() and loaded.get_num_units() == 2
    assert loaded.sorting.get_property("main_channel_id").tolist() == [0, 0]
    medians = result.templates[:, result.nbefore, 0]
    shown = loaded.get_extension("templates").get_templates()
    np.testing.assert_allclose(shown[:, loaded.get_extension("templates").nbefore, 0], medians, rtol=0.1)
    with pytest.raises(FileError, match="overwrite"):
        as_analyzer(result, mapped, tmp_path / "analyzer")
    as_analyzer(result, mapped, tmp_path / "analyzer", overwrite=True)


def test_phy_reads_the_spikes_that_were_found(sorted_spikes, tmp_path):
    pytest.importorskip("pandas", reason="pandas is not installed")
    traces, _, result = sorted_spikes
    folder = write_phy(result, traces, tmp_path / "phy")
    assert (folder / "params.py").is_file() and (folder / "recording.dat").stat().st_size == traces.nbytes
    np.testing.assert_array_equal(np.load(folder / "spike_times.npy").ravel(), result.spike_samples)
    np.testing.assert_array_equal(np.load(folder / "spike_clusters.npy").ravel(), result.spike_units)
    from spikeinterface.extractors import read_phy

    sorting = read_phy(folder)
    assert sorting.get_num_units() == 2
    with pytest.raises(FileError, match="overwrite"):
        write_phy(result, traces, folder)


def test_the_users_recording_stays_as_it_is_and_gets_positions_and_the_band(sorted_spikes):
    import dataclasses

    traces, _, result = sorted_spikes
    bare = si.NumpyRecording([traces], result.sampling_frequency)
    extractor = as_extractor(result, bare)
    assert not bare.has_probe() and extractor.get_channel_locations().tolist() == [[0, 0]]
    for band in ([300.0, 4000.0], [300.0, 5000.0]):
        filtered = as_extractor(dataclasses.replace(result, settings={**result.settings, "band": band}), traces)
        assert filtered.is_filtered() and abs(filtered.get_traces().mean()) < 1
    with pytest.raises(ValueError, match="was sorted. Give that one"):
        as_extractor(result, traces[:30000])


def test_no_units_and_segments_are_refused(sorted_spikes, tmp_path):
    import dataclasses

    traces, _, result = sorted_spikes
    nothing = np.zeros(0, np.int64)
    none = dataclasses.replace(result, spike_samples=nothing, spike_units=nothing,
                               spike_amplitudes=nothing.astype(np.float32), templates=result.templates[:0])
    with pytest.raises(ValueError, match="no units"):
        as_analyzer(none, traces)
    two = dataclasses.replace(result, segments=[(0, 20000), (20200, 50000)])
    with pytest.raises(ValueError, match="2 were sorted"):
        write_phy(two, traces, tmp_path / "phy")
