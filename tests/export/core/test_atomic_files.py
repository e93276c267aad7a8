"""Files and folders appear whole, or not at all."""

import resource

import numpy as np
import pytest
from crsae_onnx.core.atomic_files import atomic_update, atomic_write
from crsae_onnx.core.errors import FileError


@pytest.mark.parametrize("folder", [False, True])
def test_what_ends_well_takes_the_place_and_what_fails_leaves_the_old(folder, tmp_path):
    def write(path, text):
        if folder:
            path.mkdir()
        (path / "inside" if folder else path).write_text(text)

    target = tmp_path / "t"
    for text in ("old", "new"):
        with atomic_write(target) as temporary:
            write(temporary, text)
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:
        write(temporary, "half")
        raise RuntimeError
    assert (target / "inside" if folder else target).read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a.npy") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [lambda f: np.save(f, np.zeros(10000)), lambda f: f.write_bytes(bytes(10000))])
def test_a_full_disk_is_said_and_leaves_the_file_before_it_whole(tmp_path, write):
    (tmp_path / "a.npy").write_text("before")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))  # the system refuses larger files, as a full disk does
    try:
        with pytest.raises(OSError, match="a.npy could not be written .*unchanged"), \
                atomic_write(tmp_path / "a.npy") as temporary:
            write(temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (tmp_path / "a.npy").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    with pytest.raises(FileError, match="appeared") as caught, \
            atomic_write(tmp_path / "a.npy", overwrite=False) as temporary:
        temporary.write_text("ours")
        (tmp_path / "a.npy").write_text("theirs")
    assert (tmp_path / "a.npy").read_text() == "theirs"
    assert temporary.read_text() == "ours" and str(temporary) in str(caught.value)
    with atomic_write(tmp_path / "a.npy") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.npy").read_text() == "new"


def test_the_temporary_name_keeps_the_suffix_that_writers_look_at(tmp_path):
    with atomic_write(tmp_path / "a.tar.npy") as temporary:
        assert temporary.suffix == ".npy" and temporary.parent == tmp_path and temporary.name != "a.tar.npy"
        np.save(temporary, np.arange(3))
    assert np.load(tmp_path / "a.tar.npy").tolist() == [0, 1, 2]


def test_an_update_replaces_its_files_together_and_keeps_the_others(tmp_path):
    folder = tmp_path / "results"
    for text in ("old", "new"):
        with atomic_update(folder) as temporary:
            (temporary / "a.txt").write_text(text)
            (temporary / "b.txt").write_text(text)
        (folder / "mine.txt").write_text("mine")
    with pytest.raises(RuntimeError), atomic_update(folder) as temporary:
        (temporary / "a.txt").write_text("half")
        raise RuntimeError
    assert {p.name: p.read_text() for p in folder.iterdir()} == {"a.txt": "new", "b.txt": "new", "mine.txt": "mine"}
    assert [p.name for p in tmp_path.iterdir()] == ["results"]
