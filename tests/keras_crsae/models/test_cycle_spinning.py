"""Shifts are cut, moved back and averaged exactly, and cover the grid."""

import numpy as np
import pytest
from crsae_onnx.core.cycle_spinning import all_shifts, average_over_shifts, padded_length, padding, spread_shifts

from keras_crsae.models.cycle_spinning import cut_shifts, mean_of_shifts, random_shifts

SIZES = [((8, 8), (4, 4)), ((7, 7), (5, 5)), ((6, 9), (2, 3)), ((5, 5), (1, 1))]


@pytest.mark.parametrize("kernel, strides", SIZES)
def test_cut_and_mean_undo_each_other(rng, kernel, strides):
    images = rng.random((2, 21, 26, 3)).astype("float32")
    shifts = all_shifts(strides)
    cut = cut_shifts(images, shifts, kernel, strides)
    np.testing.assert_allclose(mean_of_shifts(cut, shifts, (21, 26), kernel, strides), images, atol=1e-6)


@pytest.mark.parametrize("length", [20, 21, 22, 23, 60])
@pytest.mark.parametrize("kernel, stride", [(8, 4), (7, 5), (12, 6), (5, 1)])
def test_every_filter_position_that_touches_the_image_fits(length, kernel, stride):
    size = padded_length(length, kernel, stride)
    assert (size - kernel) % stride == 0
    for shift in range(stride):
        first = -(kernel - stride + shift)  # where the padded image begins, in the image's pixels
        last = first + size - kernel
        assert first - stride < -(kernel - 1) <= first + stride - 1 and last + stride > length - 1
    before, after = padding(length, kernel, stride)
    assert before == kernel - 1 and before + length + after - (stride - 1) == size


def test_the_two_halves_agree(rng):
    """Training averages tensors, inference arrays: the same numbers, whatever is made of the shifts."""
    images, shifts = rng.random((2, 19, 24, 1)).astype("float32"), spread_shifts((4, 4), 5)

    def blur(y):
        return np.cumsum(y, axis=1) / 10 + y**2

    cut = cut_shifts(images, shifts, (8, 8), (4, 4)).numpy()
    tensors = mean_of_shifts(blur(cut), shifts, (19, 24), (8, 8), (4, 4))
    arrays = average_over_shifts(blur, images, (8, 8), (4, 4), shifts)
    np.testing.assert_allclose(tensors, arrays, atol=1e-5)


def test_random_shifts_differ_and_repeat_with_their_seed():
    one, same, other = (random_shifts((4, 4), 5, seed).numpy() for seed in ([1, 0], [1, 0], [2, 0]))
    assert len({tuple(s) for s in one}) == 5 and one.min() >= 0 and one.max() <= 3
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    seen = {tuple(s) for i in range(60) for s in random_shifts((2, 3), 1, [i, 0]).numpy()}
    assert seen == {tuple(s) for s in all_shifts((2, 3))}


def test_few_shifts_lie_far_apart():
    assert spread_shifts((4, 4), 2).tolist() == [[0, 0], [2, 2]]
    four = spread_shifts((4, 4), 4)
    gaps = [np.abs(a - b) for i, a in enumerate(four) for b in four[:i]]
    assert min(np.square(np.minimum(g, 4 - g)).sum() for g in gaps) >= 4
    np.testing.assert_array_equal(np.sort(spread_shifts((3, 2), 6), axis=0), np.sort(all_shifts((3, 2)), axis=0))


@pytest.mark.parametrize("count", [0, 17, 2.0])
def test_impossible_counts_are_refused(count):
    with pytest.raises(ValueError, match="1 to 16"):
        spread_shifts((4, 4), count)
