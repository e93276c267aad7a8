"""A saved sorting result."""

import pytest


@pytest.fixture(scope="session")
def saved_folder(sorted_spikes, tmp_path_factory):
    """The shared sorting result, saved."""
    return sorted_spikes[2].save(tmp_path_factory.mktemp("saved") / "sorted")


@pytest.fixture
def folder_copy(saved_folder, tmp_path):
    """A copy of the saved folder to change."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in saved_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder
