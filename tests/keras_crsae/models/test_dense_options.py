import keras
import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.validate import validate

import keras_crsae as kc
from keras_crsae.problem import GroupSparse, SignedByFilter

#: Of data this small, and so strong, it is no news.
pytestmark = pytest.mark.filterwarnings("ignore:lambda was held")
DENSE = dict(dense_filters=1, dense_penalty=1.0)


@pytest.fixture(scope="module")
def drift():
    """Spikes of three filters and a slow sine, (6, 400, 1), and the sine."""
    rng = np.random.default_rng(0)
    made = kc.data.simulate_spikes(kc.data.spike_templates(21, 3), windows=6, samples=400, events_per_window=4, seed=1)
    slow = 15 * np.sin(2 * np.pi * np.arange(400)[:, None] / 300 + rng.uniform(0, 6.28, (6, 1, 1)))
    return (made.signal + slow).astype("float32"), slow


@pytest.fixture(scope="module")
def model(drift):
    made = kc.CRsAE(3, 21, iterations=50, sigma="estimate", gradient="decoder", seed=0, **DENSE)
    made.adapt(drift[0], init="energy")
    return made


def test_dense_filters_stand_beside_the_sparse_ones_and_begin_slow(model):
    assert (model.filters, model.sparse_filters, model.dictionary.kernel.shape) == (4, 3, (21, 1, 4))
    np.testing.assert_allclose(model.dictionary.kernel[..., 3], 21**-0.5, rtol=1e-5)
    assert model.get_config()["filters"] == 3
    assert np.asarray(model.lambda_reg)[3] == 0


def test_none_of_them_is_the_plain_model():
    plain, same = (kc.CRsAE(2, 9, iterations=3, seed=0, **o) for o in ({}, dict(dense_filters=0, dense_penalty=None)))
    signal = 3 * np.random.default_rng(0).standard_normal((2, 60, 1)).astype("float32")
    for made in (plain, same):
        made.compile(keras.optimizers.Adam(1e-2))
        made.fit(signal, epochs=1, batch_size=2, verbose=0)
    np.testing.assert_array_equal(plain.encode(signal), same.encode(signal))
    np.testing.assert_array_equal(plain.lambda_reg, same.lambda_reg)


def test_noise_lambda_and_first_filters_are_taken_from_what_dense_filters_leave(model, drift):
    signal, _ = drift
    blind = kc.CRsAE(3, 21, sigma="estimate", seed=0)
    blind.adapt(signal, init="energy")
    assert float(model.sigma) < 2 and float(blind.sigma) > 5  # the noise is 1
    steps = np.abs(np.diff(np.asarray(model.dictionary.kernel)[..., :3], axis=0)).max(axis=(0, 1))
    assert (steps > 2 * np.abs(np.diff(np.asarray(blind.dictionary.kernel), axis=0)).max(axis=(0, 1)).max()).all()
    lowest = kc.CRsAE(3, 21, **DENSE)
    lowest.adapt(signal, init="dct")
    assert abs(np.asarray(lowest.dictionary.kernel)[:, 0].T @ np.asarray(lowest.dictionary.kernel)[:, 0]
               - np.eye(4)).max() < 1e-5  # four atoms, none twice


@pytest.mark.parametrize("options", [{}, dict(window=150), dict(batch_size=2)], ids=str)
def test_parts_of_a_code_are_the_code(model, drift, options):
    signal, _ = drift
    code = model.encode(signal, **options)
    for part, where in (("sparse", slice(0, 3)), ("dense", slice(3, 4)), (None, slice(None))):
        np.testing.assert_array_equal(model.encode(signal, part=part, **options), code[..., where])
    listed = model.encode(signal, part="sparse", sparse=True)
    np.testing.assert_allclose(listed.to_dense(), model.encode(signal, part="sparse", window=2**18), atol=1e-5)


def test_what_is_separated_adds_up_and_the_dense_part_is_the_slow_one(model, drift):
    signal, slow = drift
    parts = model.separate(signal, by="part")
    assert list(parts) == ["sparse", "dense"]
    np.testing.assert_allclose(parts["sparse"] + parts["dense"], model.reconstruct(signal), atol=1e-4)
    np.testing.assert_allclose(model.separate(signal)[..., 3], parts["dense"], atol=1e-5)
    assert np.corrcoef(parts["dense"].ravel(), slow.ravel())[0, 1] > 0.9
    plain = kc.CRsAE(3, 21).separate(signal, by="part")
    assert not plain["dense"].any() and plain["dense"].shape == signal.shape


def test_the_duality_gap_closes_with_and_without_a_penalty_and_with_a_mask(drift, rng):
    signal = drift[0][:2]
    mask = (rng.random(signal.shape) > 0.1).astype("float32")
    for options in (DENSE, dict(dense_filters=1, strides=3)):
        made = kc.CRsAE(3, 21, iterations=1000, **options)
        made.adapt(signal, init="energy")
        for given in ({}, dict(mask=mask)):
            early = made.convergence(signal, made.encode(signal, **given) * np.float32(0.99), **given)
            found = made.convergence(signal, **given)
            assert (found.gap >= 0).all() and (found.remaining < 1e-4).all() and (found.gap < early.gap).all()


@pytest.mark.parametrize("gradient, tied", [("truncated", False), ("decoder", True)])
def test_it_is_saved_with_its_training_and_goes_on_exactly(tmp_path, drift, gradient, tied, eagerly):
    signal = drift[0][:4, :200]
    whole = kc.CRsAE(3, 21, iterations=4, sigma="estimate", sigma_learning=True, gradient=gradient, tied=tied,
                     gradient_steps=2, lambda_learning="em_closed_form", seed=0, **DENSE)
    whole.adapt(signal, init="energy")
    whole.compile(keras.optimizers.Adam(1e-2))
    whole.fit(signal, epochs=1, batch_size=2, verbose=0)
    whole.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    for made in (whole, again):
        made.fit(signal, epochs=2, initial_epoch=1, batch_size=2, verbose=0)
    assert (again.filters, again.dense_filters, again.encoder.cell.dense_penalty) == (4, 1, 1.0)
    for one, other in zip(whole.weights, again.weights, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one, other, err_msg=one.name)
    assert np.asarray(again.lambda_reg)[3] == 0


@pytest.mark.parametrize("options", [DENSE, dict(dense_filters=1, strides=3), dict(DENSE, shrinkage="soft"),
                                     dict(DENSE, code_prior=SignedByFilter([1, -1, 0]), lambda_shared=True,
                                          tied=False)], ids=str)
def test_the_exported_file_computes_the_same(tmp_path, options, drift):
    made = kc.CRsAE(3, 21, iterations=20, **options)
    made.adapt(drift[0], init="energy")
    convert(made, tmp_path / "m.onnx", inputs=("signal", "mask", "sigma"))
    assert validate(made, tmp_path / "m.onnx").difference < 1e-4
    encoder = SparseEncoder(tmp_path / "m.onnx")
    assert encoder.info["penalty_weight"][3] == 0 and encoder.info["config"]["dense_filters"] == 1
    np.testing.assert_allclose(encoder.encode(drift[0]), made.encode(drift[0]), atol=5e-3)


def test_images_have_dense_filters_and_denoisers_too(rng, tmp_path):
    images = rng.random((2, 32, 32, 1), dtype="float32") + np.linspace(0, 20, 32, dtype="float32")[:, None]
    made = kc.Denoiser(8, 6, strides=3, iterations=8, dense_filters=2, training_shifts=2, sigma=1.0, lambda_init=1.0,
                       lambda_learning=None)
    made.adapt(images, init="windows")
    made.compile(keras.optimizers.Adam(1e-3))
    made.fit(images, epochs=1, verbose=0)
    convert(made, tmp_path / "m.onnx")
    assert validate(made, tmp_path / "m.onnx").difference < 1e-4
    assert np.abs(made.encode(images, part="dense")).max() > 10


def test_callbacks_leave_dense_filters_alone(model, drift):
    kernel = np.asarray(model.dictionary.kernel).copy()
    kernel[..., 0] = np.roll(kernel[..., 3], 5) * np.linspace(0, 1, 21)[:, None]
    kernel[..., 1] = kernel[..., 3]
    made = kc.CRsAE.from_config(model.get_config())
    made.set_dictionary(kernel)
    assert (1, "copy") in kc.callbacks.ReviveFilters(drift[0], copies=0.99).revive(made)
    assert not kc.callbacks.RecentreFilters(within=0.0).recentre(made)[3].any()
    np.testing.assert_allclose(made.dictionary.kernel[..., 3], kernel[..., 3], rtol=1e-5)


@pytest.mark.parametrize("options, message", [
    (dict(dense_filters=-1), "dense_filters"), (dict(dense_filters=1.5), "dense_filters"),
    (dict(dense_penalty=1.0), "there are none"), (dict(DENSE, active=True), "active=True"),
    (dict(DENSE, top_k=3), "top_k"), (dict(DENSE, solver="backtracking"), "solver=Backtracking"),
    (dict(DENSE, gradient="decoder", refit_distance=3), "refit_distance"),
    (dict(DENSE, likelihood="poisson"), "Gaussian likelihood"), (dict(dense_filters=1, dense_penalty=0.0), "penalty"),
    (dict(DENSE, rank=2, kernel_size=(1, 21), code_prior=GroupSparse()), "groups")], ids=str)
def test_what_does_not_go_together_is_refused_at_the_door(options, message):
    with pytest.raises(ValueError, match=message):
        kc.CRsAE(**{"filters": 3, "kernel_size": 21, **options})


def test_too_many_dense_filters_without_a_penalty_are_refused_before_data_is_used(drift):
    with pytest.raises(ValueError, match="explain any signal of 1 channel.*dense_penalty"):
        kc.CRsAE(3, 21, dense_filters=1).adapt(drift[0])
    kc.CRsAE(3, 21, dense_filters=1).build((None, None, 2))


def test_baselines_and_wrong_parts_are_refused(model, drift):
    with pytest.raises(ValueError, match="LCSC has no dense filters"):
        kc.models.LCSC(3, 5, **DENSE)
    with pytest.raises(ValueError, match="one of .'sparse', 'dense'"):
        model.encode(drift[0], part="slow")
    with pytest.raises(ValueError, match="no dense filters"):
        kc.CRsAE(3, 21).encode(drift[0], part="dense")
    with pytest.raises(ValueError, match="part='sparse'"):
        model.encode(drift[0], sparse=True)
    with pytest.raises(ValueError, match="'filter' or 'part'"):
        model.separate(drift[0], by="filters")
