"""Shifts of images on a stride's grid, in NumPy."""

import numpy as np
import pytest
from crsae_onnx.core.cycle_spinning import all_shifts, average_over_shifts, padded_length, padding


@pytest.mark.parametrize("strides, kernel", [((2, 3), (4, 5)), ((1, 1), (3, 3)), ((4, 4), (8, 8))])
@pytest.mark.parametrize("space", [(9, 7), (16, 12), (5, 20)])
def test_the_mean_of_unchanged_shifts_is_the_image(strides, kernel, space, rng):
    images = rng.random((2, *space, 3))
    for largest_batch in (1, 2**19):  # shift by shift, and all together
        mean = average_over_shifts(lambda y: y, images, kernel, strides, largest_batch=largest_batch)
        np.testing.assert_allclose(mean, images, atol=1e-6)


def test_every_shift_is_a_whole_number_of_strides_and_reaches_each_pixel():
    for length, kernel, stride in [(60, 8, 4), (5, 5, 5), (17, 7, 3)]:
        size, (before, after) = padded_length(length, kernel, stride), padding(length, kernel, stride)
        assert (size - kernel) % stride == 0
        for shift in range(stride):
            start = before - (kernel - stride + shift)  # where the shift's first pixel lies in the padded image
            assert 0 <= start and start + size <= before + length + after
            covered = np.zeros(before + length + after, bool)
            covered[start:start + size] = True
            assert covered[before:before + length].all()


def test_each_shift_sees_the_image_on_its_own_grid_and_the_mask_goes_with_it(rng):
    image, seen = rng.random((1, 8, 8, 1)), []

    def reconstruct(batch, mask):
        np.testing.assert_array_equal(batch > 0.5, mask)
        seen.append(batch)
        return batch

    average_over_shifts(reconstruct, image, (4, 4), (2, 2), mask=(image > 0.5).astype(float), largest_batch=1)
    assert len(seen) == len(all_shifts((2, 2))) == 4
    assert len({batch.tobytes() for batch in seen}) == 4
