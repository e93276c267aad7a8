"""How a denoiser is trained: every choice that ``train_denoiser`` makes, with the reason for its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from crsae_onnx.core.validation import as_positive, as_positive_int

if TYPE_CHECKING:
    from keras_crsae.problem import GammaPrior

#: Defaults where there are clean targets. One shift a step in place of four costs .16 dB. A first lambda of 1.5 / sigma
#: lies far below Donoho's, which leaves too little of an image's texture.
_SUPERVISED = dict(iterations=10, tied=False, training_shifts=4, gradient="unrolled", lambda_learning="backprop",
                   lambda_init_over_sigma=1.5, learning_rate=1e-2)
#: Defaults without clean targets. The code is held constant in the filters' step: through the encoder, filters learn to
#: let the noise pass, since that lowers the reconstruction loss. On one photograph 17 % of the code became non-zero,
#: where 0.7 % was before and 2 % is after learning with the code constant.
_UNSUPERVISED = dict(iterations=30, tied=True, training_shifts=1, gradient="decoder", lambda_learning="em",
                     lambda_init_over_sigma=1.2, learning_rate=2e-3)
#: In place of ``_SUPERVISED`` for CDLNet, which has its own iterations, filters and thresholds.
_CDLNET = dict(iterations=20, tied=True, training_shifts=1, gradient="unrolled", lambda_learning=None,
               lambda_init_over_sigma=1.0, learning_rate=1e-3)
ARCHITECTURES, LOSSES = ("crsae", "cdlnet"), ("error", "sure")
#: Growth of the threshold with sigma, of a model for a range. One trained without it over 10 to 60 gray levels denoised
#: 40 images of its training set best when given 1.0, 1.0, 1.07, 1.22 and 1.27 times the noise at 10, 15, 25, 50 and 60.
SIGMA_POWER = 0.17


@dataclass(frozen=True)
class DenoiserTraining:
    """Settings of ``train_denoiser``. None: the default that ``resolve`` takes for supervised or unsupervised learning.

    Values are in units of the noise inside the model (sigma is 1), so one model serves a range of levels.

    Args:
        supervised: compare the reconstruction with the clean images; False: with the noisy ones (EM alone, Tolooshams,
            Dey and Ba, arXiv 1904.08827), unless ``loss`` is "sure".
        filters: number of filters. 64 of 8 x 8 at stride 4 reach in 2.5 minutes what 128 of 12 x 12 at stride 6 do.
        kernel_size: side of a filter in pixels, or (height, width).
        strides: of the code in pixels; half of ``kernel_size``.
        iterations: of the encoder; None: 10, or 30 unsupervised.
        tied: whether encoder and decoder share filters; None: False, or True unsupervised.
        gradient: see ``CRsAE``; None: "unrolled", or "decoder" unsupervised.
        training_shifts: shifts of the stride's grid averaged in a step; None: 4, or 1 unsupervised.
        lambda_learning: see ``CRsAE``; "auto": "backprop", or "em" unsupervised. None: lambda is kept.
        lambda_init_over_sigma: first lambda, in units of 1 / sigma; None: 1.5, or 1.2 unsupervised.
        lambda_shared: see ``CRsAE``.
        lambda_prior: None or a ``GammaPrior``, see ``CRsAE``.
        low_pass_pixels: standard deviation of a Gaussian blur to take from the crops; 0: their mean alone.
        sigma_power: see ``Denoiser``; None: 0.17 for a range of levels, 0 for one.
        sigma_weight: of a range of levels: the loss of a crop is weighed by sigma ** sigma_weight. Its errors are in
            units of the noise, where those of strong noise are the smaller ones.
        crop_pixels: side of a crop. 60 holds five strides of the largest kernels here on each side.
        batch_size: crops of a step.
        learning_rate: of Adam on the filters, falling to zero along a cosine; None: 0.01, or 0.002 unsupervised.
        lambda_learning_rate: of Adam on lambda, falling alike, in lambda's unit; None: 0.01 of the first lambda.
        warm_up_steps: steps over which the learning rates rise from zero.
        flat_share: part of the training before the learning rates begin to fall.
        clip_norm: largest norm of all gradients together, longer ones are scaled down; None: none is.
        averaging: share of the average of the filters over the steps that one step keeps, such as 0.999; the average is
            the result. None: the last step is.
        backtrack_db: where PSNR in training falls by so much below that of the last epochs, the weights go back to
            these and the learning rates fall by a fifth; None: never.
        unroll: whether the iterations are unrolled in the graph; faster for few of them.
        architecture: "crsae": a ``Denoiser``; "cdlnet": a ``CDLNet`` (see ``DenoiserTraining.cdlnet``).
        model_options: other arguments of the model, by name.
        loss: "error": the squared error against the clean images, or the noisy ones; "sure": with supervised=False, an
            unbiased estimate of the error against the clean images that needs none of them (``losses.sure``). The noise
            must be white, Gaussian and of a known ``sigma``. Defaults are then those of supervised learning.

    Raises:
        ValueError: settings that contradict each other.

    Example:
        >>> from keras_crsae.applications.denoising import DenoiserTraining
        >>> DenoiserTraining(supervised=False).resolve(sigma=25 / 255).iterations
        30
    """

    supervised: bool = True
    filters: int = 64
    kernel_size: int | tuple[int, int] = 8
    strides: int | tuple[int, int] = 4
    iterations: int | None = None
    tied: bool | None = None
    gradient: str | None = None
    training_shifts: int | None = None
    lambda_learning: str | None = "auto"
    lambda_init_over_sigma: float | None = None
    lambda_shared: bool = False
    lambda_prior: GammaPrior | None = None
    low_pass_pixels: float = 0.0
    sigma_power: float | None = None
    sigma_weight: float = 0.0
    crop_pixels: int = 60
    batch_size: int = 4
    learning_rate: float | None = None
    lambda_learning_rate: float | None = None
    warm_up_steps: int = 0
    flat_share: float = 0.0
    clip_norm: float | None = None
    averaging: float | None = None
    backtrack_db: float | None = None
    unroll: bool = True
    architecture: str = "crsae"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    loss: str = "error"

    def __post_init__(self) -> None:
        as_positive_int(self.crop_pixels, "crop_pixels")
        as_positive_int(self.batch_size, "batch_size")
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"`architecture` must be one of {ARCHITECTURES}. Received: {self.architecture!r}")
        for name, value, upper in (("flat_share", self.flat_share, 1.0), ("averaging", self.averaging or 0.0, 1.0)):
            if not 0.0 <= value < upper:
                raise ValueError(f"`{name}` must lie in [0, 1). Received: {value!r}")
        for name, value in (("clip_norm", self.clip_norm), ("backtrack_db", self.backtrack_db)):
            if value is not None:
                as_positive(value, name)
        if self.loss not in LOSSES:
            raise ValueError(f"`loss` must be one of {LOSSES}. Received: {self.loss!r}")
        if self.loss == "sure":
            self._check_sure()
        if self.supervised or self.loss == "sure":
            return
        if self.architecture == "cdlnet":
            raise ValueError("CDLNet learns by the reconstruction alone: against the noisy images it learns to let the "
                             "noise pass. Use loss='sure', give clean images (supervised=True), or use "
                             "architecture='crsae'.")
        if self.lambda_learning in ("backprop", "bias", "em_through_code"):
            raise ValueError(f"lambda_learning={self.lambda_learning!r} against the noisy images drives lambda to "
                             "zero. Use 'em', 'em_closed_form' or None with supervised=False.")
        tied, gradient = (_UNSUPERVISED[name] if value is None else value for name, value in
                          (("tied", self.tied), ("gradient", self.gradient)))
        if not tied and gradient == "decoder":
            raise ValueError("tied=False with gradient='decoder' leaves the encoder's filters as they were first. Use "
                             "tied=True, or another gradient.")

    def _check_sure(self) -> None:
        if self.supervised:
            raise ValueError("loss='sure' is for noisy images alone: with clean ones the error itself is known. Use "
                             "supervised=False, or loss='error'.")
        if self.low_pass_pixels or self.sigma_power:
            raise ValueError("loss='sure' knows the noise of images without their mean, not without their blur or in "
                             "another unit: use low_pass_pixels=0 and sigma_power=None. Received: "
                             f"low_pass_pixels={self.low_pass_pixels!r}, sigma_power={self.sigma_power!r}")

    @classmethod
    def cdlnet(cls, **changes: Any) -> DenoiserTraining:
        """Settings of the small CDLNet: 32 filters of 7 x 7, stride 1, 20 iterations; 64,000 parameters for gray.

        Args:
            **changes: fields with other values.

        Example:
            >>> from keras_crsae.applications.denoising import DenoiserTraining
            >>> DenoiserTraining.cdlnet(filters=16).kernel_size
            7
        """
        defaults = dict(architecture="cdlnet", filters=32, kernel_size=7, strides=1, iterations=20, crop_pixels=64,
                        batch_size=2, sigma_weight=1.0, warm_up_steps=500, flat_share=0.3, clip_norm=0.05,
                        averaging=0.999, backtrack_db=2.0)
        return cls(**{**defaults, **changes})

    @classmethod
    def poisson(cls, **changes: Any) -> DenoiserTraining:
        """Settings for counts: a CDLNet of 64 filters of 10 x 10, stride 2, 10 iterations, 129,280 parameters.

        Few photons show little but slow shapes: larger filters than for white noise, on a coarser grid.

        Args:
            **changes: fields with other values.

        Example:
            >>> from keras_crsae.applications.denoising import DenoiserTraining
            >>> DenoiserTraining.poisson().strides
            2
        """
        defaults = dict(filters=64, kernel_size=10, strides=2, iterations=10, learning_rate=5e-4, warm_up_steps=100,
                        clip_norm=0.01, sigma_weight=0.0)
        return cls.cdlnet(**{**defaults, **changes})

    def resolve(self, sigma: float | tuple[float, float]) -> DenoiserTraining:
        """The same settings, with a value in place of each None and "auto".

        Args:
            sigma: noise standard deviation in [0, 1], or (low, high).
        """
        network = self.architecture == "cdlnet"
        as_supervised = self.supervised or self.loss == "sure"
        defaults = dict(_CDLNET if network else _SUPERVISED if as_supervised else _UNSUPERVISED)
        one_level = network or self.loss == "sure" or not isinstance(sigma, tuple | list) or sigma[0] == sigma[1]
        defaults["sigma_power"] = 0.0 if one_level else SIGMA_POWER
        return replace(self, **{name: value for name, value in defaults.items() if self._is_open(name)})

    def _is_open(self, name: str) -> bool:
        value = getattr(self, name)
        return value == "auto" if name == "lambda_learning" else value is None

    def to_dict(self) -> dict[str, Any]:
        """As a dict that JSON can hold."""
        prior = None if self.lambda_prior is None else self.lambda_prior.get_config()
        return {**asdict(replace(self, lambda_prior=None)), "lambda_prior": prior}
