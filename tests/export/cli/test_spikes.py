"""Spikes without TensorFlow: exported readers and ``crsae-onnx run --spikes``."""

import json

import numpy as np
import pytest
from crsae_onnx import SparseEncoder, SpikeReader
from crsae_onnx.cli import main
from crsae_onnx.convert import convert
from crsae_onnx.core.spikes.csv_table import read_table
from crsae_onnx.runtime.sessions import RunLimits

import keras_crsae as kc


@pytest.fixture(scope="module")
def made(sorted_spikes, tmp_path_factory):
    """A folder with the exported sorter, as `sort` writes it and with codes of whitened signals alone."""
    recording, _, result = sorted_spikes
    folder = tmp_path_factory.mktemp("spikes")
    convert(result.model, folder / "encoder.onnx", outputs=("code", "spikes"), spikes=result.reader)
    convert(result.model, folder / "codes.onnx", spikes=result.reader)
    np.save(folder / "y.npy", recording[:, 0])
    np.save(folder / "two_axes.npy", recording)
    return folder


both_files = pytest.mark.parametrize("file", ["encoder.onnx", "codes.onnx"])


def run(folder, output, *options, recording="y.npy", file="encoder.onnx"):
    return main(["run", str(folder / file), str(folder / recording), str(output), "--spikes", *options])


def assert_same(path, result):
    found = read_table(path)
    assert len(found.peak_sample) > 80
    np.testing.assert_array_equal(found.peak_sample, result.spike_samples)
    np.testing.assert_array_equal(found.unit_id, result.spike_units)
    np.testing.assert_allclose(found.peak_value, result.spike_amplitudes, rtol=1e-4)


@both_files
def test_the_file_carries_its_reader(made, sorted_spikes, file, capsys):
    encoder, reader = SparseEncoder(made / file), sorted_spikes[2].reader
    assert encoder.info["spikes"] == reader.to_json()
    again = SpikeReader.from_json(encoder.info["spikes"])
    np.testing.assert_array_equal(again.peak_value, reader.peak_value)
    assert (reader.peak_value != reader.mean_amplitude).all()  # one in the recording's unit, one in the noise's
    assert main(["info", str(made / file)]) == 0
    assert "run --spikes" in capsys.readouterr().out
    assert main(["info", str(made / file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spikes"] == reader.to_json()


@both_files
def test_run_finds_the_spikes_that_keras_finds(made, sorted_spikes, tmp_path, file, capsys):
    assert run(made, tmp_path / "a.csv", file=file) == 0
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


@pytest.mark.parametrize("file, chunk", [("codes.onnx", "0.0311"), ("encoder.onnx", "0.0311"), ("codes.onnx", "0.5"),
                                         ("encoder.onnx", "9")])
def test_chunks_give_the_same_spikes_and_their_delay(made, sorted_spikes, tmp_path, capsys, file, chunk):
    assert run(made, tmp_path / "a.csv", "--chunk", chunk, file=file) == 0
    assert_same(tmp_path / "a.csv", sorted_spikes[2])
    out, err = capsys.readouterr()
    assert f"at most {sorted_spikes[2].reader.delay_s:.3f} s" in out and "[0 s] find spikes" in err


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


def test_a_raw_recording_into_a_sorter_s_file_gives_sparse_codes_and_the_spikes(made, sorted_spikes):
    """And nothing else than onnxruntime is needed for it."""
    import onnxruntime

    recording, _, result = sorted_spikes
    session = onnxruntime.InferenceSession(made / "encoder.onnx")
    assert [i.name for i in session.get_inputs()] == ["signal"]
    code, index, unit, _ = session.run(["code", "spike_index", "spike_unit", "spike_amplitude"],
                                       {"signal": recording[None].astype(np.float32)})
    assert np.count_nonzero(code) / code.size < 0.02
    found, true = index[:, 1], result.spike_samples
    nearest = np.abs(found[:, None] - true).argmin(1)
    same = (np.abs(found - true[nearest]) <= 1) & (unit == result.spike_units[nearest])
    assert abs(len(found) - len(true)) <= 2 and same.mean() > 0.98
    encoder = SparseEncoder(made / "encoder.onnx")
    np.testing.assert_allclose(encoder.encode(recording[None]), code, atol=1e-4 * code.max())
    # Whitened first, codes of the other file are the same.
    whitened = result.reader.whitening(recording, 0, len(recording))
    np.testing.assert_allclose(SparseEncoder(made / "codes.onnx").encode(whitened[None]), code, atol=1e-3 * code.max())


def test_gaps_in_a_recording_are_zero_once_whitened(made, sorted_spikes):
    recording, encoder = sorted_spikes[0][:20_000].astype(np.float32), SparseEncoder(made / "encoder.onnx")
    filled, gaps = recording.copy(), recording.copy()
    filled[9000:9400] = sorted_spikes[2].reader.whitening.offset
    gaps[9000:9400] = np.nan
    expected, code = encoder.encode(filled[None]), encoder.encode(gaps[None])
    np.testing.assert_allclose(code, expected, atol=1e-4 * code.max())
    np.testing.assert_allclose(encoder.encode(gaps[None], window=5000), expected, atol=1e-4 * code.max())
    reader = sorted_spikes[2].reader
    for one, other in zip(reader.find(encoder.encode, gaps), reader.find(encoder.encode, filled), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    with pytest.raises(ValueError, match="NaN"):
        SparseEncoder(made / "codes.onnx").encode(gaps[None] / 20)


@pytest.mark.parametrize("file, change, words", [
    ("codes.onnx", 1.0, "takes whitened recordings.*encoder.onnx that `keras-crsae sort` writes"),
    ("encoder.onnx", 1e-6, "has another unit"), ("encoder.onnx", 4.0, "has another unit")])
def test_a_recording_of_another_level_is_warned_of_once(made, sorted_spikes, file, change, words):
    recording, encoder = change * sorted_spikes[0][None, :3000], SparseEncoder(made / file)
    with pytest.warns(UserWarning, match=words) as caught:
        encoder.encode(recording)
    assert caught[0].filename == __file__
    encoder.encode(recording)
    with pytest.warns(UserWarning, match=words):
        SparseEncoder(made / file).encode(recording, sparse=True)
    with pytest.warns(UserWarning, match=words):
        SparseEncoder(made / file).run(["code"], recording)


def test_a_cluster_s_run_shows_the_warning(made, tmp_path, monkeypatch):
    cluster = pytest.importorskip("crsae_onnx.runtime.cluster")
    distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

    def no_scheduler(*_, **__):
        raise OSError("nobody answers")

    monkeypatch.setattr(distributed, "Client", no_scheduler)
    with pytest.warns(UserWarning, match="takes whitened recordings"), pytest.raises(OSError, match="No Dask sched"):
        cluster.run_cluster(made / "codes.onnx", made / "two_axes.npy", tmp_path / "z.zarr", "tcp://127.0.0.1:1")


def test_the_command_line_shows_the_warning(made, tmp_path, capsys):
    assert main(["run", str(made / "codes.onnx"), str(made / "y.npy"), str(tmp_path / "code.npy")]) == 0
    assert "warning: codes.onnx: This file takes whitened recordings" in capsys.readouterr().err
    assert main(["run", str(made / "encoder.onnx"), str(made / "y.npy"), str(tmp_path / "sorted.npy")]) == 0
    assert "warning" not in capsys.readouterr().err
    assert np.count_nonzero(np.load(tmp_path / "sorted.npy")) < 0.02 * np.load(tmp_path / "code.npy").size


@pytest.mark.parametrize("options, outputs, inside", [
    ([], ["code", "spikes"], True), (["--outputs", "code"], ["code"], False),
    (["--inputs", "signal", "mask"], ["code", "reconstruction"], False)])
def test_a_sorter_s_model_takes_its_whitening_along(sorted_spikes, tmp_path, options, outputs, inside, capsys):
    """From the folder that `sort` writes: no file of codes of whitened recordings says nothing of it."""
    recording, _, result = sorted_spikes
    folder = result.save(tmp_path / "sorted")
    assert main(["convert", str(folder / "model.keras"), str(tmp_path / "e.onnx"), *options]) == 0
    info = SparseEncoder(tmp_path / "e.onnx").info
    assert info["outputs"] == outputs and info.get("whitening_inside", False) == inside
    assert info["spikes"] == result.reader.to_json()
    assert main(["validate", str(folder / "model.keras"), str(tmp_path / "e.onnx")]) == 0
    (folder / "model.keras").rename(tmp_path / "alone.keras")
    assert main(["convert", str(tmp_path / "alone.keras"), str(tmp_path / "alone.onnx")]) == 0
    assert "spikes" not in SparseEncoder(tmp_path / "alone.onnx").info


def test_a_recording_of_the_right_level_is_not_warned_of(made, sorted_spikes):
    """Whitened or as it is, whichever the file takes; blanked stretches, silence and short signals neither."""
    recording, reader = sorted_spikes[0][:9000].copy(), sorted_spikes[2].reader
    recording[500:3000] = recording[0]
    for file, signal in (("codes.onnx", reader.whitening(recording, 0, 9000)), ("encoder.onnx", recording)):
        encoder = SparseEncoder(made / file)
        for part in (signal, signal[:150], 1000 * signal[:150], np.zeros_like(signal)):
            encoder.encode(part[None])
        reader.find(encoder.encode, recording)


def test_info_names_what_a_file_has(made, capsys):
    """The text of the preprocessing can be followed."""
    info = SparseEncoder(made / "codes.onnx").info
    (text,) = info["preprocessing"]
    assert "SpikeReader.from_json(SparseEncoder(path).info['spikes']).whitening" in text
    import onnxruntime
    metadata = onnxruntime.InferenceSession(made / "codes.onnx").get_modelmeta().custom_metadata_map
    assert "`spikes` of the JSON in the metadata property `crsae`" in text
    SpikeReader.from_json(json.loads(metadata["crsae"])["spikes"])
    assert info["unit"] == "the whitened noise's standard deviation"
    for file, words in (("codes.onnx", "before the graph"), ("encoder.onnx", "give the recording as it is")):
        assert main(["info", str(made / file)]) == 0
        assert words in capsys.readouterr().out


def test_spikes_of_a_long_recording_are_found_in_windows(made, sorted_spikes):
    recording, whole = sorted_spikes[0], SparseEncoder(made / "encoder.onnx")
    batch = np.stack([recording[:25_000], recording[25_000:]])
    windows = SparseEncoder(made / "encoder.onnx", limits=RunLimits(signal_samples=7000))
    assert len(whole.spikes(batch)[1]) > 100
    for one, other in zip(windows.spikes(batch), whole.spikes(batch), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


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
