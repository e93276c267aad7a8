"""Parts of ``core.spec.EncoderSpec`` that a model may have: a denoiser's preparation, a search for steps, layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Noise level (of images in [0, 1]) at which a denoiser's ``sigma_power`` changes nothing.
REFERENCE_SIGMA = 0.1
#: Of so many iterations that search for step sizes, the last one bounds the curvature anew (``StepSearch``).
BOUND_EVERY = 10


@dataclass(frozen=True)
class DenoiserSpec:
    """How images are prepared for an encoder that removes noise.

    Args:
        low_pass: standard deviation, in pixels, of the Gaussian blur that is subtracted from an image and added to its
            reconstruction; 0: the image's mean alone.
        sigma_power: the penalty weight grows as sigma ** (1 + sigma_power) with the noise level sigma of images in
            [0, 1]; see ``effective_sigma``.
        in_image_unit: whether thresholds are no multiples of the noise: images stay in [0, 1], and the level is
            an input of the encoder.

    Example:
        >>> from crsae_onnx.core.spec_parts import DenoiserSpec
        >>> DenoiserSpec(low_pass=0.0).preprocessing()[0]
        'subtract its mean from the image; add it to the reconstruction'
    """

    low_pass: float = 2.0
    sigma_power: float = 0.0
    in_image_unit: bool = False

    def preprocessing(self) -> list[str]:
        """What an image goes through before it reaches the encoder, in order."""
        slow = f"a Gaussian blur of {self.low_pass:g} pixels (edges mirrored)" if self.low_pass else "its mean"
        power = f", the level replaced by level * (level / {REFERENCE_SIGMA:g}) ** {self.sigma_power:g}" \
            if self.sigma_power else ""
        level = "noise of another level than sigma: give the level as the input `sigma`; the image stays in [0, 1]" \
            if self.in_image_unit else \
            f"noise of another level than sigma: multiply by sigma / level, and the result by level / sigma{power}"
        return [f"subtract {slow} from the image; add it to the reconstruction", level,
                "average the reconstructions over all shifts of the image below the stride, edges reflected"]


@dataclass(frozen=True)
class StepSearch:
    """How each signal finds its step size 1 / L, where the likelihood's curvature has no bound.

    A step is accepted where the data term lies below the parabola of curvature L, up to the slack; then L is lowered.
    A refused one is tried again with a larger L. In every tenth iteration the curvature along the code's values that
    are not 0 is bounded by the largest row sum of |D| |D|^T A''(eta): under longer steps rounding would grow
    (``keras_crsae.solvers.Backtracking``).

    Args:
        decrease: factor of L after an accepted step.
        increase: factor of L after a refused one.
        longest_momentum: bound of FISTA's t.
        relative_slack: what a step may lie above the parabola.
        longest_step: bound of the step size times the curvature's bound.
        by_data: whether the first step size, ``EncoderSpec.step_size``, is divided by the curvature that the data let
            expect: the largest mean of the zero code, or half of the largest y.
    """

    decrease: float = 0.97
    increase: float = 2.0
    longest_momentum: float = 50.0
    relative_slack: float = 1e-4
    longest_step: float = 1.0
    by_data: bool = True


@dataclass(frozen=True)
class LayerSpec:
    """Parameters of one iteration that has parameters of its own, ``z' = prox(w + step_size A (y - D w), threshold)``.

    The threshold is ``max(offset + slope * sigma, 0)`` at the noise level sigma.

    Args:
        kernel: filters of D, float32 (*kernel_size, channels, filters).
        adjoint_kernel: filters of A, same shape.
        slope: (filters,).
        offset: (filters,), in the unit of the code.
    """

    kernel: NDArray[np.float32]
    adjoint_kernel: NDArray[np.float32]
    slope: NDArray[np.float64]
    offset: NDArray[np.float64]


@dataclass(frozen=True)
class HeadSpec:
    """A linear head on the codes of signals of one size, ``logits = code weights + bias``.

    Args:
        weights: float32 (positions * filters, classes).
        bias: float32 (classes,).
        space: samples of a signal on each axis.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    space: tuple[int, ...]

    @property
    def classes(self) -> int:
        """Number of logits."""
        return len(self.bias)


def effective_sigma(sigma: Any, power: float) -> Any:
    """Noise level that a denoiser is given in place of sigma: ``sigma * (sigma / 0.1) ** power``."""
    return sigma * (sigma / REFERENCE_SIGMA) ** power
