"""The demo's table and files."""

import pytest

from keras_crsae.demo.outputs import save_figure, table_text


def test_a_figure_that_fails_leaves_the_one_before_it(tmp_path):
    class Figure:
        def savefig(self, path, **_):
            path.write_text("half")
            raise OSError(28, "No space left on device")

    (tmp_path / "a.png").write_text("before")
    with pytest.raises(OSError, match="a.png could not be written.*unchanged"):
        save_figure(tmp_path / "a.png", Figure())
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("a.png", "before")]


def test_the_table_is_aligned():
    lines = table_text([("a", "long measure", 1.0, 2.5), ("", "x", None, "3e-6")]).splitlines()
    assert lines[3].startswith("a") and lines[3].endswith("2.500")
    assert lines[4].endswith("3e-6") and len(lines[3]) == len(lines[4])
