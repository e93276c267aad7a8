"""Checks of raw binary recordings, which say nothing of themselves: text, type of samples, number of channels (NumPy).

Only stretches of a file are read, so that the checks of an hour take as long as those of a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from crsae_onnx.core.errors import FileError
from crsae_onnx.core.typing import Array

#: Magnitudes of a recording, in whatever unit (volts to counts): below and above them floats hold something else.
SMALLEST_MAGNITUDE, LARGEST_MAGNITUDE = 1e-20, 1e20
#: Fractions of the values that may lie outside of them. A filter leaves tiny values of silence, and nothing large.
_SMALL_FRACTION, _LARGE_FRACTION = 0.95, 0.05
#: Third quartile over first of magnitudes: normal noise has 3.6; bits of another type spread over the exponents.
_MOST_SPREAD = 1e4
_TEXT_BYTES = 4096
_STRETCHES, _STRETCH_VALUES = 4, 2**15
#: Standard deviation of numbers spread evenly over a range, as a fraction of it, and how far an estimate may lie off.
_EVEN_STD, _EVEN_TOLERANCE = 12**-0.5, 0.03
#: A reading is wrong where another one makes the values so much smaller.
_SMALLER = 8.0
#: Values that are compared with those some places later, most of those places, and the squared difference (relative to
#: that of the given number of channels) below which another number of channels is likely.
_LAG_VALUES, _MOST_CHANNELS, _LIKELY_RATIO = 2**17, 512, 0.7


def check_not_text(start: bytes, path: object) -> None:
    """Refuse the first bytes of a file that is text.

    Raises:
        FileError: all of them are printable, with line breaks.

    Example:
        >>> from crsae_onnx.core.raw_checks import check_not_text
        >>> check_not_text(bytes(range(256)), "y.dat")
    """
    start = start[:_TEXT_BYTES]
    printable = set(range(32, 127)) | {9, 10, 12, 13}
    text = len(start) >= 8 and set(start) <= printable and (b"\n" in start or b"\r" in start)
    if text:
        first = start.splitlines()[0][:40].decode("ascii")
        raise FileError(f"{path} is a text file: it begins with {first!r}. Expected raw binary samples. Read the text "
                        "with numpy.loadtxt and save the array as .npy.")


def fitting_channels(values: int, channels: int, most: int = 8) -> list[int]:
    """Numbers of channels that divide the number of values, those closest to ``channels`` (by ratio).

    Example:
        >>> from crsae_onnx.core.raw_checks import fitting_channels
        >>> fitting_channels(60, channels=7, most=4)
        [5, 6, 10, 12]
    """
    fitting = [n for n in range(1, min(values, 4 * _MOST_CHANNELS) + 1) if values % n == 0]
    return sorted(sorted(fitting, key=lambda n: max(n / channels, channels / n))[:most])


def sample_stretches(values: Any) -> list[Array]:
    """A few stretches of a flat array, spread over it; wider types of the same bytes begin where the stretches do."""
    length = min(len(values), _STRETCH_VALUES)
    starts = np.unique(np.linspace(0, len(values) - length, _STRETCHES).astype(np.int64) // 8 * 8)
    return [np.asarray(values[start:start + length]) for start in starts]


def extreme_fractions(values: Array) -> tuple[float, float]:
    """(fraction too small, fraction too large) for a recording, of the floats other than 0, NaN and infinity.

    What was read with the wrong type gives denormal numbers, magnitudes up to the largest, and NaN of other bits than
    those that arithmetic gives, which count as too large. Small ones alone may be what a filter leaves of silence.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.raw_checks import extreme_fractions
        >>> extreme_fractions(np.arange(-500, 500, dtype="int16").view("float32"))
        (0.5, 0.5)
        >>> extreme_fractions(np.array([0.1, -3.0, np.nan], "float32"))
        (0.0, 0.0)
    """
    size = np.abs(values[values != 0])
    bits = size.view(f"u{size.dtype.itemsize}")
    gaps = bits == np.abs(np.array([np.nan, np.inf], size.dtype)).view(bits.dtype)[:, None]
    size = size[~gaps.any(axis=0)]
    if not len(size):
        return 0.0, 0.0
    with np.errstate(invalid="ignore"):
        return float(np.mean(size < SMALLEST_MAGNITUDE)), float(1 - np.mean(size < LARGEST_MAGNITUDE))


def holds_no_recording(values: Sequence[Array]) -> bool:
    """Whether stretches of floats have magnitudes that no recording has, most probably read with the wrong type.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.raw_checks import holds_no_recording
        >>> holds_no_recording([np.arange(-500, 500, dtype="int16").view("float32")])
        True
    """
    small, large = np.max([extreme_fractions(part) for part in values], axis=0)
    return bool(large > _LARGE_FRACTION or small > _SMALL_FRACTION)


def likely_dtype(values: Sequence[Array]) -> str | None:
    """The type of samples that stretches of a raw file most probably have, where it is surely not the one given.

    Args:
        values: flat arrays, each a stretch of the file, of the type given.

    Returns:
        None: the type given may be right; else the name of another one, or "" where none fits better.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.raw_checks import likely_dtype
        >>> noise = np.random.default_rng(0).normal(0, 300, 60_000)
        >>> likely_dtype([noise.astype("int16")]), likely_dtype([noise.astype("float32").view("int16")])
        (None, 'float32')
    """
    kind = values[0].dtype
    if kind.kind == "f":
        if kind.itemsize == 8 and _are_halves_alike(values):
            return "float32"
        return (_plausible(values, kind) or "") if holds_no_recording(values) else None
    if not any(part.any() for part in values):
        return None
    for look in (_floats, _wider_integers, _narrower_integers, _other_sign):
        found = look(values)
        if found is not None:
            return found
    return None


def _plausible(values: Sequence[Array], given: np.dtype[Any]) -> str | None:
    """The first of other types under which the values look like a recording."""
    for name in ("int16", "float32", "float64", "uint16", "int32"):
        parts = _viewed(values, name) if np.dtype(name) != given else []
        if parts and (_are_floats(parts) if np.dtype(name).kind == "f" else likely_dtype(parts) is None):
            return name
    return None


def _are_floats(parts: Sequence[Array]) -> bool:
    """Whether floats have the magnitudes of a recording, none of them extreme."""
    small, large = np.max([extreme_fractions(part) for part in parts], axis=0)
    return bool(large < 0.01 and small < 0.5 and _spread(np.concatenate(parts)) < _MOST_SPREAD)


def _spread(values: Array) -> float:
    """Third quartile over first of the magnitudes of floats other than 0."""
    size = np.abs(values[(values != 0) & np.isfinite(values)]).astype(np.float64)
    if len(size) < 64:
        return np.inf  # a few blanked samples fit any type
    first, third = np.quantile(size, (0.25, 0.75))
    return float(third / first)


def _are_halves_alike(values: Sequence[Array]) -> bool:
    """Whether float64 values are two float32 values each: both halves are floats of similar magnitudes."""
    floats = np.concatenate(_viewed(values, "float32"))
    halves = floats[::2], floats[1::2]
    if not all(_are_floats([half]) for half in halves):
        return False
    one, other = (float(np.median(np.abs(half[(half != 0) & np.isfinite(half)]))) for half in halves)
    return max(one, other) < _SMALLER * min(one, other)


def _viewed(values: Sequence[Array], name: str) -> list[Array]:
    """The same bytes as another type."""
    size = np.dtype(name).itemsize
    raw = [np.ascontiguousarray(part).view(np.uint8) for part in values]
    return [part[:len(part) // size * size].view(np.dtype(name).newbyteorder("<")) for part in raw if len(part) >= size]


def _floats(values: Sequence[Array]) -> str | None:
    """"float32" or "float64" where integers are (parts of) such numbers, with lower halves spread evenly or 0."""
    itemsize = values[0].dtype.itemsize
    for name in ("float32", "float64"):
        ratio = np.dtype(name).itemsize // itemsize
        parts = _viewed(values, name) if ratio >= 1 else []
        if not parts or not _are_floats(parts):
            continue
        low = np.concatenate([part[::ratio][:len(part) // ratio] for part in values])
        if ratio == 1 or _is_even(low) or not low.any():
            return name
    return None


def _is_even(values: Array) -> bool:
    """Whether integers are spread evenly over the whole range of their type."""
    information = np.iinfo(values.dtype)
    spread = float(values.astype(np.float64).std()) / (float(information.max) - float(information.min))
    return abs(spread - _EVEN_STD) < _EVEN_TOLERANCE


def _wider_integers(values: Sequence[Array]) -> str | None:
    """The type twice as wide, where every second value only extends the sign of the one before."""
    kind = values[0].dtype
    if kind.itemsize > 2:
        return None
    # Bits are compared, whatever sign the type given has.
    signed = np.concatenate([part[:len(part) // 2 * 2].view(f"i{kind.itemsize}") for part in values])
    low, high = signed[::2], signed[1::2]
    if not low.any() or len(low) < 64:
        return None
    name = f"int{16 * kind.itemsize}"
    if np.mean(high == np.where(low < 0, -1, 0)) > 0.99 and (low < 0).any() and (low > 0).any():
        return name
    small = float(high.astype(np.float64).std()) < 0.1 * np.iinfo(high.dtype).max
    return name if _is_even(low) and small else None


def _narrower_integers(values: Sequence[Array]) -> str | None:
    """A type half as wide, where both halves of the values are alike."""
    kind = values[0].dtype
    if kind.itemsize != 4:
        return None
    halves = np.concatenate(_viewed(values, "int16")).reshape(-1, 2)
    low, high = halves[halves.any(axis=1)].T  # blanked samples say nothing
    one, other = (_mean_deviation(half) for half in (low, high))
    extends = np.count_nonzero(high == np.where(low < 0, -1, 0)) > 0.9 * len(low)
    alike = min(one, other) > 0.005 * max(one, other) > 0
    if not alike or extends or _is_even(low):
        return None
    return likely_dtype(_viewed(values, "int16")) or "int16"


def _other_sign(values: Sequence[Array]) -> str | None:
    """The type of the other sign, where it makes the values far smaller: they lie around 0, or around the middle."""
    kind = values[0].dtype
    if kind.itemsize > 2:
        return None
    other = np.dtype(f"{'u' if kind.kind == 'i' else 'i'}{kind.itemsize}")
    given = np.concatenate(values)
    spread, smaller = (_mean_deviation(part) for part in (given, given.view(other)))
    return other.name if spread > _SMALLER * smaller > 0 else None


def _mean_deviation(values: Array) -> float:
    """Mean absolute deviation from the mean."""
    values = values.astype(np.float64)
    return float(np.abs(values - values.mean()).mean())


def likely_channels(values: Any, channels: int) -> int | None:
    """Another number of channels that a raw file most probably has, by how alike its values are at a distance.

    Neighbouring samples of a channel lie as many values apart as there are channels, and differ the least. For each
    distance the mean squared difference is taken at each place in a frame, and the largest of them counts: channels
    that resemble each other do not stand for samples.

    Args:
        values: flat array of the whole file.
        channels: number of channels given.

    Returns:
        None: the number given may be right; else the likely one, which divides the number of values.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.raw_checks import likely_channels
        >>> slow = np.cumsum(np.random.default_rng(0).standard_normal((20_000, 4)), axis=0)
        >>> likely_channels(slow.ravel(), channels=2), likely_channels(slow.ravel(), channels=4)
        (4, None)
    """
    lags = [n for n in range(1, max(_MOST_CHANNELS, 2 * channels) + 1) if len(values) % n == 0]
    longest = lags[-1]
    frames = min(len(values) - longest, _LAG_VALUES) // channels
    if frames < 64:
        return None
    start = (len(values) - longest - frames * channels) // 2
    piece = np.asarray(values[start:start + frames * channels + longest], np.float64)
    piece = np.where(np.isfinite(piece), piece, 0)
    largest = {lag: _frame_differences(piece, lag, frames, channels).max() for lag in lags if lag != channels}
    given = _frame_differences(piece, channels, frames, channels).mean()
    if not largest or not given > 0:
        return None
    least = min(largest.values())
    best = min(lag for lag, value in largest.items() if value <= 1.1 * least)
    return best if largest[best] < _LIKELY_RATIO * given else None


def _frame_differences(piece: Array, lag: int, frames: int, channels: int) -> Array:
    """Mean squared difference of values ``lag`` apart, (channels,): one for each place in a frame."""
    count = frames * channels
    return np.square(piece[lag:lag + count] - piece[:count]).reshape(frames, channels).mean(axis=0)
