"""Radii within which no change of a signal changes its class (NumPy, float64).

Let z minimise 1/2 ||x - D z||^2 + sum_j w_j |z_j|, u = x - D z, and the class be the largest of f = W^T z + b.

u is the projection of x on the convex set {|d_j^T u| <= w_j} ({d_j^T u <= w_j} where codes are one-sided). For a signal
x' = x + v let x_t run straight from x to x'. Almost everywhere on the way du_t is the part of dx_t orthogonal to the
atoms D_S of the present support S, and dD z_t the part in their span, so |du_t|^2 + |dD z_t|^2 = |dx_t|^2. Two facts:

1. An atom with gap tau_j = w_j - |d_j^T u| stays inactive while the length a of the way of u is below
   tau_j / ||d_j||. So after a length a, S lies in I(a) = {j : tau_j / ||d_j|| <= a}.
2. For a margin f_y - f_k with p = W_y - W_k, p^T dz = p_S^T D_S^+ dD z, so it falls by at most L(a) |dD z|, with
   L(a) = ||D_I^{+T} p_I||, I = I(a): of the vectors q with D_I^T q = p_I the shortest has this norm, and a subset S of
   I asks for less. D_I must have full column rank.

So ||v|| is at least the length of the shortest way in the plane (a, b), b the way of D z, on which the integral of
L(a) db is the margin. L is a step function that grows, and the shortest way is broken like light at each step (Snell's
law): with K steps crossed, cos of the angle to the b axis is L_k / L_K on level k, and 1 on the last. ``path_radius``
takes the smallest over K, and over the other classes. It is never below ``projection_radius``, which has both effects
at their worst at once, and that never below ``paper_radius``.

What is left of an unconverged code: with duality gap g, e = sqrt(2 g) bounds ||u - u*|| and ||D z - D z*||. So the true
tau_j / ||d_j|| is at least the computed one less e, and the true margin at least the computed one less L e, L of the
atoms that may be active: those with tau_j / ||d_j|| <= e, and those of the present code. All radii shrink with e.

Sources: Sulam, Muthukumar, Arora, Adversarial robustness of supervised sparse coding (arXiv 2010.12088), theorem 5.2,
for ``paper_radius``; the other two are this package's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from keras_crsae.applications.certification.converged_codes import Codes
from keras_crsae.applications.certification.linear_codes import CodeClassifier

#: Smallest diagonal of the triangular factor, against the atom's norm, at which atoms count as independent.
_INDEPENDENT = 1e-6
#: Atoms whose Babel function is computed at a time.
_ROWS = 512


class Levels(NamedTuple):
    """Ways of u at which atoms may become active, and how fast margins may fall then."""

    start: np.ndarray  #: a at which each level begins, ascending from 0, (levels,)
    slope: np.ndarray  #: L on each level for each other class, (levels, classes - 1)
    end: float  #: a at which the independent atoms end; infinite where all atoms are in


def levels(problem: CodeClassifier, inactive_for: np.ndarray, differences: np.ndarray, largest: float) -> Levels:
    """L(a) as a step function.

    Args:
        problem: classifier in plain numbers.
        inactive_for: lower bound of tau_j / ||d_j|| for each atom, at most 0 where it may be active now, (atoms,).
        differences: W_y - W_k of each other class, (atoms, classes - 1).
        largest: a beyond which no level is needed.
    """
    order = np.argsort(inactive_for, kind="stable")
    order = order[inactive_for[order] <= largest]
    later = inactive_for[inactive_for > largest]
    end = float(later.min()) if len(later) else np.inf
    active = int(np.count_nonzero(inactive_for[order] <= 0))
    most = min(len(order), problem.matrix.shape[0])
    factor: Any = np.linalg.qr(problem.matrix[:, order[:most]], mode="r")
    dependent = np.abs(np.diag(factor)) <= _INDEPENDENT * np.maximum(problem.norms[order[:most]], 1e-300)
    rank = int(np.argmax(dependent)) if dependent.any() else most
    if rank < len(order):
        end = max(float(inactive_for[order[rank]]), 0.0)
    if rank < active:
        return Levels(np.zeros(0), np.zeros((0, differences.shape[1])), 0.0)
    # Row i of the solution does not depend on later atoms, so the sums of squares are those of all leading sets.
    solution = np.linalg.solve(factor[:rank, :rank].T, differences[order[:rank]]) if rank else differences[:0]
    squares = np.concatenate([np.zeros((1, differences.shape[1])), np.cumsum(np.square(solution), axis=0)])
    return Levels(np.concatenate([[0.0], inactive_for[order[active:rank]]]), np.sqrt(squares[active:]), end)


def path_radius(found: Levels, margins: np.ndarray) -> float:
    """Length of the shortest way on which a margin falls to 0, or on which u reaches atoms that are not independent.

    Args:
        found: L(a).
        margins: lower bounds of f_y - f_k, (classes - 1,).

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.certification.radius import Levels, path_radius
        >>> path_radius(Levels(np.array([0.0]), np.array([[2.0]]), np.inf), np.array([1.0]))  # one level: margin / L
        0.5
        >>> two = Levels(np.array([0.0, 0.3]), np.array([[1.0], [2.0]]), np.inf)
        >>> round(path_radius(two, np.array([1.0])), 4)        # below 1, and above max(min(0.3, 1), min(inf, 0.5))
        0.7598
    """
    if not len(found.start) or (margins <= 0).any():
        return 0.0
    heights = np.diff(found.start)[:, None]
    best = found.end
    with np.errstate(divide="ignore", invalid="ignore"):
        for last in range(len(found.start)):
            slope = found.slope[last]
            cosine = np.minimum(np.where(slope > 0, found.slope[:last] / slope, 1.0), 1.0)
            sine = np.sqrt(1.0 - np.square(cosine))
            across = np.where(sine > 0, heights[:last] * cosine / sine, np.inf)
            left = margins - np.sum(np.where(cosine > 0, found.slope[:last] * across, 0.0), axis=0)
            rest = np.where(slope > 0, left / slope, np.inf)
            length = np.sum(np.where(sine > 0, heights[:last] / sine, np.inf), axis=0) + rest
            best = min(best, float(np.min(np.where(left >= 0, length, np.inf))))
    return best


def projection_radius(found: Levels, margins: np.ndarray) -> float:
    """max_s min(a at which atom s + 1 may be active, margin / L_s).

    Args:
        found: L(a).
        margins: lower bounds of f_y - f_k, (classes - 1,).

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.certification.radius import Levels, projection_radius
        >>> two = Levels(np.array([0.0, 0.3]), np.array([[1.0], [2.0]]), np.inf)
        >>> projection_radius(two, np.array([1.0]))
        0.5
    """
    if not len(found.start) or (margins <= 0).any():
        return 0.0
    with np.errstate(divide="ignore"):
        by_margin = np.min(np.where(found.slope > 0, margins / found.slope, np.inf), axis=1)
    return float(np.max(np.minimum(np.append(found.start[1:], found.end), by_margin)))


def babel_function(matrix: np.ndarray) -> np.ndarray:
    """mu_s = max over atoms of the sum of their s largest |d_i^T d_j|, s = 0, 1, ..., while it is below 1.

    Args:
        matrix: (values, atoms), columns of norm 1.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.certification.radius import babel_function
        >>> babel_function(np.array([[1.0, 0.6], [0.0, 0.8]])).tolist()
        [0.0, 0.6]
    """
    atoms = matrix.shape[1]
    largest = np.zeros(atoms)
    for start in range(0, atoms, _ROWS):
        products = np.abs(matrix[:, start:start + _ROWS].T @ matrix)
        own = np.arange(len(products))
        products[own, start + own] = 0.0
        products.sort(axis=1)
        sums = np.cumsum(products[:, :0:-1], axis=1)
        largest[1:] = np.maximum(largest[1:], sums.max(axis=0))
    return largest[:int(np.argmax(largest >= 1.0)) if (largest >= 1.0).any() else atoms]


def head_norm(head: np.ndarray) -> float:
    """c_W = max ||W_i - W_j|| of a head (atoms, classes)."""
    products = head.T @ head
    squares = np.diag(products)
    return float(np.sqrt(max(np.max(squares[:, None] + squares - 2.0 * products), 1e-300)))


def paper_radius(between: float, babel: np.ndarray, gaps: np.ndarray, margin: float, error: float) -> float:
    """max_s min(tau_s / 2, margin sqrt(1 - mu_{s - 1}) / c_W), tau_s the (s + 1)-th smallest gap.

    1 - mu_{s - 1} is a lower bound of the smallest eigenvalue of s atoms' products. The authors' notebooks take mu of
    one atom more, which makes the radius smaller.

    Args:
        between: c_W, see ``head_norm``.
        babel: ``babel_function`` of the matrix.
        gaps: w_j - excess(d_j^T u), (atoms,).
        margin: smallest f_y - f_k.
        error: sqrt(2 gap).
    """
    ordered = np.append(np.sort(gaps), np.inf)[1:len(babel) + 1]  # s = 1, 2, ...
    slope = between / np.sqrt(1.0 - babel[:len(ordered)])
    inside = ordered > error  # else the code may hold more than s atoms
    bound = np.minimum((ordered - error) / 2.0, margin / slope - error)
    return float(max(np.max(bound[inside], initial=0.0), 0.0))


def radii(problem: CodeClassifier, codes: Codes, labels: np.ndarray) -> np.ndarray:
    """(path, projection, paper) of each signal within which its class stays ``labels``; 0 where it is another.

    Args:
        problem: classifier in plain numbers.
        codes: of the signals.
        labels: (samples,) ints.

    Returns:
        (samples, 3).
    """
    norms, babel, between = np.maximum(problem.norms, 1e-12), babel_function(problem.matrix), head_norm(problem.head)
    logits = problem.logits(codes.code)
    gaps = problem.weight - problem.excess(codes.dual @ problem.matrix)
    found = np.zeros((len(labels), 3))
    for i, label in enumerate(labels):
        others = np.delete(np.arange(problem.head.shape[1]), label)
        margins, error = logits[i, label] - logits[i, others], float(codes.error[i])
        if margins.min() <= 0:
            continue
        tau = np.where(codes.code[i] != 0, 0.0, gaps[i])
        differences = problem.head[:, [label]] - problem.head[:, others]
        sharp = _sharp_radii(problem, np.maximum(tau / norms - error, 0.0), error, margins, differences)
        found[i] = *sharp, paper_radius(between, babel, tau, float(margins.min()), error)
    return found


def _sharp_radii(problem: CodeClassifier, inactive_for: np.ndarray, error: float, margins: np.ndarray,
                 differences: np.ndarray) -> tuple[float, float]:
    """``path_radius`` and ``projection_radius`` of one signal whose class is the right one."""
    first = levels(problem, inactive_for, differences, 0.0)
    if not len(first.start):
        return 0.0, 0.0
    margins = margins - first.slope[0] * error
    if margins.min() <= 0:
        return 0.0, 0.0
    with np.errstate(divide="ignore"):  # beyond this the margin may have fallen to 0 with the present atoms alone
        largest = float(np.min(np.where(first.slope[0] > 0, margins / first.slope[0], np.inf)))
    found = levels(problem, inactive_for, differences, largest)
    projection = projection_radius(found, margins)
    return max(path_radius(found, margins), projection), projection
