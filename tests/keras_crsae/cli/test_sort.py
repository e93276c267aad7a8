"""``keras-crsae sort``, and ``encode`` with what it wrote."""

import json
import sys

import numpy as np
import pytest
from crsae_onnx import SparseEncoder, SpikeReader
from crsae_onnx.core.spikes.csv_table import read_table

from keras_crsae.applications import spike_sorting
from keras_crsae.cli import main


@pytest.fixture
def inside(sorted_spikes, tmp_path, monkeypatch):
    """An empty folder with the recording, as .npy and raw; sorting itself gives the shared result."""
    recording, _, result = sorted_spikes
    calls = []

    def sort(traces, frequency=None, **options):
        np.testing.assert_array_equal(np.asarray(traces[:]).reshape(recording.shape), recording)
        options.pop("progress")("train", 0.5)
        calls.append({"fs": frequency, **options})
        return result

    monkeypatch.setattr(spike_sorting, "sort", sort)
    monkeypatch.chdir(tmp_path)
    np.save("y.npy", recording[:, 0])
    recording.tofile("y.dat")
    return calls


def test_a_folder_with_everything_is_written(inside, sorted_spikes, tmp_path, capsys):
    recording, _, result = sorted_spikes
    assert main(["sort", "y.dat", "--fs", "10000", "--channels", "1", "--units", "3", "--band", "300", "4000",
                 "--seed", "5", "--output", "out"]) == 0
    assert inside == [{"fs": 10000.0, "units": 3, "band": [300.0, 4000.0], "common_reference": False, "motion": None,
                       "seed": 5, "parameters": spike_sorting.SortingParameters()}]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "spikes.csv", "templates.npy", "model.keras", "encoder.onnx", "report.html", "reader.json", "settings.json"}
    out = capsys.readouterr().out
    for word in ("5 s at 10000 Hz", "SNR", "< 1.5 ms", f"{np.sum(result.spike_units == 0) / 5:.2f}", "amplitude"):
        assert word in out
    np.testing.assert_array_equal(spike_sorting.load_result("out").spike_samples, result.spike_samples)
    encoder = SparseEncoder("out/encoder.onnx")  # carries all that it needs, and takes recordings as they are
    assert encoder.info["outputs"] == ["code", "spikes"] and encoder.whitening_inside
    found = SpikeReader.from_json(encoder.info["spikes"]).find(encoder.encode, recording)
    np.testing.assert_array_equal(found.peak_sample, result.spike_samples)
    np.testing.assert_array_equal(found.unit_id, result.spike_units)
    assert "Code maxima" in (tmp_path / "out/report.html").read_text()


def test_a_wave_file_tells_its_sampling_frequency(inside, sorted_spikes, tmp_path, refused):
    from scipy.io import wavfile

    wavfile.write("y.wav", 10000, sorted_spikes[0][:, 0].astype(np.float32))
    assert main(["sort", "y.wav", "--units", "3", "--output", "out"]) == 0
    assert inside[0]["fs"] == 10000.0 and (tmp_path / "out/spikes.csv").is_file()
    assert "not 12000" in refused("sort", "y.wav", "--fs", "12000", "--output", "other")


def test_a_sorter_runs_on_other_recordings(inside, sorted_spikes, tmp_path, capsys, refused):
    assert main(["sort", "y.npy", "--fs", "10000", "--output", "out"]) == 0
    for name in ("y.npy", "y.dat"):
        assert main(["encode", "out", name, "new.csv", "--overwrite"]) == 0
        np.testing.assert_array_equal(read_table("new.csv").peak_sample, sorted_spikes[2].spike_samples)
    assert f"unit 0: {np.sum(sorted_spikes[2].spike_units == 0)}" in capsys.readouterr().out
    np.save("late.npy", np.load("y.npy")[20000:])
    assert main(["encode", "out", "late.npy", "late.csv"]) == 0
    late, whole = read_table("late.csv"), sorted_spikes[2].spike_samples
    clear = late.peak_sample[late.peak_sample > 100] + 20000
    assert len(clear) > 50 and np.isin(clear, whole).mean() > 0.95
    for arguments, message in (
            (["encode", "out", "y.npy", "new.npz"], "must end in .csv"),
            (["encode", "out", "y.npy", "new.csv"], "exists"),
            (["encode", "out", "y.npy", "x.csv", "--sparse"], "--sparse"),
            (["encode", "out", "y.npy", "x.csv", "--fs", "20000"], "trained at 10000 Hz"),
            (["encode", "out", "y.npy", "x.csv", "--dtype", "float32"], "type int16, not float32"),
            (["encode", "out", "y.dat", "x.csv", "--channels", "2"], "1 channels")):
        assert message in refused(*arguments)
    assert not (tmp_path / "x.csv").exists()


def test_invalid_input_is_refused_before_work(inside, tmp_path, refused):
    np.save("flat.npy", np.zeros((3, 1000)))
    np.save("float.npy", np.fromfile("y.dat", "<f4"))
    np.savetxt("text.dat", np.load("y.npy")[:100], fmt="%d")
    (tmp_path / "empty.dat").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    for arguments, message in (
            (["y.npy", "--output", "out"], "--fs"), (["no.npy", "--fs", "1e4", "--output", "out"], "No file at"),
            (["y.dat", "--fs", "10000", "--output", "out"], "--channels"),
            (["flat.npy", "--fs", "10000", "--output", "out"], "transpose it"),
            (["y.npy", "--fs", "30", "--output", "out"], "must be in Hz, from 1,000 to 1,000,000. Received: 30.0. If "
             "that is in kHz, give 30000."),
            (["y.npy", "--fs", "10000", "--band", "300", "6000", "--output", "out"],
             "half the sampling frequency: 5000 Hz at 10000 Hz. Received: band=(300.0, 6000.0)"),
            (["y.npy", "--fs", "10000", "--band", "3000", "300", "--output", "out"], "0 < low < high"),
            (["y.npy", "--fs", "10000", "--common-reference", "--output", "out"], "has one channel"),
            (["y.npy", "--fs", "10000", "--motion", "estimate", "--output", "out"], "no channel locations"),
            (["y.npy", "--fs", "10000", "--segment", "1", "--output", "out"], "holds 1 segment, its number is 0"),
            (["y.npy", "--fs", "100000", "--output", "out"], "at least 1 s"),
            (["y.npy", "--fs", "10000", "--dtype", "float32", "--output", "out"], "type int16, not float32"),
            (["y.dat", "--fs", "10000", "--channels", "3", "--output", "out"], "channels that fit: 1, 2, 4, 5, 8, 10"),
            (["y.dat", "--fs", "10000", "--channels", "1", "--dtype", "float32", "--output", "out"],
             "They look like int16: --dtype int16."),
            (["text.dat", "--fs", "10000", "--channels", "1", "--output", "out"], "is a text file"),
            (["empty.dat", "--fs", "10000", "--channels", "1", "--output", "out"], "is empty (0 bytes)"),
            (["float.npy", "--fs", "10000", "--output", "out"], "values that no recording has"),
            (["full", "--output", "out"], "full"),
            (["y.npy", "--fs", "10000", "--output", "full"], "holds files already"),
            (["y.npy", "--fs", "10000", "--output", "y.dat"], "is a file"),
            (["full", "--output", "full", "--overwrite"], "is the recording")):
        assert message in refused("sort", *arguments)
    assert not inside and not (tmp_path / "out").exists()


def test_overwrite_leaves_nothing_of_the_old_sorting(inside, tmp_path, monkeypatch, capsys):
    (tmp_path / "out").mkdir()
    for name in ("spikes.csv", "report.html", "notes.txt"):
        (tmp_path / "out" / name).write_text("old")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # not installed: no report, all else
    assert main(["sort", "y.npy", "--fs", "10000", "--output", "out", "--overwrite"]) == 0
    err = capsys.readouterr().err
    assert "report.html is not written" in err and "keras-crsae[plots]" in err
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert "encoder.onnx" in names and "report.html" not in names
    assert (tmp_path / "out/notes.txt").read_text() == "old" and len(read_table("out/spikes.csv").peak_sample) > 80


def test_without_scikit_learn_the_extra_is_named(inside, monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "keras-crsae[spikes]" in refused("sort", "y.npy", "--fs", "10000", "--output", "out")


def test_noise_holds_no_spikes(tmp_path, monkeypatch, capsys, rng):
    pytest.importorskip("sklearn", reason="the extra `spikes` is not installed")
    monkeypatch.chdir(tmp_path)
    np.save("noise.npy", rng.standard_normal(20000))
    assert main(["sort", "noise.npy", "--fs", "10000", "--output", "out"]) == 2
    assert "No repeating waveform" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_parameters_come_from_a_file(inside, tmp_path, refused):
    (tmp_path / "p.json").write_text('{"refractory_ms": 1.5}')
    assert main(["sort", "y.npy", "--fs", "10000", "--parameters", "p.json", "--output", "out"]) == 0
    assert inside[0]["parameters"] == spike_sorting.SortingParameters(refractory_ms=1.5)
    for text, message in (("{", "p.json"), ("[1]", "Expected a JSON object"), ('{"no_such": 1}', "no_such"),
                          ('{"epochs": -1}', "epochs=-1")):
        (tmp_path / "p.json").write_text(text)
        assert message in refused("sort", "y.npy", "--fs", "10000", "--parameters", "p.json", "--output", "new")
    assert "No file at" in refused("sort", "y.npy", "--fs", "10000", "--parameters", "no", "--output", "new")


@pytest.mark.parametrize(("options", "expected"), [
    (["--units", "2"], {"units": 2}),
    (["--band", "300", "4000"], {"band": [300.0, 4000.0]}),
    (["--seed", "7"], {"seed": 7}),
    (["--fs", "10000"], {"fs": 10000.0}),
    (["--threshold", "5.5"], {"detection_threshold_sd": 5.5}),
    (["--amplitude-variation", "0.2"], {"maximum_amplitude_cv": 0.2, "initial_amplitude_cv": 0.2}),
    (["--epochs", "0"], {"epochs": 0}),
    (["--learning-seconds", "30"], {"learning_seconds": 30.0}),
    (["--parameters", "p.json", "--threshold", "5"], {"refractory_ms": 1.5, "detection_threshold_sd": 5.0})])
def test_every_option_reaches_the_sorting(inside, tmp_path, monkeypatch, options, expected):
    monkeypatch.setattr("keras_crsae.cli.sort.write_folder", lambda *_: [])
    (tmp_path / "p.json").write_text('{"refractory_ms": 1.5, "detection_threshold_sd": 6.0}')
    assert main(["sort", "y.npy", "--output", "out", "--fs", "10000", *options]) == 0
    call = {**inside[0]["parameters"].to_dict(), **inside[0]}
    assert {name: call[name] for name in expected} == expected


@pytest.mark.parametrize(("options", "message"), [
    (["--threshold", "0"], "above 0"), (["--epochs", "-1"], "from 0"), (["--epochs", "1.5"], "from 0"),
    (["--learning-seconds", "nan"], "above 0"), (["--amplitude-variation", "20"], "`amplitude_variation` is a frac")])
def test_values_that_an_option_does_not_take_are_refused(inside, refused, options, message):
    assert message in refused("sort", "y.npy", "--fs", "10000", "--output", "out", *options)
    assert not inside


def test_info_prints_spikes_settings_and_parameters_of_a_folder(sorted_spikes, tmp_path, capsys):
    result = sorted_spikes[2]
    result.save(tmp_path / "out")
    assert main(["info", str(tmp_path / "out"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["spikes"] == {f"unit {unit}": int((result.spike_units == unit).sum()) for unit in range(2)}
    assert facts["parameters"]["epochs"] == 1 and facts["settings"]["seed"] == 0
    assert main(["info", str(tmp_path / "out")]) == 0
    assert "refractory_ms 1" in capsys.readouterr().out


def test_a_sorter_s_model_alone_says_that_its_signals_are_whitened(sorted_spikes, tmp_path, monkeypatch, capsys):
    """`encode` of the folder's model.keras warns of a raw recording; `export` takes the whitening along."""
    recording, _, result = sorted_spikes
    monkeypatch.chdir(tmp_path)
    result.save("out")
    np.save("y.npy", recording)
    np.save("whitened.npy", result.reader.whitening(recording, 0, len(recording)))
    assert main(["encode", "out/model.keras", "y.npy", "z.npz"]) == 0
    assert "takes whitened recordings" in capsys.readouterr().err
    assert main(["encode", "out/model.keras", "whitened.npy", "w.npz"]) == 0
    assert "whitened" not in capsys.readouterr().err
    assert main(["export", "out/model.keras", "e.onnx", "--validate"]) == 0
    encoder = SparseEncoder("e.onnx")
    assert encoder.info["outputs"] == ["code", "spikes"] and encoder.whitening_inside
    assert len(encoder.spikes(recording[None])[1]) > 100
