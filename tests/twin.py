"""Independent NumPy twin in float64: an explicit dictionary matrix, no convolution routine."""

import numpy as np


def dictionary_matrix(kernel, space, strides):
    """D as a matrix (samples * channels, positions * filters), column by column from the definition."""
    rank = len(strides)
    size, channels, filters = kernel.shape[:rank], kernel.shape[rank], kernel.shape[rank + 1]
    positions = tuple((n - k) // s + 1 for n, k, s in zip(space, size, strides, strict=True))
    columns = []
    for position in np.ndindex(*positions):
        for c in range(filters):
            atom = np.zeros((*space, channels))
            window = tuple(slice(p * s, p * s + k) for p, s, k in zip(position, strides, size, strict=True))
            atom[window] = kernel[..., c]
            columns.append(atom.ravel())
    return np.stack(columns, axis=1), positions


def fista(matrix, signal, threshold, step, iterations, two_sided):
    """Textbook FISTA; threshold is one number a column."""
    x = w = np.zeros(matrix.shape[1])
    t = 1.0
    for _ in range(iterations):
        v = w + step * matrix.T @ (signal - matrix @ w)
        new = np.sign(v) * np.maximum(np.abs(v) - threshold, 0) if two_sided else np.maximum(v - threshold, 0)
        t_new = (1 + np.sqrt(1 + 4 * t * t)) / 2
        w = new + (t - 1) / t_new * (new - x)
        x, t = new, t_new
    return x


def minimise(matrix, signal, weight, signs, value=lambda y, eta: 0.5 * (y - eta) ** 2, slope=lambda y, eta: eta - y):
    """Code and least value of sum_i value(y_i, (D z)_i) + weight ||z||_1 by SciPy's L-BFGS-B.

    The code is split into non-negative parts, one for each of ``signs``: 1 and -1, or one of them, or arrays of one a
    column, 0 where the column has no such part. ``slope`` is the derivative of ``value`` by eta; ``weight`` is one
    number, or one a column.
    """
    from scipy.optimize import minimize

    columns = matrix.shape[1]
    weight = np.broadcast_to(weight, columns)

    def split(parts):
        return sum(sign * part for sign, part in zip(signs, parts.reshape(len(signs), columns), strict=True))

    def objective(parts):
        eta = matrix @ split(parts)
        gradient = matrix.T @ slope(signal, eta)
        return (np.sum(value(signal, eta)) + np.sum(np.tile(weight, len(signs)) * parts),
                np.concatenate([sign * gradient + weight for sign in signs]))

    start = np.zeros(len(signs) * columns)
    bounds = [(0, None if sign else 0) for part in signs for sign in np.broadcast_to(part, columns)]
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds,
                     options=dict(maxiter=20000, maxfun=40000, ftol=1e-15, gtol=1e-9, maxcor=50))
    return split(found.x), found.fun
