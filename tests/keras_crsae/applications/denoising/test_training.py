"""Denoisers learn in each way that the settings offer, and go on where they stopped."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from crsae_onnx.core.errors import FileError

import keras_crsae as kc
from keras_crsae.applications.denoising import DenoiserTraining, denoise, train_denoiser, training
from keras_crsae.applications.denoising.image_model import as_image_model
from keras_crsae.metrics import psnr
from keras_crsae.models.baselines import LCSC
from keras_crsae.models.cdlnet import CDLNet
from keras_crsae.models.denoiser import Denoiser
from keras_crsae.models.serialization import load_crsae
from keras_crsae.problem import GammaPrior

SMALL = DenoiserTraining(filters=16, kernel_size=6, strides=3, iterations=4, crop_pixels=24, batch_size=2,
                         training_shifts=3)
TINY = DenoiserTraining(filters=4, kernel_size=4, strides=2, iterations=2, crop_pixels=16, unroll=False)
NOISE = 0.1


def pictures(count=4, size=48, channels=1, seed=1):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size
    out = []
    for _ in range(count):
        angle, wave = rng.uniform(0, np.pi), rng.uniform(20, 45)
        stripes = np.sin(wave * (np.cos(angle) * rows + np.sin(angle) * columns))
        disc = ((rows - rng.uniform()) ** 2 + (columns - rng.uniform()) ** 2) < 0.1
        tint = rng.uniform(0.6, 1.0, channels)
        out.append(((0.5 + 0.2 * stripes + 0.2 * disc)[..., None] * tint).clip(0, 1).astype("float32"))
    return out


def train(images=None, sigma=NOISE, settings=SMALL, **options):
    images = pictures() if images is None else images
    return train_denoiser(images, sigma=sigma, settings=settings, verbose=0, **options)


def gain(model, sigma=NOISE, channels=1):
    """dB above the noisy image, on a picture that was not in training."""
    clean = pictures(1, channels=channels, seed=9)[0]
    noisy = clean + sigma * np.random.default_rng(3).standard_normal(clean.shape)
    return psnr(clean, denoise(noisy, model, sigma=sigma)) - psnr(clean, noisy)


class Before(keras.callbacks.Callback):
    """Measures a model before its first step."""

    def __init__(self, measure):
        super().__init__()
        self.measure = measure

    def on_train_begin(self, logs=None):
        self.value = self.measure(self.model)


@pytest.mark.parametrize("lambda_learning", ["em", "em_closed_form", "backprop", None])
def test_supervised_training_beats_its_start(lambda_learning):
    settings = replace(SMALL, lambda_learning=lambda_learning)
    before = Before(gain)
    model = train(steps=80, settings=settings, callbacks=[before])
    assert gain(model) > before.value + 0.3 and gain(model) > 5
    assert isinstance(model, Denoiser) and float(model.sigma) == 1.0
    assert model.training_record["steps"] == 80 == int(model.optimizer.iterations)


def test_one_noisy_image_alone_is_enough():
    clean = pictures(1)[0]
    noisy = clean + NOISE * np.random.default_rng(0).standard_normal(clean.shape).astype("float32")
    settings = replace(SMALL, supervised=False, tied=True, low_pass_pixels=2.0, lambda_init_over_sigma=2.5)
    model = train(noisy, add_noise=False, steps=40, settings=settings)
    assert model.lambda_learning == "em" and model.low_pass == 2.0
    assert psnr(clean, denoise(noisy, model, sigma=NOISE)) > psnr(clean, noisy) + 3


@pytest.mark.parametrize("settings", [
    DenoiserTraining.cdlnet(filters=8, kernel_size=5, iterations=4, crop_pixels=24, learning_rate=5e-3,
                            warm_up_steps=0), SMALL], ids=["CDLNet", "Denoiser"])
def test_noisy_images_alone_teach_as_clean_ones_do(settings, tmp_path):
    """Each image has one noise, which training sees again and again; the checkpoint goes on with the same loss."""
    rng = np.random.default_rng(0)
    noisy = [c + NOISE * rng.standard_normal(c.shape).astype("float32") for c in pictures()]
    settings = replace(settings, supervised=False, loss="sure")
    first = Before(gain)
    train(noisy, add_noise=False, steps=50, settings=settings, checkpoint=tmp_path / "c.keras", callbacks=[first])
    model = train(noisy, add_noise=False, steps=80, settings=settings, checkpoint=tmp_path / "c.keras")
    assert gain(model) > first.value + 0.3 and gain(model) > 5
    assert model.training_settings["loss"] == "sure" and model.training_record["steps"] == 80


def test_an_estimate_of_the_error_needs_to_know_the_noise(rng):
    noisy, settings = rng.random((40, 40)), DenoiserTraining(supervised=False, loss="sure", crop_pixels=24)
    for sigma in (None, (0.1, 0.2)):
        with pytest.raises(ValueError, match="estimate_sigma"):
            train_denoiser(noisy, sigma=sigma, add_noise=False, steps=1, settings=settings, verbose=0)
    with pytest.raises(ValueError, match="Omit `clean`"):
        train_denoiser(noisy, sigma=0.1, clean=noisy, steps=1, settings=settings, verbose=0)
    with pytest.raises(ValueError, match="low_pass=0"):
        train_denoiser(noisy, sigma=0.1, add_noise=False, steps=1, settings=settings, verbose=0,
                       model=Denoiser(4, 4, strides=2, iterations=2, low_pass=2.0))


def test_cdlnet_is_trained_saved_and_denoises_in_one_pass(tmp_path):
    settings = DenoiserTraining.cdlnet(filters=8, kernel_size=5, iterations=4, crop_pixels=24, learning_rate=5e-3)
    model = train(sigma=(0.05, 0.3), steps=60, settings=settings, checkpoint=tmp_path / "c.keras")
    assert isinstance(model, CDLNet) and model.training_settings["architecture"] == "cdlnet"
    assert gain(model, 0.06) > 2 and gain(model, 0.25) > 5
    loaded = load_crsae(tmp_path / "c.keras")
    assert gain(loaded, 0.06) == pytest.approx(gain(model, 0.06), abs=1e-4)


def test_a_network_begins_with_the_filters_it_is_given(rng):
    filters, settings = rng.standard_normal((3, 3, 1, 2)), DenoiserTraining.cdlnet(crop_pixels=24, learning_rate=1e-9)
    network = CDLNet(2, 3, iterations=2)
    network.set_dictionary(filters)
    train(steps=1, model=network, settings=settings)
    for kernel in (network.dictionary.kernel, network.encoder.analysis.kernel[..., 2:]):
        ratio = np.asarray(kernel) / filters
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1, :1], ratio.shape), rtol=1e-3)


def test_colour_images_give_a_colour_model():
    model = train(pictures(channels=3), steps=40)
    assert model.dictionary.channels == 3 and gain(model, channels=3) > 5


def test_one_model_serves_a_range_of_levels():
    model = train(sigma=(0.05, 0.3), steps=50)
    assert gain(model, 0.06) > 3 and gain(model, 0.25) > 6 and model.sigma_power == 0.17


def test_pairs_of_noisy_and_clean_images_are_learned_from():
    clean = pictures()
    rng = np.random.default_rng(0)
    noisy = [c + NOISE * rng.standard_normal(c.shape).astype("float32") for c in clean]
    assert gain(train(noisy, clean=clean, steps=40)) > 5


def test_a_stopped_training_ends_where_an_unbroken_one_does(tmp_path, monkeypatch):
    """Same crops, noise, shifts, learning rates and optimiser state, up to rounding."""
    monkeypatch.setattr(training, "EPOCH_STEPS", 10)
    whole = train(steps=13)
    file = tmp_path / "c.keras"

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    train(steps=13, checkpoint=file, callbacks=[Stop()])
    assert json.loads(file.with_suffix(".json").read_text())["record"]["steps"] == 10
    keras.utils.set_random_seed(77)
    resumed = train(steps=13, checkpoint=file)
    for one, two in zip(whole.weights, resumed.weights, strict=True):
        if one.name != "progress":  # epochs of this call of fit: a second call counts from 0
            np.testing.assert_allclose(one, two, atol=1e-5)
    assert [row["step"] for row in resumed.training_record["history"]] == [10, 13]
    again = train(steps=13, checkpoint=file)  # nothing is left to do
    np.testing.assert_array_equal(again.dictionary.kernel, resumed.dictionary.kernel)
    assert load_crsae(file).training_shifts == 3


def test_record_and_saved_model_hold_the_settings_that_were_used(tmp_path):
    model = train(steps=1, settings=replace(SMALL, lambda_prior=GammaPrior(strength=2.0)))
    model.save(tmp_path / "m.keras")
    assert load_crsae(tmp_path / "m.keras").training_settings == model.training_record["settings"]
    settings = json.loads(json.dumps(model.training_record["settings"]))
    assert settings["crop_pixels"] == 24 and settings["lambda_prior"]["strength"] == 2.0
    assert settings["gradient"] == "unrolled" == model.encoder.gradient and settings["learning_rate"] == 0.01


def test_the_seed_decides():
    one, same, other = (np.asarray(train(seed=s, steps=3, settings=TINY).decoder.kernel) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-4


def test_baselines_train_on_the_same_path():
    model = LCSC(16, 6, strides=3, rank=2, iterations=4, training_shifts=3, lambda_init=1.5, seed=0)
    trained = train(steps=40, model=model)
    assert trained is model and gain(model) > 5


def test_the_loss_is_that_of_the_mean_over_shifts(rng):
    """With every shift averaged, training's loss is the error that ``denoise`` makes."""
    model = train(steps=5, settings=replace(SMALL, training_shifts=9))
    clean = pictures(1, seed=5)[0]
    noisy = clean + NOISE * rng.standard_normal(clean.shape).astype("float32")
    mean = noisy.mean()
    denoised = denoise(noisy, model, sigma=NOISE)
    inside = (denoised > 0) & (denoised < 1)  # what clipping did not touch
    assert inside.mean() > 0.99
    loss = model.evaluate(((noisy - mean) / NOISE)[None], ((clean - mean) / NOISE)[None], verbose=0)
    loss = loss[0] if isinstance(loss, list) else loss
    assert loss * NOISE**2 == pytest.approx(np.mean(np.square(denoised - clean)), rel=2e-2)


@pytest.mark.parametrize("options, words", [
    ({"steps": None}, "needs an end"), ({"steps": 0}, "steps"), ({"minutes": -1}, "minutes"),
    ({"sigma": 25}, "25 / 255"), ({"images": []}, "no images"), ({"images": "nowhere.png"}, "nowhere.png"),
    ({"settings": replace(SMALL, crop_pixels=60)}, "smaller crops")])
def test_invalid_requests_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        train(**{"images": pictures(1), "steps": 1, **options})


def test_a_record_that_is_ahead_of_its_checkpoint_or_missing_is_dealt_with(tmp_path):
    """A kill between the two renames of a save leaves the newer record beside the older model."""
    images, path = [np.random.default_rng(0).random((40, 40, 1), "float32")], tmp_path / "c.keras"
    options = dict(checkpoint=path, settings=TINY)
    train(images, steps=2, **options)
    older = path.read_bytes()
    train(images, steps=4, **options)
    path.write_bytes(older)
    model = train(images, steps=4, **options)
    assert [row["step"] for row in model.training_record["history"]] == [2, 4]
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(FileError, match="c.json, which was written with it, cannot be read"):
        train(images, steps=6, **options)


def photon_gain(model, peak=4.0):
    """dB above the counts, on a picture that was not in training."""
    clean = pictures(1, seed=9)[0]
    clean = clean / clean.max()
    counts = np.random.default_rng(3).poisson(peak * clean)
    rates = denoise(counts, model, noise="poisson", peak=peak, bins=1)
    return psnr(clean, rates / peak) - psnr(clean, counts / peak)


@pytest.mark.parametrize("settings", [
    DenoiserTraining.poisson(filters=16, kernel_size=6, strides=3, iterations=3, crop_pixels=24, learning_rate=3e-3,
                             warm_up_steps=0, clip_norm=0.2, averaging=None),
    SMALL], ids=["CDLNet", "Denoiser"])
def test_training_on_counts_beats_its_start_and_goes_on_where_it_stopped(settings, tmp_path):
    options = dict(noise="poisson", peak=(1, 8), verbose=0, settings=settings)
    first = train_denoiser(pictures(), steps=1, **options)
    checkpoint = tmp_path / "c.keras"
    train_denoiser(pictures(), steps=40, checkpoint=checkpoint, **options)
    model = train_denoiser(pictures(), steps=80, checkpoint=checkpoint, **options)
    assert model.training_record["steps"] == 80
    assert photon_gain(model) > photon_gain(first) + 0.1 and photon_gain(model) > 5
    assert model.training_settings["noise"] == "poisson" and model.training_settings["peak"] == [1, 8]
    assert as_image_model(load_crsae(checkpoint)).peaks == (1, 8)


def test_a_model_of_the_log_link_learns_on_counts_as_they_are():
    model = kc.CRsAE(16, 6, strides=3, rank=2, iterations=4, likelihood="poisson", code_prior="soft", lambda_init=1.0,
                     lambda_learning="backprop", baseline_scope="signal", unroll=True, seed=0)
    made = train_denoiser(pictures(), steps=40, noise="poisson", peak=(1, 8), verbose=0, settings=SMALL, model=model)
    assert made is model and photon_gain(model) > 4
    counts = np.random.default_rng(0).poisson(4.0, (20, 20))
    for call in (lambda: train_denoiser(pictures(1), steps=1, verbose=0, settings=SMALL, model=model),
                 lambda: denoise(counts / 8, model, sigma=0.1)):
        with pytest.raises(ValueError, match="noise='poisson'"):
            call()
    with pytest.raises(ValueError, match="missing pixels"):
        denoise(counts, model, noise="poisson", peak=4, mask=np.eye(20))


@pytest.mark.parametrize("options, words", [
    (dict(noise="poisson", sigma=0.1), "peak"), (dict(peak=4), "noise='poisson'"), (dict(noise="shot"), "one of"),
    (dict(noise="poisson", peak=(8, 1)), "peak"), (dict(noise="poisson", add_noise=False), "clean images"),
    (dict(noise="poisson", settings=replace(SMALL, low_pass_pixels=2.0)), "blur"),
])
def test_training_on_counts_refuses_what_does_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        train_denoiser(pictures(1), steps=1, verbose=0, **options)


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match="'epochs'"):
        train_denoiser(pictures(1), steps=1, epochs=3)
