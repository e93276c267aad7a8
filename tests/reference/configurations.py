"""Twelve small models whose results were stored before the package was restructured (version 0.1, commit 638732e).

``results`` trains one of them and returns what it gives. ``capture.py`` stored these results in
``twelve_configurations.npz``, and ``tests/test_same_results.py`` compares with them. All run in float64, so that the
numbers hardly depend on the machine's instructions, and every random number comes from a seed that is written here.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import keras_crsae as kc
from keras_crsae import GammaPrior

EPOCHS, BATCH = 2, 2
#: Prior mean and number of code positions that ``GammaPrior.shape_and_rate`` is asked for.
PRIOR_QUESTION = (2.5, 100)


def _model_classes() -> dict[str, type]:
    try:
        from keras_crsae.models import LCSC, TLAE, CRsAE, Denoiser
    except ImportError:  # old name: delete this branch, and import at the top
        from keras_crsae.baselines import LCSC, TLAE
        from keras_crsae.denoiser import Denoiser
        from keras_crsae.model import CRsAE
    return {"CRsAE": CRsAE, "Denoiser": Denoiser, "LCSC": LCSC, "TLAE": TLAE}


def _adapt(model: keras.Model, data: np.ndarray, init: str | None, mask: np.ndarray | None) -> None:
    name = "init" if "init" in inspect.signature(model.adapt).parameters else "filters"  # old name: delete, use init=
    model.adapt(data, mask=mask, **{name: init})


@dataclass(frozen=True)
class Data:
    """What a model is trained on and asked about, float32.

    Attributes:
        train: (batch, *space, channels).
        held_out: two more signals.
        target: None, or the clean signals of ``train``.
        weight: None, (batch,) or a 0/1 mask of train's shape.
        held_out_mask: None, or the samples of ``held_out`` that one call of ``encode`` observes.
    """

    train: np.ndarray
    held_out: np.ndarray
    target: np.ndarray | None = None
    weight: np.ndarray | None = None
    held_out_mask: np.ndarray | None = None

    @property
    def mask(self) -> np.ndarray | None:
        """``weight`` where it is a mask."""
        return self.weight if self.weight is not None and self.weight.ndim > 1 else None


def _adam(rate: float) -> Callable[[], keras.optimizers.Optimizer]:
    return lambda: keras.optimizers.Adam(rate)


def _sgd(rate: float, **options: Any) -> Callable[[], keras.optimizers.Optimizer]:
    return lambda: keras.optimizers.SGD(rate, **options)


@dataclass(frozen=True)
class Configuration:
    """One model, its data and its training.

    Attributes:
        data: makes the data.
        options: of the model; float64 and a seed are added.
        kind: name of the model's class.
        init: first filters of ``adapt``.
        adapts: whether ``adapt`` is called; else ``fit`` does so by itself, on its first batch.
        optimizer: makes the dictionary's optimiser.
        lambda_optimizer: makes lambda's; None: the model's own choice.
        call_sigma: None, or the noise level, one or one a held-out signal, of one call of ``encode``.
        parts: whether ``separate`` is asked for.
        gap: whether ``convergence`` is asked for.
    """

    data: Callable[[], Data]
    options: Mapping[str, Any]
    kind: str = "CRsAE"
    init: str | None = "windows"
    adapts: bool = True
    optimizer: Callable[[], keras.optimizers.Optimizer] = _adam(1e-2)
    lambda_optimizer: Callable[[], keras.optimizers.Optimizer] | None = None
    call_sigma: float | tuple[float, ...] | None = None
    parts: bool = False
    gap: bool = False

    def model(self) -> keras.Model:
        """The model, compiled."""
        model = _model_classes()[self.kind](**{"seed": 7, "dtype": "float64", **self.options})
        model.compile(self.optimizer(), self.lambda_optimizer and self.lambda_optimizer())
        return model


def _signals(seed: int, samples: int, *given: str, channels: int = 1, signed: bool = False, size: int = 11) -> Data:
    """Sums of three short waveforms at random places, and white noise of standard deviation 0.08.

    Args:
        given: names of the optional parts of ``Data`` that are made, see ``_data``.
        signed: whether amplitudes have both signs.
        size: samples of a waveform.
    """
    rng = np.random.default_rng(seed)
    window = np.hanning(size + 2)[1:-1, None, None]
    waveforms = window * rng.standard_normal((size, channels, 3))
    waveforms /= np.sqrt(np.square(waveforms).sum(axis=(0, 1)))
    clean = np.zeros((8, samples, channels))
    for signal in clean:
        for kind in (0, 1, 2, 0, 1, 2):
            start, amplitude = rng.integers(0, samples - size + 1), rng.uniform(1.0, 2.0)
            amplitude *= rng.choice([-1.0, 1.0]) if signed else 1.0
            signal[start:start + size] += amplitude * waveforms[..., kind]
    return _data(rng, clean, 0.08, given)


def _images(seed: int, height: int, width: int, *given: str, channels: int = 1) -> Data:
    """Gratings with a bright or dark rectangle, of mean zero, and white noise of standard deviation 0.1."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    clean = np.empty((6, height, width, channels))
    for image in clean:
        angle, phase, length = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(5, 9)
        grating = np.cos(2 * np.pi / length * (rows * np.cos(angle) + columns * np.sin(angle)) + phase)
        top, left = rng.integers(2, height // 2), rng.integers(2, width // 2)
        inside = (rows >= top) & (rows < top + 7) & (columns >= left) & (columns < left + 6)
        image[:] = (0.5 * grating + rng.choice([-1.0, 1.0]) * inside)[..., None] * rng.uniform(0.6, 1.0, channels)
        image -= image.mean(axis=(0, 1))
    return _data(rng, clean, 0.1, given)


def _data(rng: np.random.Generator, clean: np.ndarray, noise: float, given: tuple[str, ...]) -> Data:
    """``Data`` of noise-free signals, the last two of them held out.

    ``given`` names what else is made: "target", "weight" (one a signal), "mask" (in its place) or "held_out_mask".
    """
    noisy = (clean + noise * rng.standard_normal(clean.shape)).astype(np.float32)
    observed = (rng.uniform(size=clean.shape) < 0.85).astype(np.float32)
    made = {"weight": rng.uniform(0.5, 1.5, len(clean) - 2).astype(np.float32), "mask": observed[:-2],
            "target": clean[:-2].astype(np.float32), "held_out_mask": observed[-2:]}
    return Data(noisy[:-2], noisy[-2:], **{"weight" if key == "mask" else key: made[key] for key in given})


CONFIGURATIONS: dict[str, Configuration] = {
    # The defaults: non-negative codes, lambda by a gradient step, gradient through all iterations, folded blocks.
    "signals": Configuration(
        lambda: _signals(1, 130), dict(filters=3, kernel_size=11, iterations=20, sigma="estimate"),
        call_sigma=0.1, parts=True, gap=True),
    # Stride 4 that does not divide 142 samples; one lambda in closed form; the last 5 iterations' gradient.
    "signals_strided": Configuration(
        lambda: _signals(2, 142, channels=2, signed=True),
        dict(filters=3, kernel_size=9, strides=4, iterations=16, shrinkage="soft", sigma=0.08, lambda_shared=True,
             lambda_learning="em_closed_form", lambda_prior=GammaPrior(strength=2.0), gradient="truncated",
             gradient_steps=5, block_size=2),
        init="energy", parts=True, gap=True),
    # Clean targets, weights of signals; no blocks, no graph loop; `fit` adapts by itself, first filters are random.
    "signals_supervised": Configuration(
        lambda: _signals(3, 120, "target", "weight", signed=True),
        dict(filters=3, kernel_size=11, iterations=10, shrinkage="soft", sigma=0.08, lambda_init=[20.0, 25.0, 30.0],
             lambda_learning="backprop", unroll=True, block_size=1),
        adapts=False, lambda_optimizer=_adam(0.5), gap=True),
    # Missing samples in `adapt`, `fit`, `evaluate` and `encode`; sigma learned, and given by call.
    "signals_masked": Configuration(
        lambda: _signals(4, 130, "mask", "held_out_mask"),
        dict(filters=3, kernel_size=11, iterations=15, sigma="estimate", sigma_learning=True, sigma_rate=0.1,
             lambda_prior=GammaPrior(rate=4.0)),
        call_sigma=(0.06, 0.12), parts=True, gap=True),
    # Iterates computed again for the gradient; two channels, stride 2, a step size of one's own, lambda fixed.
    "signals_remat": Configuration(
        lambda: _signals(5, 132, channels=2, signed=True),
        dict(filters=3, kernel_size=9, strides=2, iterations=21, shrinkage="soft", sigma=0.08, lambda_learning=None,
             step_size=0.2, remat=True),
        init="dct", optimizer=_sgd(0.5, momentum=0.9), gap=True),
    # A decoder of its own that alone learns, and iterations that stop early.
    "signals_decoder": Configuration(
        lambda: _signals(6, 130, size=13),
        dict(filters=3, kernel_size=13, iterations=60, sigma="estimate", gradient="decoder", tied=False,
             tolerance=0.03, lambda_prior=GammaPrior(mean=40.0)),
        lambda_optimizer=_sgd(0.01)),
    # Inference by events, with missing samples and noise levels by call; both numbers of the prior given.
    "signals_active": Configuration(
        lambda: _signals(7, 150, "held_out_mask", channels=2),
        dict(filters=3, kernel_size=11, iterations=50, sigma=0.08, active=True,
             lambda_prior=GammaPrior(shape=200.0, rate=5.0)),
        init="energy", lambda_optimizer=_adam(0.2), call_sigma=(0.07, 0.1), gap=True),
    # Images at stride 1.
    "images": Configuration(
        lambda: _images(8, 18, 18), dict(filters=4, kernel_size=5, rank=2, iterations=12, sigma="estimate"),
        init="dct", parts=True),
    # Colours, strides that divide neither axis, missing samples, a decoder of its own, folded blocks by hand.
    "images_strided": Configuration(
        lambda: _images(9, 19, 20, "mask", "held_out_mask", channels=3),
        dict(filters=4, kernel_size=(6, 5), strides=(3, 2), rank=2, iterations=10, shrinkage="soft", sigma=0.15,
             tied=False, lambda_learning="em_closed_form", lambda_prior=GammaPrior(strength=20.0), block_size=2)),
    # Three free kernels and free thresholds, on random shifts of the grid.
    "lcsc": Configuration(
        lambda: _images(10, 19, 18, "target"),
        dict(filters=5, kernel_size=6, strides=3, rank=2, iterations=6, sigma=0.1, training_shifts=2), kind="LCSC",
        optimizer=_adam(1e-3), lambda_optimizer=_adam(0.02)),
    # One step, thresholds fixed.
    "tlae": Configuration(
        lambda: _images(11, 17, 18), dict(filters=5, kernel_size=6, strides=2, rank=2, sigma=0.1, training_shifts=3),
        kind="TLAE", optimizer=_adam(1e-3)),
    # Decoder filters with norms of their own, random shifts, clean targets, missing samples, noise levels by call.
    "denoiser": Configuration(
        lambda: _images(12, 18, 20, "target", "mask", "held_out_mask"),
        dict(filters=5, kernel_size=6, strides=4, iterations=10, sigma=0.1, lambda_init=15.0, tied=False,
             training_shifts=4),
        kind="Denoiser", init="energy", optimizer=_adam(2e-3), lambda_optimizer=_adam(0.1), call_sigma=(0.08, 0.15)),
}


def results(name: str) -> dict[str, np.ndarray]:
    """What one configuration gives, before and after training.

    Names that begin with "code" are codes, those with "history" have one number an epoch.
    """
    configuration = CONFIGURATIONS[name]
    keras.utils.set_random_seed(0)
    data, model = configuration.data(), configuration.model()
    train, held_out = data.train, data.held_out
    # Tells a random generator that changed from a model that changed.
    found = {"data": np.array([np.abs(a, dtype=float).mean() for a in (train, held_out)])}
    if configuration.adapts:
        _adapt(model, train, configuration.init, data.mask)
        found |= {f"{key}_first": value for key, value in _state(model).items()}
        found["code_first"] = model.encode(held_out)
    history = model.fit(train, data.target, batch_size=BATCH, epochs=EPOCHS, sample_weight=data.weight, verbose=0)
    found |= {f"history_{key}": np.array(values) for key, values in history.history.items()}
    found |= _state(model)
    found["code"] = code = model.encode(held_out)
    if data.held_out_mask is not None or configuration.call_sigma is not None:
        found["code_called"] = model.encode(held_out, mask=data.held_out_mask, sigma=configuration.call_sigma)
    found["reconstruction"] = model.reconstruct(held_out, mask=data.held_out_mask)
    found["forward"] = keras.ops.convert_to_numpy(model(held_out)).astype(np.float32)
    if configuration.parts:
        found["parts"] = model.separate(held_out, mask=data.held_out_mask, sigma=configuration.call_sigma)
    if configuration.gap:
        # One array: the gap is a difference, as exact as the objective is.
        convergence = _in_float32(model).convergence(held_out, code)
        found["objective_and_gap"] = np.stack([convergence.objective, convergence.gap])
    evaluation = model.evaluate(train, data.target, sample_weight=data.weight, batch_size=BATCH, return_dict=True,
                                verbose=0)
    found |= {f"evaluation_{key}": np.array(value) for key, value in evaluation.items()}
    kernel = keras.ops.convert_to_numpy(model.dictionary.kernel)
    found["lambda_max"] = np.array(kc.lambda_max(train, kernel, configuration.options.get("strides", 1)))
    found["shape_and_rate"] = np.array(model.lambda_prior.shape_and_rate(*PRIOR_QUESTION))
    return found


def _state(model: keras.Model) -> dict[str, np.ndarray]:
    """What training changes, in float64; kernels that are the dictionary's own are left out."""
    state = {"sigma": model.sigma, "lambda_reg": model.lambda_reg, "step_size": model.step_size,
             "kernel": model.dictionary.kernel}
    if model.decoder is not model.dictionary:
        state["decoder_kernel"] = model.decoder.kernel
    if hasattr(model, "analysis"):
        state["analysis_kernel"] = model.analysis.kernel
    return {key: keras.ops.convert_to_numpy(value).astype(np.float64) for key, value in state.items()}


def _in_float32(model: keras.Model) -> keras.Model:
    """The same model in float32: in version 0.1 ``convergence`` did not take float64."""
    twin = type(model).from_config({**model.get_config(), "dtype": "float32"})
    twin.set_dictionary(keras.ops.convert_to_numpy(model.dictionary.kernel))
    for name in ("lambda_reg", "sigma"):
        getattr(twin, name).assign(keras.ops.convert_to_numpy(getattr(model, name)))
    return twin
