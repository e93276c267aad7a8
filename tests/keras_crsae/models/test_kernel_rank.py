"""Models whose filters are of rank one: learned, saved, resumed, moved and revived as others are."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.layers import RankOneDictionary

CHANNELS, SAMPLES, FILTERS = 12, 15, 2


@pytest.fixture(scope="module")
def simulated():
    """Signals of two filters of rank one in noise: (signal, true kernel)."""
    rng = np.random.default_rng(0)
    maps, time = rng.standard_normal((CHANNELS, FILTERS)), np.linspace(-1, 1, SAMPLES)
    courses = np.stack([np.sin(3 * np.pi * time), np.exp(-8 * time**2)], axis=-1) * np.hanning(SAMPLES)[:, None]
    kernel = courses[:, None] * maps
    kernel /= np.sqrt(np.sum(kernel**2, axis=(0, 1)))
    code = rng.uniform(6, 9, (16, 186, FILTERS)) * (rng.random((16, 186, FILTERS)) < 0.02)
    signal = sum(np.apply_along_axis(np.convolve, 1, code[..., c], kernel[:, i, c])[..., None] * np.eye(CHANNELS)[i]
                 for c in range(FILTERS) for i in range(CHANNELS))
    return (signal + 0.1 * rng.standard_normal(signal.shape)).astype("float32"), kernel


def model_of(**options):
    return kc.CRsAE(**{"filters": FILTERS, "kernel_size": SAMPLES, "iterations": 20, "kernel_rank": 1, "sigma": 0.1,
                       "seed": 1, **options})


def test_maps_and_courses_are_learned_from_data(simulated):
    signal, kernel = simulated
    model = model_of(gradient="decoder", lambda_learning=None, lambda_init=80.0, iterations=40)
    model.adapt(signal, "energy")
    model.compile(keras.optimizers.Adam(2e-2))
    model.fit(signal, epochs=30, batch_size=4, verbose=0)
    assert kc.metrics.dictionary_error(kernel, np.asarray(model.dictionary.kernel)).max() < 0.1
    for variable in model.dictionary.filter_variables:
        np.testing.assert_allclose(np.linalg.norm(variable, axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("options", [dict(iterations=5), dict(gradient="decoder", tied=False)], ids=str)
def test_a_saved_model_is_the_same_and_goes_on_exactly(simulated, tmp_path, options):
    signal = simulated[0][:8]
    models = [model_of(**options) for _ in range(2)]
    for model in models:
        model.adapt(signal, "windows")
        model.compile(keras.optimizers.Adam(1e-2))
    models[0].fit(signal, epochs=2, batch_size=4, verbose=0)
    models[1].fit(signal, epochs=1, batch_size=4, verbose=0)
    models[1].save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert again.kernel_rank == 1 and type(again.dictionary) is type(again.decoder) is RankOneDictionary
    np.testing.assert_array_equal(again.encode(signal), models[1].encode(signal))
    again.fit(signal, epochs=2, initial_epoch=1, batch_size=4, verbose=0)
    for one, other in zip(again.get_weights(), models[0].get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_filters_of_another_rank_are_taken_as_their_nearest_with_a_warning(rng):
    kernel = rng.standard_normal((SAMPLES, CHANNELS, FILTERS))
    model = model_of()
    with pytest.warns(UserWarning, match=r"rank one \(kernel_rank=1\).*loses"):
        model.set_dictionary(kernel)
    learned = np.asarray(model.dictionary.kernel)
    model.set_dictionary(learned)  # no warning
    np.testing.assert_allclose(model.dictionary.kernel, learned, atol=1e-6)


@pytest.mark.parametrize("init", ["windows", "energy", "dct"])
def test_first_filters_come_from_data(simulated, init):
    model = model_of(sigma="estimate")
    model.adapt(simulated[0], init=init)
    assert 0.05 < float(model.sigma) < 0.3
    assert np.linalg.matrix_rank(np.asarray(model.dictionary.kernel)[..., 0], tol=1e-5) == 1


def test_values_from_data_are_those_of_the_full_model(simulated):
    signal, kernel = simulated
    found = []
    for rank in (1, None):
        model = model_of(kernel_rank=rank, sigma_learning=True, gradient="decoder")
        model.set_dictionary(kernel)
        model.adapt(signal)
        model.compile(keras.optimizers.SGD(0.0))
        history = model.fit(signal, batch_size=4, verbose=0).history
        found.append([float(model.step_size), float(model.sigma), float(model.training_state.lambda_ceiling),
                      *np.asarray(model.lambda_reg), *history["loss"], *history["lambda_loss"]])
        assert (model.convergence(signal[:2]).gap >= 0).all()
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_drifted_filters_are_moved_with_their_moments_and_dead_ones_revived(simulated):
    signal, kernel = simulated
    model = model_of(filters=3)
    moved = np.zeros((SAMPLES, CHANNELS, 3))
    moved[4:, :, :2], moved[..., 2] = kernel[:-4], 1.0
    model.set_dictionary(moved)
    model.compile(keras.optimizers.Adam(1e-4))
    model.train_on_batch(signal[:4])
    maps = np.array(model.dictionary.map_weights)
    shifts = kc.callbacks.RecentreFilters(within=1.0).recentre(model)
    assert shifts[:2].max() < 0
    np.testing.assert_array_equal(model.dictionary.map_weights, maps)
    np.testing.assert_allclose(np.linalg.norm(model.dictionary.course_weights, axis=0), 1, rtol=1e-5)
    revived = kc.callbacks.ReviveFilters(signal, least=0.3).revive(model)
    assert [which for which, _ in revived] == [2]
    moments = [v for v in model.optimizer.variables if tuple(v.shape) in ((CHANNELS, 3), (SAMPLES, 3))]
    assert len(moments) == 4 and all((np.asarray(v)[..., 2] == 0).all() for v in moments)


def test_moments_of_maps_and_courses_of_equal_shape_are_told_apart(simulated):
    from keras_crsae.training.callbacks.optimizer_moments import filter_moments

    model = model_of(kernel_size=CHANNELS)
    model.adapt(simulated[0])
    model.compile(keras.optimizers.Adam(1e-3))
    assert len(filter_moments(model)) == 4
    assert all("time_courses" in v.path for v in filter_moments(model, spatial=True))
    assert len(filter_moments(model, spatial=True)) == 2


def test_counts_measured_signals_and_images_have_filters_of_rank_one_too(rng):
    counts = model_of(likelihood="poisson", sigma=1.0, exposure=2.0, gradient="decoder", filters=1, lambda_init=0.2,
                      lambda_learning=None)
    counts.compile(keras.optimizers.Adam(1e-2))
    history = counts.fit(rng.poisson(3, (4, 60, 5)), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    seen = model_of(measurement=kc.problem.Subsample(2), sigma=1.0, lambda_init=1.0, lambda_learning=None)
    seen.compile(keras.optimizers.Adam(1e-2))
    seen.fit(rng.standard_normal((2, 40, CHANNELS)), epochs=1, verbose=0)
    assert seen.dictionary.maps.shape == (CHANNELS, FILTERS)
    images = model_of(kernel_size=(4, 4), filters=2, code_prior="soft", strides=2, lambda_learning=None, sigma=1.0,
                      lambda_init=1.0)
    images.compile(keras.optimizers.Adam(1e-2))
    images.fit(rng.standard_normal((2, 16, 16, 3)), epochs=1, verbose=0)
    assert images.dictionary.maps.shape == (3, 2) and images.dictionary.time_courses.shape == (4, 4, 2)


@pytest.mark.parametrize("make, words", [
    (lambda: model_of(kernel_rank=2), "`kernel_rank` must be None .* or 1"),
    (lambda: model_of(kernel_rank=True), "`kernel_rank` must be None .* or 1"),
    (lambda: kc.Denoiser(4, 5, kernel_rank=1), "kernel_rank=1 is for CRsAE.*Denoiser"),
    (lambda: kc.models.LCSC(4, 5, rank=2, kernel_rank=1), "kernel_rank=1 is for CRsAE.*LCSC")])
def test_what_has_no_rank_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
