"""Saved models and whatever else lies at a path."""

import json
import zipfile

import keras
import numpy as np
import pytest
from crsae_onnx.core.errors import FileError

import keras_crsae as kc
from keras_crsae.models.serialization import describe, load_crsae, saved_config


@pytest.fixture
def saved(tmp_path):
    model = kc.CRsAE(2, (5, 4), rank=2, strides=2, iterations=7, lambda_init=[0.5, 0.7], sigma=2.0, seed=0)
    model.build((None, None, None, 3))
    model.save(tmp_path / "m.keras")
    return tmp_path / "m.keras", model


def test_a_saved_model_comes_back(saved):
    path, model = saved
    np.testing.assert_array_equal(load_crsae(path).dictionary.kernel, model.dictionary.kernel)
    assert saved_config(path)[0]["config"]["filters"] == 2


def test_describe_tells_sizes_and_thresholds_as_plain_values(saved):
    facts = describe(saved[0])
    assert facts["kind"] == "CRsAE for images" and facts["kernel_size"] == [5, 4] and facts["channels"] == 3
    np.testing.assert_allclose(facts["penalty_weight"], [2.0, 2.8], rtol=1e-5)
    assert facts["training_steps"] == 0 and facts["keras_version"] == keras.__version__
    json.dumps(facts)


def other_model(folder):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(folder / "other.keras")
    return folder / "other.keras"


def text_file(folder):
    (folder / "text.keras").write_text("hello")
    return folder / "text.keras"


def other_zip(folder):
    with zipfile.ZipFile(folder / "zip.keras", "w") as archive:
        archive.writestr("readme.txt", "hello")
    return folder / "zip.keras"


@pytest.mark.parametrize("make, words", [
    (other_model, "'Sequential', not a CRsAE"), (text_file, "not a .keras file"), (other_zip, "not a .keras file"),
    (lambda folder: folder / "none.keras", "No file at"), (lambda folder: folder, "is a folder")])
def test_foreign_files_are_refused_by_name(tmp_path, make, words):
    path = make(tmp_path)
    with pytest.raises(FileError, match=words) as caught:
        load_crsae(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("change", [
    {"model.weights.h5": b"no weights"}, {"model.weights.h5": None}, {"filters": 3}, {"iterations": -1}])
def test_a_model_with_damaged_content_is_refused(saved, tmp_path, change):
    path = tmp_path / "damaged.keras"
    with zipfile.ZipFile(saved[0]) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = change.get(name, old.read(name))
            if name == "config.json":
                config = json.loads(content)
                config["config"].update({k: v for k, v in change.items() if k in config["config"]})
                content = json.dumps(config)
            if content is not None:
                new.writestr(name, content)
    with pytest.raises(FileError, match="cannot be loaded"):
        load_crsae(path)


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_an_unbuilt_model_is_saved_as_its_config_and_refused_where_weights_are_needed(tmp_path):
    model = kc.CRsAE(2, 9, iterations=3)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert not loaded.built and loaded.get_config() == model.get_config()
    with pytest.raises(FileError, match="without weights"):
        load_crsae(tmp_path / "m.keras")
