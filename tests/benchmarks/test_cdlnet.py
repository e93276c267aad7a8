"""Training without clean images sees one noise an image, of one known level."""

import imageio.v3 as iio
import numpy as np
import pytest

from benchmarks import cdlnet


def test_each_image_has_one_noise_of_the_level(tmp_path, monkeypatch):
    for i in range(2):
        iio.imwrite(tmp_path / f"{i}.png", np.full((60, 70), 100 + i, "uint8"))
    monkeypatch.setattr(cdlnet, "train_folder", lambda: tmp_path)
    one, two = cdlnet.noisy_images(0.1), cdlnet.noisy_images(0.1)
    for i, (first, again) in enumerate(zip(one, two, strict=True)):
        np.testing.assert_array_equal(first, again)
        assert first.std() == pytest.approx(0.1, rel=0.05) and first.mean() == pytest.approx((100 + i) / 255, abs=0.01)
    assert np.abs(np.corrcoef(one[0].ravel(), one[1].ravel())[0, 1]) < 0.1


def test_a_range_of_levels_is_refused_without_clean_images(capsys):
    with pytest.raises(SystemExit):
        cdlnet.main(["--loss", "sure", "--sigma", "10", "50"])
    assert "one noise level" in capsys.readouterr().err
