"""Kernels of rank one: the nearest ones, their sign, and the channels that they need."""

import numpy as np
import pytest

from keras_crsae.operators.rank_one import channel_basis, kernel_of, mix_channels, nearest_rank_one, with_sign


@pytest.mark.parametrize("size, channels", [((9,), 4), ((4,), 9), ((3, 4), 5), ((5,), 1)])
def test_the_nearest_kernels_are_the_first_singular_vectors(rng, size, channels):
    kernel = rng.standard_normal((*size, channels, 3))
    parts = nearest_rank_one(kernel)
    for c in range(3):
        matrix = kernel[..., c].reshape(-1, channels)
        left, values, right = np.linalg.svd(matrix)
        np.testing.assert_allclose(parts.kernel[..., c].reshape(-1, channels), np.outer(left[:, 0], right[0]),
                                   atol=1e-12)
        assert parts.share[c] == pytest.approx(values[0] ** 2 / np.sum(values**2))
    largest = np.abs(parts.maps).argmax(axis=0)
    assert (parts.maps[largest, range(3)] > 0).all()


def test_a_kernel_of_any_scale_and_one_of_zeros_have_parts_of_norm_one():
    kernel = np.zeros((4, 3, 3))
    kernel[1, 2] = [1e-200, 1e200, 0.0]
    maps, courses, share = nearest_rank_one(kernel)
    np.testing.assert_allclose(np.linalg.norm(maps, axis=0), 1)
    np.testing.assert_allclose(np.linalg.norm(courses, axis=0), 1)
    assert share.tolist() == [1, 1, 0]


def test_the_sign_leaves_kernels_as_they_are(rng):
    maps, courses = rng.standard_normal((5, 4)), rng.standard_normal((9, 4))
    signed, moved = with_sign(maps, courses)
    assert (signed[np.abs(signed).argmax(axis=0), range(4)] > 0).all()
    np.testing.assert_array_equal(kernel_of(signed, moved), kernel_of(maps, courses))


def test_maps_that_are_equal_have_an_orthonormal_basis_too(rng):
    maps = rng.standard_normal((6, 3))
    maps[:, 2] = maps[:, 0]
    basis, mixing = (np.asarray(part) for part in channel_basis(maps))
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(mix_channels(basis[None], mixing)[0], maps, atol=1e-12)
