"""Certificates of a classifier on sparse codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from crsae_onnx.core.signals import as_float32, as_signal, refuse_other_containers

from keras_crsae.applications.certification.converged_codes import converged_codes, with_gap
from keras_crsae.applications.certification.linear_codes import CodeClassifier, code_classifier
from keras_crsae.applications.certification.radius import radii
from keras_crsae.applications.certification.report import CertificationReport
from keras_crsae.models.classifier import SparseCodingClassifier
from keras_crsae.models.labels import as_labels


def certify(model: SparseCodingClassifier, x: Any, y: Any = None, *, code: Any = None) -> CertificationReport:
    """For each signal: the class, and the radius within which no change of the signal changes it.

    What is certified is the classifier on converged codes: they are found here, in float64, by an active-set method,
    and the duality gap that is left, about 1e-16, is taken off the radius. ``model.predict`` agrees where its
    iterations converge. The mathematics stands in ``certification.radius``.

    Args:
        model: built ``SparseCodingClassifier``, codes with the l1 norm as their penalty.
        x: (samples, *space, channels), prepared (norm, mean) as the classifier was trained; radii are in x's unit.
        y: labels (samples,), or None: radii are then those of the predictions, right or wrong.
        code: None, or codes of x's to certify in place of the converged ones, such as ``model.encode(x)``: the radius
            shrinks with their duality gap.

    Returns:
        ``CertificationReport`` with predictions, radius, paper_radius, gap, each (samples,).

    Raises:
        ValueError: signals, labels or codes that do not fit the model; another prior of the code.

    Example:
        >>> import numpy as np
        >>> import keras_crsae as kc
        >>> from keras_crsae.applications import certification
        >>> model = kc.SparseCodingClassifier(kc.CRsAE(6, 8, lambda_init=0.1, seed=0), classes=2)
        >>> x = np.random.default_rng(0).standard_normal((5, 8, 1))
        >>> report = certification.certify(model, x, model.predict(x, verbose=0).argmax(axis=-1))
        >>> report.accuracy(), bool((report.radius >= report.paper_radius).all()), bool(report.gap.max() < 1e-12)
        (1.0, True, True)
    """
    signals, problem = prepared(model, x)
    labels = None if y is None else as_labels(y, len(signals), model.classes)
    if code is None:
        values = converged_codes(problem, signals, start_codes(model, x, problem))
    else:
        values = _given_codes(model, problem, code, signals)
    codes = with_gap(problem, signals, values)
    logits = problem.logits(codes.code)
    predictions = np.argmax(logits, axis=1)
    target = predictions if labels is None else labels.astype(np.int64)
    rows = np.arange(len(target))
    others = logits.copy()
    others[rows, target] = -np.inf
    sharp, projection, paper = radii(problem, codes, target).T
    return CertificationReport(predictions, target, sharp, projection, paper, codes.gap,
                               logits[rows, target] - others.max(axis=1), np.count_nonzero(codes.code, axis=1),
                               labels is not None)


def prepared(model: Any, x: Any) -> tuple[np.ndarray, CodeClassifier]:
    """Signals as float64 vectors (samples, values), and the classifier in plain numbers.

    Raises:
        ValueError: no ``SparseCodingClassifier``, or signals that do not fit it.
    """
    if not isinstance(model, SparseCodingClassifier):
        raise ValueError("Certificates are those of a SparseCodingClassifier: a linear head on sparse codes. "
                         f"Received: {type(model).__name__}")
    refuse_other_containers(x, "x")
    checked = model.check_signals(x)
    exact = np.asarray(x, np.float64).reshape(len(checked), -1)
    return exact, code_classifier(model, checked.shape[1:-1])


def start_codes(model: SparseCodingClassifier, x: Any, problem: CodeClassifier) -> np.ndarray:
    """Codes of the model's own iterations, (samples, atoms) float64, as the problem has their signs."""
    code = model.encode(x)
    return np.asarray(code, np.float64).reshape(len(code), -1) * problem.signs


def _given_codes(model: SparseCodingClassifier, problem: CodeClassifier, code: Any, signals: np.ndarray) -> np.ndarray:
    code = as_signal(as_float32(code, "code"), model.autoencoder.rank, model.autoencoder.filters, None, name="code")
    values = np.asarray(code, np.float64).reshape(len(code), -1)
    if values.shape != (len(signals), len(problem.weight)):
        raise ValueError("`code` must hold the codes of `x`, as model.encode(x) gives them. "
                         f"Received: shape {code.shape} for {len(signals)} signals")
    values = values * problem.signs
    return np.where(problem.two_sided, values, np.maximum(values, 0.0))
