"""First values from data: the noise's level, Donoho's lambda, windows and DCT atoms as filters."""

import numpy as np
import pytest
import scipy.fft
from crsae_onnx.core.signals import robust_std

from keras_crsae.initializers import dct_filters, donoho_lambda, robust_sigma, window_filters, window_noise


def test_the_level_of_noise_is_found_under_spikes_and_is_the_mean_over_channels(rng):
    signal = rng.normal(0, [1.0, 3.0], (4, 20_000, 2))
    signal[:, ::50] += 100
    assert robust_sigma(signal, 1) == pytest.approx(2.0, rel=0.05)
    assert robust_sigma(signal + [500.0, -7.0], 1) == pytest.approx(robust_sigma(signal, 1))


def test_the_level_of_noise_in_images_does_not_see_their_slopes(rng):
    rows, columns = np.mgrid[:129, :128]
    image = (5.0 * rows + 3.0 * columns)[None, :, :, None]
    assert robust_sigma(image, 2) == pytest.approx(0.0, abs=1e-9)
    assert robust_sigma(image + rng.normal(0, 2.0, image.shape), 2) == pytest.approx(2.0, rel=0.05)


def test_missing_samples_do_not_count(rng):
    signal, mask = rng.normal(0, 1.0, (2, 5000, 1)), np.ones((2, 5000, 1))
    mask[:, :2500] = 0
    expected = robust_sigma(signal[:, 2500:], 1)
    signal[:, :2500] = 1e6
    assert robust_sigma(signal, 1, mask) == pytest.approx(expected)
    assert robust_sigma(signal, 1, 0 * mask) == 0.0 and robust_sigma(np.ones((1, 9, 1)), 1) == 0.0


def test_donohos_lambda_is_a_threshold_over_the_variance():
    assert donoho_lambda(3, 1000, 2.0) * 2.0**2 == pytest.approx(2.0 * np.sqrt(2 * np.log(3000)))
    assert donoho_lambda(1, 1, 1.0) > 0


def test_windows_are_pieces_of_the_data_and_no_two_are_equal(rng):
    data = rng.standard_normal((3, 40, 2))
    filters = window_filters(data, (5,), 20, rng)
    pieces = np.lib.stride_tricks.sliding_window_view(data, 5, axis=1).transpose(0, 1, 3, 2).reshape(-1, 5, 2)
    for c in range(20):
        assert np.abs(pieces - filters[..., c]).max(axis=(1, 2)).min() < 1e-4
    assert len(np.unique(filters.round(3).reshape(-1, 20), axis=1).T) == 20


def test_windows_of_high_energy_hold_the_events(rng):
    data = 0.01 * rng.standard_normal((4, 500, 1))
    data[:, 100::100] = 5.0
    assert (np.abs(window_filters(data, (9,), 5, rng, energy=True)).max(axis=(0, 1)) > 4).all()


@pytest.mark.parametrize("kernel_size, channels", [((7,), 1), ((4, 5), 1), ((3, 3), 2)])
def test_all_dct_atoms_are_an_orthogonal_basis_that_begins_with_the_constant(kernel_size, channels):
    count = int(np.prod(kernel_size)) * channels
    atoms = dct_filters(kernel_size, channels, count).reshape(count, count)
    gram = atoms.T @ atoms
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-9)
    np.testing.assert_allclose(atoms[:, 0], atoms[0, 0])


def test_dct_atoms_are_scipys():
    ours, theirs = dct_filters((8,), 1, 8)[:, 0], scipy.fft.dct(np.eye(8), norm="ortho", axis=0).T
    np.testing.assert_allclose(ours / np.linalg.norm(ours, axis=0), theirs, atol=1e-12)


def test_more_dct_filters_than_atoms_are_refused():
    with pytest.raises(ValueError, match=r"has 9 atoms for kernel_size=\(3, 3\).*Received: filters=10"):
        dct_filters((3, 3), 1, 10)


@pytest.mark.parametrize("kind", ["zero-padded windows", "constant", "missing"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.7])
def test_stretches_without_noise_have_no_say(rng, kind, share):
    signal = rng.normal(0, 2.0, (40, 1000, 2)).astype("float32")
    signal[:, :int(1000 * share)] = {"zero-padded windows": 0, "constant": 3.5, "missing": np.nan}[kind]
    signal[:4] = 0.0  # and windows that are blank
    assert robust_sigma(signal, 1) == pytest.approx(2.0, rel=0.05)
    level = window_noise(signal[..., 0])
    assert abs(level.center) < 0.1 and level.std == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("sigma", [0.4, 0.7, 1.0, 2.0])
def test_rounding_of_whole_numbers_does_not_move_it(rng, sigma):
    signal = np.rint(rng.normal(0.3, sigma, (40, 2000, 1))).astype("int16")
    assert robust_sigma(signal, 1) == pytest.approx(sigma, rel=0.05)


def test_a_constant_channel_has_no_part_in_the_mean(rng):
    signal = rng.normal(0, 2.0, (4, 5000, 3)).astype("float32")
    expected = robust_sigma(signal[..., :2], 1)
    signal[..., 2] = 7.0
    assert robust_sigma(signal, 1) == expected


def test_clean_signals_give_the_median_absolute_deviation_to_the_bit(rng):
    for kind in ("float32", "float64"):
        signal = rng.normal(0, [1.0, 3.0], (4, 5000, 2)).astype(kind)
        signal[:, ::200] += 100
        levels = [robust_std(signal[..., c].ravel()) for c in range(2)]
        assert robust_sigma(signal, 1) == float(np.mean(levels))
