"""An image before and after denoising."""

import numpy as np
import pytest

from keras_crsae import plots


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_denoising_titles_tell_psnr(channels, tmp_path):
    clean = np.full((20, 30, *channels), 0.5)
    figure = plots.plot_denoising(clean, clean + 0.1, clean + 0.01, zoom=(2, 3, 8))
    titles = [axis.get_title() for axis in figure.axes[:4]]
    assert titles[1:3] == ["noisy: 20.00 dB", "denoised: 40.00 dB"]
    figure.savefig(tmp_path / "figure.png", dpi=30)
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_the_enlarged_square_is_shown_below_and_marked_above(rng):
    images = [rng.random((20, 30)) for _ in range(3)]
    axes = np.array(plots.plot_denoising(*images, zoom=(2, 3, 8)).axes[:8]).reshape(2, 4)
    for image, (above, below) in zip(images, axes.T, strict=False):
        np.testing.assert_allclose(below.images[0].get_array(), image[2:10, 3:11])
        assert above.patches[0].get_xy() == (3, 2)
    assert not axes[0, 3].patches  # the difference


def test_images_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        plots.plot_denoising(np.zeros((5, 5)), np.zeros((5, 5)), np.zeros((5, 4)))
