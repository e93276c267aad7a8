"""Codes at the optimum, in float64, and how far they are from it (NumPy)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_crsae.applications.certification.linear_codes import CodeClassifier

#: Share of its penalty weight by which an atom's condition of optimality may be off.
_TOLERANCE = 1e-12
#: Smallest diagonal of the triangular factor, against the largest norm, at which atoms count as independent.
_INDEPENDENT = 1e-7


class Codes(NamedTuple):
    """Codes of signals, and what bounds their distance from the optimum."""

    code: np.ndarray  #: (samples, atoms)
    dual: np.ndarray  #: feasible points u of the dual problem: x - D z, scaled; (samples, values)
    gap: np.ndarray  #: duality gap: the optimum is lower by at most this, (samples,)
    error: np.ndarray  #: sqrt(2 gap) with room for rounding: bounds ||u - u*|| and ||D z - D z*||, (samples,)


def converged_code(problem: CodeClassifier, signal: np.ndarray, start: np.ndarray, most_steps: int) -> np.ndarray:
    """The code of one signal by an active-set method (feature-sign search, Lee, Battle, Raina, Ng, 2006).

    On the support, with its signs, the minimum is a linear system. The code moves towards its solution as far as no
    sign changes; where one would, that atom leaves. At the solution the atom enters that violates its condition most.
    The objective falls in every step, so no support comes back, and the last one is exact.

    Args:
        problem: classifier in plain numbers.
        signal: (values,).
        start: code to begin with, (atoms,); the closer, the fewer steps.
        most_steps: systems to solve at most; where they end, or a support's atoms are dependent, the code so far.

    Returns:
        (atoms,).

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.certification.converged_codes import converged_code
        >>> from keras_crsae.applications.certification.linear_codes import CodeClassifier
        >>> problem = CodeClassifier(np.eye(2), np.full(2, 0.5), np.zeros(2, bool), np.eye(2), np.zeros(2), np.ones(2))
        >>> converged_code(problem, np.array([2.0, 0.25]), np.zeros(2), 10).tolist()
        [1.5, 0.0]
    """
    code = np.where(problem.two_sided, start, np.maximum(start, 0.0))
    sign, entered = np.sign(code), -1
    for _ in range(most_steps):
        support = np.flatnonzero(sign)
        if len(support):
            change, most = _descent(problem, signal, code[support], sign[support], support)
            shrinking = change * sign[support] < 0
            share = np.where(shrinking, -code[support] / np.where(shrinking, change, 1.0), np.inf)
            first = int(np.argmin(share))
            if share[first] <= most:
                if support[first] == entered and share[first] <= 0:  # rounding alone let it in
                    return code
                code[support] += share[first] * change
                code[support[first]] = sign[support[first]] = 0.0
                continue
            if most == np.inf:
                return code
            code[support] += change
        correlation = problem.matrix.T @ (signal - problem.matrix[:, support] @ code[support])
        violation = np.where(sign == 0, problem.excess(correlation) / problem.weight - 1.0, -np.inf)
        entered = int(np.argmax(violation))
        if violation[entered] <= _TOLERANCE:
            return code
        sign[entered] = np.sign(correlation[entered])
    return code


def _descent(problem: CodeClassifier, signal: np.ndarray, code: np.ndarray, sign: np.ndarray,
             support: np.ndarray) -> tuple[np.ndarray, float]:
    """A direction of descent on a support with its signs, and how far it may be followed at most.

    It leads to the minimum, at 1. Where the atoms are dependent it is one that leaves D z as it is and lowers the
    penalty, without end: some code value falls to zero on it.
    """
    part, weight = problem.matrix[:, support], problem.weight[support]
    unseen = _dependence(part)
    if unseen is not None:
        return (unseen if (weight * sign) @ unseen <= 0 else -unseen), np.inf
    gradient = part.T @ (signal - part @ code) - weight * sign
    return np.linalg.solve(part.T @ part, gradient), 1.0


def _dependence(part: np.ndarray) -> np.ndarray | None:
    """Coefficients with which atoms (values, atoms) sum to zero, or None where they are independent."""
    if part.shape[1] <= part.shape[0]:
        factor = np.linalg.qr(part, mode="r")
        if np.abs(np.diag(factor)).min() > _INDEPENDENT * np.linalg.norm(part, axis=0).max():
            return None
    return np.linalg.svd(part, full_matrices=True)[2][-1]


def converged_codes(problem: CodeClassifier, signals: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """``converged_code`` of signals (samples, values) from codes ``start``, or from zero: (samples, atoms)."""
    start = np.zeros((len(signals), problem.matrix.shape[1])) if start is None else start
    most = 20 * min(problem.matrix.shape) + 100
    return np.stack([converged_code(problem, x, z.copy(), most) for x, z in zip(signals, start, strict=True)])


def with_gap(problem: CodeClassifier, signals: np.ndarray, codes: np.ndarray) -> Codes:
    """Codes with their duality gaps.

    The dual of min 1/2 ||x - D z||^2 + sum w_j |z_j| is max 1/2 ||x||^2 - 1/2 ||x - u||^2 over excess(D^T u) <= w,
    whose optimum u* = x - D z* is the projection of x on that set. The residual, scaled into the set, is such a u. Both
    problems are strongly convex, by 1, in u and in D z: 1/2 ||u - u*||^2 and 1/2 ||D z - D z*||^2 are at most the gap.

    Args:
        problem: classifier in plain numbers.
        signals: (samples, values).
        codes: (samples, atoms), whose one-sided values are not negative.
    """
    residual = signals - codes @ problem.matrix.T
    largest = np.max(problem.excess(residual @ problem.matrix) / problem.weight, axis=1, initial=0.0)
    dual = residual / np.maximum(largest, 1.0)[:, None]
    energy = 0.5 * np.sum(np.square(signals), axis=1)
    primal = 0.5 * np.sum(np.square(residual), axis=1) + np.abs(codes) @ problem.weight
    gap = np.maximum(primal - (energy - 0.5 * np.sum(np.square(signals - dual), axis=1)), 0.0)
    rounding = 16 * np.finfo(np.float64).eps * energy
    return Codes(codes, dual, gap, np.sqrt(2.0 * (gap + rounding)))
