"""An attack that certificates must withstand: projected gradient descent on converged codes (NumPy, float64)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.applications.certification.converged_codes import converged_code
from keras_crsae.applications.certification.linear_codes import CodeClassifier
from keras_crsae.applications.certification.pipeline import prepared, start_codes
from keras_crsae.models.classifier import SparseCodingClassifier
from keras_crsae.models.labels import as_labels

#: A step's length, as a multiple of radius / steps.
_STEP = 2.5


@dataclass(frozen=True)
class AttackResult:
    """What an attack found."""

    signals: np.ndarray  #: the last signal tried of each, (samples, *space, channels) float64
    predictions: np.ndarray  #: its class on converged codes, int64 (samples,)
    success: np.ndarray  #: whether it is another than the label, bool (samples,)
    distance: np.ndarray  #: its Euclidean distance from the given signal, (samples,)


def attack(model: SparseCodingClassifier, x: Any, y: Any, radius: Any, *, steps: int = 30, restarts: int = 1,
           seed: int = 0) -> AttackResult:
    """Look for signals of another class within a radius of each signal, by projected gradient descent (PGD).

    Each step goes against the gradient of the smallest margin f_y - f_k, at the converged code and by its implicit
    gradient D_S (D_S^T D_S)^{-1} (W_y - W_k)_S, and is brought back into the ball. The first run starts at the signal,
    later ones at random places of the ball. A signal's attack ends once it succeeds.

    Args:
        model: built ``SparseCodingClassifier``.
        x: (samples, *space, channels).
        y: labels (samples,).
        radius: of the ball, one number or one a signal, not negative.
        steps: of each run.
        restarts: runs.
        seed: of the random starts.

    Returns:
        ``AttackResult``.

    Raises:
        ValueError: signals, labels or radii that do not fit.

    Example:
        >>> import numpy as np
        >>> import keras_crsae as kc
        >>> from keras_crsae.applications import certification
        >>> model = kc.SparseCodingClassifier(kc.CRsAE(6, 8, lambda_init=0.1, seed=0), classes=2)
        >>> x = np.random.default_rng(0).standard_normal((5, 8, 1))
        >>> report = certification.certify(model, x)
        >>> bool(certification.attack(model, x, report.predictions, 0.999 * report.radius).success.any())
        False
        >>> bool(certification.attack(model, x, report.predictions, 100.0).success.any())
        True
    """
    signals, problem = prepared(model, x)
    labels = as_labels(y, len(signals), model.classes)
    limits = _radii(radius, len(signals))
    steps, restarts = as_positive_int(steps, "steps"), as_positive_int(restarts, "restarts")
    generator = np.random.default_rng(seed)
    codes = start_codes(model, x, problem)
    rows = [_attack_one(problem, *one, steps, restarts, generator)
            for one in zip(signals, codes, labels, limits, strict=True)]
    found, predictions = np.stack([row[0] for row in rows]), np.array([row[1] for row in rows])
    return AttackResult(found.reshape(np.shape(x)), predictions, predictions != labels,
                        np.linalg.norm(found - signals, axis=1))


def _radii(radius: Any, count: int) -> np.ndarray:
    values = np.asarray(radius, np.float64)
    if values.shape not in ((), (count,)) or not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"`radius` must be a non-negative number, or one for each of {count} signals. "
                         f"Received: shape {values.shape}, from {values.min(initial=0)} to {values.max(initial=0)}")
    return np.broadcast_to(values, (count,))


def _attack_one(problem: CodeClassifier, signal: np.ndarray, code: np.ndarray, label: int, radius: float, steps: int,
                restarts: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """The signal that succeeded, or the last one, and its class."""
    most = 20 * min(problem.matrix.shape) + 100
    trial = signal
    for run in range(restarts):
        change = np.zeros_like(signal) if run == 0 else _in_ball(generator, len(signal), radius)
        for step in range(steps + 1):
            trial = signal + change
            code = converged_code(problem, trial, code, most)
            logits = code @ problem.head + problem.bias
            if np.argmax(logits) != label:
                return trial, int(np.argmax(logits))
            if step == steps:
                break
            change = change - _STEP * radius / steps * _direction(problem, code, logits, label)
            length = float(np.linalg.norm(change))
            if length > radius:
                change = change * (radius / length)
    return trial, label


def _direction(problem: CodeClassifier, code: np.ndarray, logits: np.ndarray, label: int) -> np.ndarray:
    """Gradient of the smallest margin by the signal, of length 1; 0 where the code is 0."""
    others = logits.copy()
    others[label] = -np.inf
    support = np.flatnonzero(code)
    difference = (problem.head[:, label] - problem.head[:, int(np.argmax(others))])[support]
    gradient = np.linalg.pinv(problem.matrix[:, support]).T @ difference if len(support) else \
        np.zeros(len(problem.matrix))
    length = np.linalg.norm(gradient)
    return gradient / length if length > 0 else gradient


def _in_ball(generator: np.random.Generator, size: int, radius: float) -> np.ndarray:
    """A point at random, uniform in direction, at a random share of the radius."""
    direction = generator.standard_normal(size)
    return radius * generator.random() * direction / np.linalg.norm(direction)
