"""Models are loaded by whichever package declares a loader for their suffix."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest
from crsae_onnx.cli.loaders import GROUP, load_model

import keras_crsae as kc


def upper(path):
    return str(path).upper()


def test_the_suffix_chooses_the_loader(monkeypatch):
    loaders = EntryPoints([EntryPoint("model", f"{__name__}:upper", GROUP), EntryPoint("other", "nowhere:no", GROUP)])
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(upper=upper))
    assert load_model("some/file.model", loaders) == "SOME/FILE.MODEL"


def test_a_suffix_that_nothing_loads_is_refused_with_those_that_can_be_loaded():
    loaders = EntryPoints([EntryPoint("model", "nowhere:no", GROUP)])
    with pytest.raises(ValueError, match=r"m\.pt.*\.model"):
        load_model("m.pt", loaders)
    with pytest.raises(ValueError, match="install keras-crsae"):
        load_model("m.pt", EntryPoints())


def test_the_installed_keras_crsae_loads_its_files(tmp_path):
    model = kc.CRsAE(2, 7, iterations=3, lambda_init=0.7, seed=0)
    model.build((None, None, 1))
    model.save(tmp_path / "m.keras")
    assert load_model(tmp_path / "m.keras").export_spec().weights_sha256() == model.export_spec().weights_sha256()
