"""What ``certify`` returns: predictions, radii, gaps, and the share of signals that is certified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

#: Radii of tables, in the unit of the signals' norm.
RADII = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2)


@dataclass(frozen=True)
class CertificationReport:
    """Predictions of a classifier on converged codes, and the radii within which they cannot change.

    A radius is that of one signal: every other signal nearer to it than this, by the Euclidean norm and in the unit of
    the given signals, has the same class.
    """

    predictions: np.ndarray  #: class of each signal, int64 (samples,)
    labels: np.ndarray  #: the right classes, or the predictions where none were given, int64 (samples,)
    radius: np.ndarray  #: the sharpest certified radius; 0 where the prediction is wrong, (samples,)
    projection_radius: np.ndarray  #: the one from the projection alone, at most ``radius``, (samples,)
    paper_radius: np.ndarray  #: the bound of arXiv 2010.12088, at most ``projection_radius``, (samples,)
    gap: np.ndarray  #: duality gap of the codes that all this rests on, (samples,)
    margin: np.ndarray  #: logit of the label less the largest other one, (samples,)
    nonzeros: np.ndarray  #: values of each code that are not zero, (samples,)
    labelled: bool  #: whether labels were given

    def accuracy(self) -> float:
        """Share of signals whose prediction is their label."""
        return float(np.mean(self.predictions == self.labels))

    def certified_accuracy(self, radii: Any, bound: str = "radius") -> np.ndarray:
        """Share of signals that are right, and stay so within each of ``radii``.

        Args:
            radii: numbers.
            bound: "radius", "projection_radius" or "paper_radius".

        Returns:
            float64 of radii's shape; at 0 the accuracy.

        Raises:
            ValueError: another bound, or radii that are negative or not finite.
        """
        if bound not in ("radius", "projection_radius", "paper_radius"):
            raise ValueError("`bound` must be 'radius', 'projection_radius' or 'paper_radius'. "
                             f"Received: bound={bound!r}")
        radii = np.asarray(radii, np.float64)
        if not np.isfinite(radii).all() or (radii < 0).any():
            raise ValueError(f"`radii` must be non-negative numbers. Received: {radii}")
        certified, right = getattr(self, bound), self.predictions == self.labels
        return np.mean(right & ((certified > radii[..., None]) | (radii[..., None] == 0)), axis=-1)

    def table(self, radii: Any = RADII) -> dict[str, list[str]]:
        """{column: [text]}: certified accuracy at each of ``radii`` by each bound, and the median radius."""
        columns = {"bound": ["radius", "projection alone", "paper's"]}
        names = ("radius", "projection_radius", "paper_radius")
        for r in np.atleast_1d(np.asarray(radii, float)):
            columns["clean" if r == 0 else f"at {r:g}"] = [f"{float(self.certified_accuracy(r, n)):.3f}" for n in names]
        columns["median"] = [f"{np.median(getattr(self, n)):.4f}" for n in names]
        return columns
