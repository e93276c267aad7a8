"""Files and folders appear whole, or not at all."""

import pytest
from crsae_onnx.core.atomic_files import beside


@pytest.mark.parametrize("folder", [False, True])
def test_what_ends_well_takes_the_place_and_what_fails_leaves_the_old(folder, tmp_path):
    def write(path, text):
        if folder:
            path.mkdir()
        (path / "inside" if folder else path).write_text(text)

    target = tmp_path / "t"
    for text in ("old", "new"):
        with beside(target) as temporary:
            write(temporary, text)
    with pytest.raises(RuntimeError), beside(target) as temporary:
        write(temporary, "half")
        raise RuntimeError
    assert (target / "inside" if folder else target).read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["t"]
