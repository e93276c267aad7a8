"""The demo does its job; the whole of it is slow."""

import sys

import numpy as np
import pytest

from keras_crsae import demo


def test_photographs_ship_with_scikit_image():
    for name in (demo.LEARNED_ON, demo.DENOISED):
        photograph = demo.shipped_photograph(name)
        assert photograph.ndim == 3 and min(photograph.shape[:2]) > 200
        assert photograph.shape[-1] == 1 and 0 <= photograph.min() < 0.1 and 0.9 < photograph.max() <= 1


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ModuleNotFoundError, match=r"keras-crsae\[images\]"):
        demo.shipped_photograph(demo.DENOISED)


def test_image_filters_learn_from_a_noisy_image(rng):
    image = 0.5 + 0.3 * np.sign(np.sin(np.mgrid[:80, :80][0] / 3))[..., None]
    model, first = demo.learn_image_filters((image + demo.NOISE * rng.standard_normal(image.shape)).astype("float32"),
                                            rng, 0, epochs=1, patches=4)
    assert not np.allclose(np.asarray(model.dictionary.kernel), first, atol=1e-3)


def test_a_figure_that_fails_leaves_the_one_before_it(tmp_path):
    class Figure:
        def savefig(self, path, **_):
            path.write_text("half")
            raise OSError(28, "No space left on device")

    (tmp_path / "a.png").write_text("before")
    with pytest.raises(OSError, match="a.png could not be written.*unchanged"):
        demo._put(tmp_path / "a.png", Figure())
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("a.png", "before")]


def test_the_table_is_aligned():
    lines = demo._table([("a", "long measure", 1.0, 2.5), ("", "x", None, "3e-6")]).splitlines()
    assert lines[3].startswith("a") and lines[3].endswith("2.500")
    assert lines[4].endswith("3e-6") and len(lines[3]) == len(lines[4])


@pytest.mark.slow
def test_the_demo_denoises_sorts_and_draws(tmp_path, capsys):
    rows = demo.run(tmp_path / "out", seed=0)
    values = {name.strip(): (before, after) for _, name, before, after in rows}
    before, after = values["PSNR (dB), noise of 25 grey levels"]
    assert after > before + 7 and after > values["for comparison: total variation"][1]
    assert after > values["the same, filters before learning"][1] + 0.5
    assert values["template error, mean of three"][1] < 0.1
    assert values["spike precision at 0.5 ms"][1] > 0.95 and values["spike recall at 0.5 ms"][1] > 0.95
    for name in ("image_filters", "image_filters_before", "denoised", "spike_templates", "spike_code"):
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 10_000
    assert capsys.readouterr().out.count("measure") == 1
