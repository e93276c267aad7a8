"""Tuning constants of ``fit_events``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np


@dataclass(frozen=True)
class EventParameters:
    """What can be tuned in ``fit_events``; saved with its result.

    Attributes:
        neurons: "separate": each neuron has events of its own, kernels are shared; "together": an event is common to
            all neurons, and a kernel has a time course for each.
        baseline: rate without events: "constant" (one a neuron) or "psth" (the trial-averaged rate of each condition,
            smoothed at its best width, times a constant that is learned).
        likelihood: "auto", "binomial" or "poisson", see ``bin_spikes``.
        signs: "positive": events raise (or lower) the log rate as their kernel does; "both": amplitudes of both signs.
        first_kernels: "peaks" (averaged windows around peaks of the smoothed raster) or "spike" (each spike is an event
            at first: kernels then learn what surrounds a spike, such as refractoriness and rhythms).
        iterations: of the encoder.
        steps: of training.
        batch_size: trials (times neurons, where separate) of a step.
        learning_rate: of Adam on the kernels, falling to zero along a cosine.
        hidden_share: share of the bins that training hides from the encoder and learns to predict.
        smoothness: weight of the squared differences of neighbouring bins of a kernel, in training beside the mean
            negative log likelihood of a bin, in refinement per event.
        first_penalty: first penalty weight, in expected counts of a bin under the kernel; training changes it.
        rounds: refinements after training: events are found, and the kernels that fit them best take the place of the
            learned ones, in turn; 0 keeps the learned kernels.
        merge_ms: code within this of a local maximum is one event; None: an eighth of it.
        least_gain: log likelihood that an event must add; None: log(positions x kernels).
        least_share: events weaker than this share of the median amplitude of their kernel are dropped, unless onsets
            are known or kernels begin as a spike.
        jitter_ms: known onsets may be wrong by this much.
        folds: of the cross-validation; 0: none, and a single choice of kernels.
        held_out_groups: in a held-out trial every bin is predicted once, from the others, one group of bins at a time.
        held_out_ms: neighbouring bins of this extent are held out together; 0: single bins.
        smoothing_ms: of the raster whose peaks give the first kernels.
    """

    neurons: str = "separate"
    baseline: str = "constant"
    likelihood: str = "auto"
    signs: str = "positive"
    first_kernels: str = "peaks"
    iterations: int = 20
    steps: int = 80
    batch_size: int = 10
    learning_rate: float = 0.02
    hidden_share: float = 0.3
    smoothness: float = 1e-3
    first_penalty: float = 0.4
    rounds: int = 10
    merge_ms: float | None = None
    least_gain: float | None = None
    least_share: float = 0.5
    jitter_ms: float = 0.0
    folds: int = 4
    held_out_groups: int = 5
    held_out_ms: float = 0.0
    smoothing_ms: float = 15.0

    def __post_init__(self) -> None:
        for name, words in (("neurons", ("separate", "together")), ("baseline", ("constant", "psth")),
                            ("likelihood", ("auto", "binomial", "poisson")), ("signs", ("positive", "both")),
                            ("first_kernels", ("peaks", "spike"))):
            if getattr(self, name) not in words:
                raise ValueError(f"EventParameters: `{name}` must be one of {words}. Received: {getattr(self, name)!r}")
        for name in ("iterations", "steps", "batch_size", "held_out_groups"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1 + (name == "held_out_groups"):
                raise ValueError(f"EventParameters: `{name}` must be a whole number of at least "
                                 f"{1 + (name == 'held_out_groups')}. Received: {getattr(self, name)!r}")
        if not isinstance(self.rounds, int) or self.rounds < 0:
            raise ValueError(f"EventParameters: `rounds` must be a whole number, 0 or more. Received: {self.rounds!r}")
        if not isinstance(self.folds, int) or self.folds < 0 or self.folds == 1:
            raise ValueError(f"EventParameters: `folds` must be 0 or at least 2. Received: {self.folds!r}")
        for name in ("learning_rate", "first_penalty", "smoothing_ms"):
            self._check(name, getattr(self, name) > 0, "above 0")
        for name in ("smoothness", "jitter_ms", "least_share", "held_out_ms", "merge_ms", "least_gain"):
            self._check(name, getattr(self, name) is None or getattr(self, name) >= 0, "0 or more")
        self._check("hidden_share", 0 < self.hidden_share < 1, "between 0 and 1")

    def _check(self, name: str, holds: bool, expected: str) -> None:
        value = getattr(self, name)
        if not holds or (value is not None and not np.isfinite(value)):
            raise ValueError(f"EventParameters: `{name}` must be {expected}. Received: {value!r}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EventParameters:
        """The parameters that ``to_dict`` gave; those that are missing have their defaults.

        Raises:
            ValueError: an unknown name or an invalid value.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"EventParameters has no {', '.join(unknown)}. Its fields are "
                             f"{', '.join(field.name for field in fields(cls))}.")
        return cls(**values)


#: The tuning constants that ``fit_events`` takes by itself.
DEFAULTS = EventParameters()
