"""Recordings from files."""

import sys

import numpy as np
import pytest
from crsae_onnx.core.errors import FileError

from keras_crsae.data.recordings import read_recording

# SpikeInterface leaves closing the files it writes and maps to the garbage collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture
def traces(rng):
    return rng.integers(-3000, 3000, (2000, 3)).astype("int16")


def test_arrays_are_mapped(traces, tmp_path):
    np.save(tmp_path / "y.npy", traces)
    found = read_recording(tmp_path / "y.npy", 30000)
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, traces)
    np.savez(tmp_path / "y.npz", a=traces, b=traces[:, 0])
    np.testing.assert_array_equal(read_recording(tmp_path / "y.npz", 30000, key="b"), traces[:, 0])


@pytest.mark.parametrize("suffix, dtype", [(".dat", "int16"), (".BIN", "int32"), (".raw", "float32")])
def test_raw_files_are_little_endian_maps(traces, tmp_path, suffix, dtype):
    path = tmp_path / f"y{suffix}"
    traces.astype(np.dtype(dtype).newbyteorder("<")).tofile(path)
    found = read_recording(path, 30000, channels=3, dtype=dtype)
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, traces)


@pytest.mark.parametrize("name, options, message", [
    ("y.npy", {}, "Give it in Hz: --fs"), ("y.dat", {}, "Give it in Hz: --fs"),
    ("y.dat", {"sampling_frequency": 1e4}, "--channels"),
    ("y.dat", {"sampling_frequency": 1e4, "channels": 7}, "no multiple of 14"),
    ("y.dat", {"sampling_frequency": 1e4, "channels": 3, "dtype": "int12"}, "Expected one of int16"),
    ("y.npy", {"sampling_frequency": 1e4, "channels": 4}, "3 channels, not 4"),
    ("cube.npy", {"sampling_frequency": 1e4}, "Expected \\(samples,\\)"),
    ("no.dat", {"sampling_frequency": 1e4, "channels": 3}, "No file at"), ("no.nwb", {}, "No file or folder"),
])
def test_what_is_missing_is_told(traces, tmp_path, name, options, message):
    np.save(tmp_path / "y.npy", traces)
    np.save(tmp_path / "cube.npy", traces[None])
    traces.tofile(tmp_path / "y.dat")
    with pytest.raises(FileError, match=message):
        read_recording(tmp_path / name, **options)


def test_without_spikeinterface_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "y.nwb").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "spikeinterface.core", None)
    with pytest.raises(ModuleNotFoundError, match=r"keras-crsae\[spikes\]"):
        read_recording(tmp_path / "y.nwb")


@pytest.mark.filterwarnings("ignore:The extractor is not serializable to file")  # what lives in memory has no recipe
def test_folders_of_spikeinterface(traces, tmp_path):
    si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
    si.NumpyRecording([traces], 25000.0).save(folder=tmp_path / "saved", verbose=False)
    found = read_recording(tmp_path / "saved")
    assert found.get_sampling_frequency() == 25000
    np.testing.assert_array_equal(found.get_traces(), traces)
    for options, message in (({"channels": 2}, "3 channels, not 2"), ({"dtype": "uint16"}, "type int16, not uint16"),
                             ({"sampling_frequency": 30000}, "25000 Hz, not 30000")):
        with pytest.raises(FileError, match=message):
            read_recording(tmp_path / "saved", **options)
    sorting = si.NumpySorting.from_samples_and_labels([np.array([5])], [np.array([0])], 25000.0)
    sorting.save(folder=tmp_path / "sorting")
    with pytest.raises(FileError, match="Expected a recording"):
        read_recording(tmp_path / "sorting")


@pytest.mark.filterwarnings("ignore:The extractor is not serializable to file")
def test_one_of_several_segments_is_chosen(traces, tmp_path):
    si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
    si.NumpyRecording([traces, traces[:500] + 1], 25000.0).save(folder=tmp_path / "saved", verbose=False)
    assert read_recording(tmp_path / "saved").get_num_segments() == 2
    found = read_recording(tmp_path / "saved", segment=1)
    np.testing.assert_array_equal(found.get_traces(), traces[:500] + 1)
    for segment in (-1, 2):
        with pytest.raises(FileError, match=f"2 segments, their numbers are 0 to 1. Received: segment={segment}"):
            read_recording(tmp_path / "saved", segment=segment)
    np.save(tmp_path / "y.npy", traces)
    assert read_recording(tmp_path / "y.npy", 30000, segment=0).shape == traces.shape
    with pytest.raises(FileError, match="1 segment, its number is 0"):
        read_recording(tmp_path / "y.npy", 30000, segment=1)


def test_what_spikeglx_states_beside_a_raw_file_is_not_contradicted(traces, tmp_path):
    traces.tofile(tmp_path / "y.ap.bin")
    (tmp_path / "y.ap.meta").write_text("nSavedChans=3\nimSampRate=30000.5\n")
    assert read_recording(tmp_path / "y.ap.bin", channels=3).shape == traces.shape
    for options, message in (({"channels": 2}, "3 channels, not 2"), ({"sampling_frequency": 25000, "channels": 3},
                                                                      "30000.5 Hz, not 25000")):
        with pytest.raises(FileError, match=message):
            read_recording(tmp_path / "y.ap.bin", **options)


def test_nwb_files(traces, tmp_path):
    pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "y.nwb", "w") as file:
        for name in ("one", "two"):
            series = file.create_group(f"acquisition/{name}")
            series.attrs.update(neurodata_type="ElectricalSeries", namespace="core")
            data = series.create_dataset("data", data=traces if name == "one" else traces[:, :2])
            data.attrs.update(conversion=1e-6, offset=0.0, unit="volts")
            start = series.create_dataset("starting_time", data=0.0)
            start.attrs.update(rate=20000.0, unit="seconds")
            series.create_dataset("electrodes", data=np.arange(data.shape[1]))
        table = file.create_group("general/extracellular_ephys/electrodes")
        table.attrs["colnames"] = np.array(["group_name"], dtype=h5py.string_dtype())
        table.create_dataset("id", data=np.arange(3))
        table.create_dataset("group_name", data=np.array(["g"] * 3, dtype=object), dtype=h5py.string_dtype())
    with pytest.raises(FileError, match="--stream"):
        read_recording(tmp_path / "y.nwb")
    found = read_recording(tmp_path / "y.nwb", stream="acquisition/one")
    assert found.get_sampling_frequency() == 20000
    np.testing.assert_array_equal(found.get_traces(), traces)


def test_formats_of_neo(traces, tmp_path):
    pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
    traces.tofile(tmp_path / "y.eeg")
    groups = "".join(f"<channel>{i}</channel>" for i in range(3))
    (tmp_path / "y.xml").write_text(
        "<parameters><acquisitionSystem><nBits>16</nBits><nChannels>3</nChannels><samplingRate>20000</samplingRate>"
        "<voltageRange>20</voltageRange><amplification>1000</amplification><offset>0</offset></acquisitionSystem>"
        "<fieldPotentials><lfpSamplingRate>1250</lfpSamplingRate></fieldPotentials><anatomicalDescription>"
        f"<channelGroups><group>{groups}</group></channelGroups></anatomicalDescription></parameters>")
    found = read_recording(tmp_path / "y.eeg")
    np.testing.assert_array_equal(found.get_traces(), traces)
    (tmp_path / "y.txt").write_text("hello")
    with pytest.raises(FileError, match="no reader takes|is no file that SpikeInterface reads"):
        read_recording(tmp_path / "y.txt")
