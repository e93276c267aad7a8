"""Models come by name, folder or file, and go out in the folder that model hubs have."""

import json

import keras
import numpy as np
import pytest
import yaml
from crsae_onnx.core.errors import FileError

import keras_crsae as kc
from keras_crsae import zoo
from keras_crsae.applications.denoising import denoise
from keras_crsae.models.presets import preset_file, with_front_matter


@pytest.fixture(scope="module")
def model():
    model = kc.Denoiser(4, 5, strides=2, iterations=2, seed=0,
                        training_settings={"loss": "sure", "supervised": False})
    model.build((None, None, None, 1))
    return model


def test_a_folder_comes_back_as_the_model_and_its_card_has_what_a_hub_reads(model, tmp_path, rng):
    onnx = tmp_path / "some.onnx"
    onnx.write_bytes(b"bytes")
    folder = model.save_to_preset(tmp_path / "deep" / "mine", onnx=onnx, license="cc-by-4.0")
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == {
        "README.md", "model.keras", "onnx/model.onnx"}  # Keras' own config.json and metadata.json are none of these
    assert (folder / "onnx" / "model.onnx").read_bytes() == b"bytes"
    image = rng.random((20, 21))
    loaded = kc.Denoiser.from_preset(folder)
    np.testing.assert_array_equal(denoise(image, folder, sigma=0.1), denoise(image, model, sigma=0.1))
    assert loaded.training_settings == model.training_settings
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["license"] == "cc-by-4.0" and facts["pipeline_tag"] == "image-to-image" and "keras" in facts["tags"]
    assert text.strip().startswith("# mine") and "from_preset" in text and "onnx/model.onnx" in text
    assert "loss sure" in text and "104 trained parameters" in text


def test_names_folders_and_files_stand_for_a_model(model, tmp_path):
    for name in [n for n in zoo.names() if n.startswith("denoise")]:  # whichever class is behind the name
        assert kc.Denoiser.from_preset(name).rank == 2
    model.save(tmp_path / "m.keras")
    assert kc.Denoiser.from_preset(tmp_path / "m.keras").filters == kc.CRsAE.from_preset(tmp_path / "m.keras").filters
    assert preset_file(tmp_path / "m.keras") == tmp_path / "m.keras"


def test_a_zoo_model_goes_out_with_its_own_card_and_file(tmp_path):
    name = "denoise-gray-25"
    card, onnx = zoo.path_of(name, zoo.CARD), zoo.path_of(name, zoo.ENCODER)
    folder = kc.load_model_from_zoo(name).save_to_preset(tmp_path / name, card=card, onnx=onnx)
    text = (folder / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: keras-crsae\n") and card.read_text().strip() in text
    assert (folder / "onnx" / "model.onnx").read_bytes() == onnx.read_bytes()


def test_nothing_is_downloaded(monkeypatch):
    for address, name in (("hf://someone/model", "someone/model"), ("https://x.org/m.keras", "x.org/m.keras")):
        with pytest.raises(FileError, match=f"downloads nothing.*hf download {name}"):
            kc.Denoiser.from_preset(address)
    with pytest.raises(FileError, match="downloads nothing"):
        denoise(np.zeros((9, 9)), "hf://someone/model", sigma=0.1)


def test_what_is_no_preset_is_refused(model, tmp_path):
    model.save(tmp_path / "m.keras")
    (tmp_path / "empty").mkdir()
    for preset, words in ((tmp_path / "empty", "no model.keras"), ("no-such-model", "denoise-gray"),
                          (tmp_path / "missing", "No file"), (tmp_path / "n.keras", "No file")):
        with pytest.raises(FileError, match=words):
            kc.Denoiser.from_preset(preset)
    with pytest.raises(FileError, match=r"holds a Denoiser.*Denoiser\.from_preset"):
        kc.models.CDLNet.from_preset(tmp_path / "m.keras")
    with pytest.raises(FileError, match="holds a CRsAE"):
        kc.Denoiser.from_preset("spikes-single-channel")


def test_nothing_of_the_users_is_lost(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileError, match="not an empty folder"):
        model.save_to_preset(tmp_path)
    model.save_to_preset(tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(FileError, match="is a file"):
        model.save_to_preset(tmp_path / "notes.txt", overwrite=True)
    with pytest.raises(FileError, match="onnx"):
        model.save_to_preset(tmp_path / "other", onnx=tmp_path / "missing.onnx")
    with pytest.raises(ValueError, match="lower-case"):
        model.save_to_preset(tmp_path / "other", license="My Licence")
    with pytest.raises(ValueError, match="no filters yet"):
        kc.Denoiser(4, 5).save_to_preset(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_onnx_file_of_another_model_does_not_stay(model, tmp_path, monkeypatch):
    """The command line prefers it to model.keras."""
    (tmp_path / "old.onnx").write_bytes(b"old")
    folder = model.save_to_preset(tmp_path / "mine", onnx=tmp_path / "old.onnx")
    monkeypatch.chdir(folder)
    model.save_to_preset(".", overwrite=True)
    assert not (folder / "onnx" / "model.onnx").exists() and "\n# mine\n" in (folder / "README.md").read_text()


def test_a_cards_own_front_matter_is_kept():
    card = "---\nlicense: mit\n---\n# m\n"
    assert with_front_matter(card, 2) == card
    with pytest.raises(ValueError, match="front matter"):
        with_front_matter(card, 2, "mit")
    assert "pipeline_tag" not in with_front_matter("# m", 1)


def test_keras_loads_the_file_of_a_preset_by_itself(model, tmp_path):
    folder = model.save_to_preset(tmp_path / "mine")
    assert keras.saving.load_model(folder / "model.keras").filters == 4
    json.dumps(keras.saving.load_model(folder / "model.keras").training_settings)
