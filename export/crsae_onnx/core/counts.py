"""Counts at the door: what is accepted, and what divides them (NumPy)."""

from __future__ import annotations

from typing import Any

import numpy as np

_ROUNDING = 1e-3  # counts that were computed as proportions times trials in float32 are whole up to this


def as_own_size(size: Any, name: str, whole: bool) -> float | np.ndarray:
    """Exposure or trials of a likelihood: a Python number, or a float64 array; checked.

    Args:
        size: number or array.
        name: "exposure" or "trials".
        whole: whether only whole numbers are allowed.

    Raises:
        ValueError: negative, not finite, fractional where whole ones are needed, or zero everywhere.
    """
    try:
        values = np.asarray(size, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` must be a number or an array of numbers. Received: {size!r}") from error
    kind = "whole numbers" if whole else "numbers"
    wrong = ~np.isfinite(values) | (values < 0)
    if whole:
        wrong |= values != np.rint(values)
    if wrong.any() or not values.size or not values.max() > 0:
        shown = values[wrong].flat[0] if wrong.any() else "nothing above 0"
        raise ValueError(f"`{name}` must hold finite {kind} above 0 (0 in an array: not observed). Received: {shown}")
    if values.ndim:
        return values
    return int(values) if whole else float(values)


def as_size(size: Any, shape: tuple[int, ...], name: str, whole: bool = False, per_signal: bool = True) -> np.ndarray:
    """Exposure or trials that broadcast to a signal, float64.

    Args:
        size: a number; one a sample: of the signal's shape, or that without channels or without batch, with 1 where it
            is the same on an axis; or, with ``per_signal``, one a signal, (batch,).
        shape: of the signal, (batch, *space, channels).
        name: "exposure" or "trials".
        whole: whether only whole numbers are allowed.
        per_signal: whether an array (batch,) holds one a signal; else it is (channels,).

    Returns:
        float64, of no axis, or of as many as the signal has.

    Raises:
        ValueError: it does not fit, or holds no sizes.

    Example:
        >>> from crsae_onnx.core.counts import as_size
        >>> as_size([20, 30], (2, 100, 1), "trials").shape
        (2, 1, 1)
    """
    values = np.asarray(as_own_size(size, name, whole), np.float64)
    ndim = len(shape)
    given = values.shape
    if values.ndim == 0:
        return values
    if per_signal and given == shape[:1]:
        return values.reshape(-1, *(1,) * (ndim - 1))
    if values.ndim == ndim - 1 and not _fits(given, shape[1:]) and _fits(given, shape[:-1]):
        return values[..., None]
    if values.ndim <= ndim and _fits(given, shape[ndim - values.ndim:]):
        return values.reshape((1,) * (ndim - values.ndim) + given)
    ways = "a number, one a signal (batch,), or one a sample" if per_signal else "a number, or one a sample"
    raise ValueError(f"`{name}` must be {ways}, broadcastable to the signal. Received: shape {given} for a signal of "
                     f"shape {tuple(shape)}")


def _fits(given: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(given) == len(shape) and all(g in (1, n) for g, n in zip(given, shape, strict=True))


def size_config(size: float | np.ndarray) -> Any:
    """A size as configs store it: a number or nested lists."""
    return size.tolist() if isinstance(size, np.ndarray) else size


def check_counts(counts: np.ndarray, size: np.ndarray, size_name: str, bounded: bool, name: str = "signal",
                 observed: Any = None) -> None:
    """Refuse data that are no counts; see ``keras_crsae.problem.Poisson.check_counts``.

    Args:
        counts: (batch, *space, channels).
        size: broadcastable to the counts.
        size_name: "exposure" or "trials".
        bounded: whether a count is at most its size.
        name: of the counts, for messages.
        observed: None or 0/1 broadcastable to the counts; others are not looked at.
    """
    if counts.dtype.kind not in "buif":
        raise ValueError(f"`{name}` must hold counts: whole numbers from 0. Received: dtype {counts.dtype}")

    def refuse(wrong: np.ndarray, expected: str, way_out: str) -> None:
        wrong = wrong if observed is None else wrong & (np.broadcast_to(observed, wrong.shape) > 0)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(f"`{name}` must hold counts: {expected}. {way_out} Received: "
                             f"{float(counts[place]):.6g} at {place}, {np.count_nonzero(wrong)} such of {wrong.size}")

    signed = counts.dtype.kind in "if"
    if signed:
        refuse(~(counts >= 0), "whole numbers from 0",
               "Give them as they were counted, no mean subtracted; for data that are no counts take "
               "likelihood='gaussian'.")
    if counts.dtype.kind == "f":
        refuse(~(np.abs(counts - np.rint(counts)) <= _ROUNDING), "whole numbers from 0",
               _fractions_way_out(counts, size, size_name))
    if bounded:
        refuse(counts > size + _ROUNDING, f"at most the number of {size_name}",
               f"Give `{size_name}` the most that a sample can count.")
    elif np.min(size) == 0:
        refuse((counts > 0) & (size == 0), f"0 where the {size_name} is 0", f"Give `{size_name}` what was observed.")


def _fractions_way_out(counts: np.ndarray, size: np.ndarray, size_name: str) -> str:
    """What fractional data probably are."""
    kind = "proportions" if size_name == "trials" else "rates"
    if np.max(size) > 1 and bool(np.all(np.abs(counts * size - np.rint(counts * size)) <= _ROUNDING * np.max(size))):
        return f"These look like {kind}: give the counts, {kind} times {size_name}; they are divided inside."
    return (f"Give counts, not {kind} or filtered data: {kind} times {size_name} are counts; they are divided inside. "
            "For data that are no counts take likelihood='gaussian'.")
