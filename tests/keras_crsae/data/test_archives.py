"""Archives and images made to do harm are refused before they are unpacked; mutated ones give one kind of error."""

import json
import logging
import random
import re
import time
import warnings
import zipfile
import zlib

import h5py
import keras
import numpy as np
import pytest
from crsae_onnx.core.errors import FileError
from scipy.io import wavfile

import keras_crsae as kc
from keras_crsae.data.archives import check_archive
from keras_crsae.data.arrays import read_array
from keras_crsae.data.images import read_image, write_image
from keras_crsae.data.recordings import read_recording
from keras_crsae.models.serialization import load_crsae, saved_config


def archive_of(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


def npy_header(shape, dtype="<f8"):
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_a_zip_bomb_is_refused_unopened(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        for _ in range(300):
            file.write(bytes(2**20))
    started = time.process_time()
    with pytest.raises(FileError, match="would unpack to 314572800"):
        read_array(path)
    with pytest.raises(FileError, match="would unpack to"):
        saved_config(path.rename(tmp_path / "bomb.keras"))
    assert time.process_time() - started < 1


def test_well_compressed_data_below_the_bound_pass(tmp_path):
    np.savez_compressed(tmp_path / "zeros.npz", a=np.zeros(2_000_000))
    assert read_array(tmp_path / "zeros.npz").shape == (2_000_000,)


@pytest.mark.parametrize("name", ["../a.npy", "/a.npy", "x/../../a.npy", "c:\\a.npy", "..\\a.npy"])
def test_paths_that_lead_outside_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(FileError, match="leads outside"):
        check_archive(tmp_path / "a.npz")


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("a.npy", b"x")
        archive.writestr("a.npy", b"y")
    with pytest.raises(FileError, match="occurs twice"):
        check_archive(tmp_path / "a.npz")


def test_an_array_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    with pytest.raises(FileError, match="would take 8000000000000 bytes"):
        read_array(archive_of(tmp_path / "a.npz", **{"a.npy": npy_header((10**12,)) + bytes(80)}))
    (tmp_path / "a.npy").write_bytes(npy_header((10**12,)) + bytes(80))
    with pytest.raises(FileError, match="cannot be read"):
        read_array(tmp_path / "a.npy")


def test_pickles_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=np.array([{}], object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(FileError, match="Python objects"):
            read_array(tmp_path / name)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    model = kc.CRsAE(2, 9, iterations=3, seed=0)
    model.build((None, None, 1))
    path = tmp_path_factory.mktemp("model") / "m.keras"
    model.save(path)
    return path


def changed(source, path, **members):
    """A copy of an archive with some members replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, members.get(name, old.read(name)))
    return path


@pytest.mark.parametrize("initialiser", [
    {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "x"}},
    {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
    {"module": "os", "class_name": "system", "config": "true", "registered_name": "system"},
    {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"}],
    ids=lambda i: i["class_name"])
def test_a_description_that_names_code_is_refused(model_file, tmp_path, initialiser):
    with zipfile.ZipFile(model_file) as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["kernel_initializer"] = initialiser
    path = changed(model_file, tmp_path / "m.keras", **{"config.json": json.dumps(config)})
    with pytest.raises(FileError, match="no code"):
        load_crsae(path)


@pytest.mark.parametrize("harm, words", [("bomb", "would take"), ("link", "links to other places"),
                                         ("external", "from other files")])
def test_weights_that_reach_beyond_their_file_are_refused(model_file, tmp_path, harm, words):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        if harm == "bomb":
            file.create_dataset("a", (10**11,), "f4", chunks=(1000,))
        elif harm == "link":
            file["a"] = h5py.ExternalLink("/etc/hostname", "/")
        else:
            file.create_dataset("a", (4,), "u1", external=[("/etc/hostname", 0, 4)])
    path = changed(model_file, tmp_path / "m.keras", **{"model.weights.h5": (tmp_path / "w.h5").read_bytes()})
    with pytest.raises(FileError, match=words):
        load_crsae(path)


def test_an_image_that_promises_too_many_pixels_is_refused(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((16, 16), "uint8"))
    data = bytearray((tmp_path / "a.tif").read_bytes())
    for tag in (256, 257):  # width and height, each a value of 16
        at = re.search(re.escape(tag.to_bytes(2, "little")) + rb"[\x03\x04]\x00\x01\x00\x00\x00", data).start()
        data[at:at + 12] = tag.to_bytes(2, "little") + b"\x04\x00\x01\x00\x00\x00" + (10**6).to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(FileError, match="promises 1000000000000 values"):
        read_image(tmp_path / "a.tif")


def test_a_blank_image_passes_and_one_beyond_compression_does_not(tmp_path):
    blank = np.full((3000, 3000), 255, "uint8")
    write_image(tmp_path / "a.png", blank)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), blank)
    content = (tmp_path / "a.png").read_bytes()
    header = b"IHDR" + (12000).to_bytes(4, "big") * 2 + content[24:29]
    (tmp_path / "a.png").write_bytes(content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:])
    with pytest.raises(FileError, match="promises 144000000 values"):
        read_image(tmp_path / "a.png")


def seeds(folder, model_file):
    """One good file for each reader."""
    rng = np.random.default_rng(0)
    np.save(folder / "a.npy", rng.standard_normal((20, 3)))
    np.savez(folder / "a.npz", a=rng.integers(0, 9, 50))
    np.savez_compressed(folder / "b.npz", a=np.zeros(500), b=np.arange(4))
    image = rng.integers(0, 255, (12, 10, 3)).astype("uint8")
    for name in ("a.png", "a.jpg", "a.tif"):
        write_image(folder / name, image)
    write_image(folder / "deep.png", image.astype("uint16") * 257)
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(folder / "deep.tif", image.astype("uint16") * 257, compression="lzw", predictor=True)
    tifffile.imwrite(folder / "palette.tif", image[..., 0].astype("uint16"), photometric="palette",
                     colormap=rng.integers(0, 65536, (3, 65536), np.uint16), extratags=[(274, "H", 1, 6, True)])
    (folder / "m.keras").write_bytes(model_file.read_bytes())
    (folder / "a.dat").write_bytes(rng.integers(-9, 9, (30, 2)).astype("<i2").tobytes())
    wavfile.write(folder / "a.wav", 30000, rng.integers(-9, 9, (60, 2)).astype("int16"))
    wavfile.write(folder / "b.wav", 1000, rng.standard_normal(40).astype("float32"))
    return sorted(folder.iterdir())


def mutated(content, rng):
    """Some bytes changed, cut out, doubled, or the end cut off."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, kind = rng.randrange(max(1, len(content))), rng.randrange(5)
        if kind == 0 and content:
            content[at] = rng.randrange(256)
        elif kind == 1:
            del content[at:at + rng.randrange(1, 40)]
        elif kind == 2:
            content[at:at] = content[at:at + rng.randrange(1, 40)]
        elif kind == 3:
            content[at:at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"))
        else:
            del content[at:]
    return bytes(content)


@pytest.fixture(autouse=True)
def quiet_tiff():
    """tifffile writes a line for each damaged tag."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("tifffile").setLevel(logging.NOTSET)


def read(path):
    if path.suffix == ".keras":
        return load_crsae(path)
    if path.suffix in (".png", ".jpg", ".tif"):
        return read_image(path)
    if path.suffix == ".dat":
        return np.asarray(read_recording(path, sampling_frequency=1000.0, channels=2))
    return np.asarray(read_array(path, "a" if path.name == "b.npz" else None))


def fuzz(folder, model_file, rounds):
    """(read, refused) of mutated files; whatever else than FileError comes out is a failure."""
    counts, rng = [0, 0], random.Random(0)
    for source in seeds(folder, model_file):
        good = source.read_bytes()
        read(source)
        for i in range(rounds if source.suffix != ".keras" else max(3, rounds // 8)):
            source.write_bytes(mutated(good, rng))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read(source)
                counts[0] += 1
            except FileError as error:
                assert source.name in str(error)
                counts[1] += 1
            except Exception as error:
                raise AssertionError(f"{source.name}, round {i}: {type(error).__name__}: {error}") from error
    keras.backend.clear_session()
    return counts


def test_mutated_files_are_read_or_refused_by_name(tmp_path, model_file):
    good, refused = fuzz(tmp_path, model_file, 24)
    assert good and refused > 100


@pytest.mark.slow
def test_two_thousand_mutated_files_are_read_or_refused_by_name(tmp_path, model_file):
    good, refused = fuzz(tmp_path, model_file, 250)
    assert good + refused > 2000
