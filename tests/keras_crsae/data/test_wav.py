"""Wave files: mapped, with their rate and type, through every door."""

import struct
import sys

import numpy as np
import pytest
from crsae_onnx.core.errors import FileError
from scipy.io import wavfile

from keras_crsae.cli import main
from keras_crsae.data.arrays import read_array
from keras_crsae.data.recordings import read_recording, stored_frequency
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.data.wav import read_wav


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(500,), (500, 3)])
def test_samples_are_mapped_in_the_type_of_the_file(tmp_path, rng, dtype, shape):
    data = (1000 * rng.standard_normal(shape)).astype(dtype)
    wavfile.write(tmp_path / "y.WAV", 25000, data)
    rate, found = read_wav(tmp_path / "y.WAV")
    assert rate == stored_frequency(tmp_path / "y.WAV") == 25000
    assert isinstance(found, np.memmap) and found.dtype == dtype
    for one in (found, read_array(tmp_path / "y.WAV"), read_recording(tmp_path / "y.WAV")):
        np.testing.assert_array_equal(one, data)


def test_the_rate_and_channels_of_the_file_count(tmp_path):
    wavfile.write(tmp_path / "y.wav", 25000, np.zeros((50, 2), "int16"))
    assert read_recording(tmp_path / "y.wav", 25000, 2).shape == (50, 2)
    assert stored_frequency(tmp_path / "y.npy", 3.0) == 3.0
    with pytest.raises(FileError, match="25000 Hz, not 30000"):
        read_recording(tmp_path / "y.wav", 30000)
    with pytest.raises(FileError, match="2 channels, not 3"):
        read_recording(tmp_path / "y.wav", channels=3)


def with_header(bits, form=1, size=60, there=60):
    """A wave file by hand: ``size`` bytes promised, some of them there."""
    width = bits // 8
    head = struct.pack("<HHIIHH", form, 1, 1000, 1000 * width, width, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", size) + bytes(there)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("content, words", [
    (with_header(24), "16 or 32 bits"), (with_header(8), "uint8.*16 or 32 bits"), (with_header(16, form=2), "cannot"),
    (with_header(16, size=6000), "cannot be read as .wav"), (with_header(16, size=0, there=0), "cannot|shape"),
    (b"RIFF", "cannot be read as .wav"), (b"hello there", "cannot be read as .wav"), (b"", "empty")])
def test_other_and_damaged_files_are_refused_by_name(tmp_path, content, words):
    (tmp_path / "y.wav").write_bytes(content)
    with pytest.raises(FileError, match=words) as caught:
        read_wav(tmp_path / "y.wav")
    assert "y.wav" in str(caught.value)


def test_without_scipy_the_extra_is_named(tmp_path, monkeypatch):
    wavfile.write(tmp_path / "y.wav", 25000, np.zeros(50, "int16"))
    monkeypatch.setitem(sys.modules, "scipy.io.wavfile", None)
    with pytest.raises(ModuleNotFoundError, match=r"keras-crsae\[train\]"):
        read_wav(tmp_path / "y.wav")


def test_the_command_line_trains_on_and_encodes_a_wave_file(tmp_path, capsys):
    signal = simulate_spikes(spike_templates(15, 2), windows=1, samples=3000, events_per_window=30, seed=0).signal[0]
    wavfile.write(tmp_path / "y.wav", 10000, (100 * signal[:, 0]).astype("int16"))
    model, code = str(tmp_path / "m.keras"), str(tmp_path / "z.npz")
    assert main(["train", str(tmp_path / "y.wav"), "--output", model, "--filters", "2", "--kernel-size", "15",
                 "--window", "300", "--epochs", "1", "--iterations", "5"]) == 0
    assert main(["encode", model, str(tmp_path / "y.wav"), code]) == 0
    with np.load(code) as found:
        assert found["shape"].tolist() == [1, 2986, 2] and len(found["value"])
