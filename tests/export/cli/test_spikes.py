"""Spikes without TensorFlow: exported readers and ``crsae-onnx run --spikes``."""

import json

import numpy as np
import pytest
from crsae_onnx import SparseEncoder, SpikeReader
from crsae_onnx.cli import main
from crsae_onnx.convert import convert
from crsae_onnx.core.spikes.csv_table import read_table

import keras_crsae as kc


@pytest.fixture(scope="module")
def made(sorted_spikes, tmp_path_factory):
    """A folder with the exported sorter and its recording."""
    recording, _, result = sorted_spikes
    folder = tmp_path_factory.mktemp("spikes")
    convert(result.model, folder / "encoder.onnx", spikes=result.reader)
    np.save(folder / "y.npy", recording[:, 0])
    return folder


def run(folder, output, *options, recording="y.npy", file="encoder.onnx"):
    return main(["run", str(folder / file), str(folder / recording), str(output), "--spikes", *options])


def assert_same(path, result):
    found = read_table(path)
    assert len(found.peak_sample) > 80
    np.testing.assert_array_equal(found.peak_sample, result.spike_samples)
    np.testing.assert_array_equal(found.unit_id, result.spike_units)
    np.testing.assert_allclose(found.peak_value, result.spike_amplitudes, rtol=1e-4)


def test_the_file_carries_its_reader(made, sorted_spikes, capsys):
    encoder, reader = SparseEncoder(made / "encoder.onnx"), sorted_spikes[2].reader
    assert encoder.info["spikes"] == reader.to_json()
    again = SpikeReader.from_json(encoder.info["spikes"])
    np.testing.assert_array_equal(again.peak_value, reader.peak_value)
    assert (reader.peak_value != reader.mean_amplitude).all()  # one in the recording's unit, one in the noise's
    assert main(["info", str(made / "encoder.onnx")]) == 0
    assert "run --spikes" in capsys.readouterr().out
    assert main(["info", str(made / "encoder.onnx"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spikes"] == reader.to_json()


def test_run_finds_the_spikes_that_keras_finds(made, sorted_spikes, tmp_path, capsys):
    assert run(made, tmp_path / "a.csv") == 0
    assert_same(tmp_path / "a.csv", sorted_spikes[2])
    out = capsys.readouterr().out
    assert "times real time" in out and "at most" not in out


def test_raw_binary_recordings_are_read(made, sorted_spikes, tmp_path, capsys):
    recording = sorted_spikes[0]
    recording[:, 0].astype("<f4").tofile(tmp_path / "y.dat")
    assert run(made, tmp_path / "a.csv", "--dtype", "float32", recording=tmp_path / "y.dat") == 0
    assert_same(tmp_path / "a.csv", sorted_spikes[2])
    (tmp_path / "odd.dat").write_bytes(b"abc")
    (tmp_path / "none.raw").write_bytes(b"")
    for name, message in (("odd.dat", "3 bytes, no multiple of 2"), ("none.raw", "0 bytes"), ("no.bin", "No file")):
        assert run(made, tmp_path / "b.csv", recording=tmp_path / name) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "b.csv").exists()


@pytest.mark.parametrize("chunk", ["0.0311", "0.5", "9"])
def test_chunks_give_the_same_spikes_and_their_delay(made, sorted_spikes, tmp_path, capsys, chunk):
    assert run(made, tmp_path / "a.csv", "--chunk", chunk, "--progress") == 0
    assert_same(tmp_path / "a.csv", sorted_spikes[2])
    out, err = capsys.readouterr()
    assert f"at most {sorted_spikes[2].reader.delay_s:.3f} s" in out and "100%" in err


@pytest.mark.parametrize("options, message", [
    (["--chunk", "0"], "at least one sample"), (["--chunk", "nan"], "at least one sample"),
    (["--sparse"], "omit --sparse"), (["--sigma", "2", "--window", "99"], "omit --window, --sigma"),
])
def test_unfit_options_are_refused(made, tmp_path, capsys, options, message):
    assert run(made, tmp_path / "a.csv", *options) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_unfit_files_are_refused(made, sorted_spikes, tmp_path, capsys):
    assert run(made, tmp_path / "a.npy") == 2
    assert "writes a .csv file" in capsys.readouterr().err
    assert main(["run", str(made / "encoder.onnx"), str(made / "y.npy"), str(tmp_path / "a.npy"), "--chunk", "1"]) == 2
    assert "--chunk is for --spikes" in capsys.readouterr().err
    np.save(made / "two.npy", np.zeros((5000, 2), np.int16))
    assert run(made, tmp_path / "a.csv", recording="two.npy") == 2
    assert "1 channels" in capsys.readouterr().err
    if not (made / "plain.onnx").exists():
        convert(sorted_spikes[2].model, made / "plain.onnx")
    assert run(made, tmp_path / "a.csv", file="plain.onnx") == 2
    assert "gives codes, not spikes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.csv").write_text("mine")
    assert run(made, tmp_path / "a.csv") == 2
    assert (tmp_path / "a.csv").read_text() == "mine"
    assert run(made, tmp_path / "a.csv", "--overwrite") == 0


def test_convert_refuses_a_reader_of_another_model(sorted_spikes, tmp_path):
    result, path = sorted_spikes[2], tmp_path / "e.onnx"
    size, _, units = result.reader.kernel.shape
    small, other = kc.CRsAE(1, 7, seed=0), kc.CRsAE(units, size, seed=0)
    for model, message in ((small, "Give the reader of this model"), (other, "other filters")):
        model.build((None, None, 1))
        with pytest.raises(ValueError, match=message):
            convert(model, path, spikes=result.reader)
    with pytest.raises(ValueError, match="SpikeReader"):
        convert(result.model, path, spikes=result.reader.to_json())
    with pytest.raises(ValueError, match="read off the code"):
        convert(result.model, path, outputs="reconstruction", spikes=result.reader)
    assert not path.exists()
