"""Spikes of given templates in a whitened signal, the residual, and waveforms without their neighbours (NumPy)."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np
from crsae_onnx.core.compiled import can_compile
from crsae_onnx.core.parallel import cores, ordered_thread_map
from crsae_onnx.core.spikes.detector import MARGIN_KERNELS
from crsae_onnx.core.spikes.template_matching import MatchedSpikes, TemplateMatcher

from keras_crsae.applications.spike_sorting.parameters import DEFAULTS
from keras_crsae.applications.spike_sorting.templates import as_kernel, template_norms, waveforms

#: Samples of a long signal that are searched together.
PIECE_SAMPLES = 1 << 15
#: Pieces that are searched at a time, and how many at most: each holds units x ``PIECE_SAMPLES`` numbers.
_WORKERS: ContextVar[int] = ContextVar("workers", default=1)
_MOST_WORKERS = 8


def linear_algebra_threads() -> int:
    """Threads that NumPy's linear algebra may use now: what ``job_kwargs``, threadpoolctl or the environment allow."""
    from threadpoolctl import threadpool_info

    pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(1, min([cores(), *pools]))


@contextlib.contextmanager
def one_thread_each(workers: int) -> Iterator[None]:
    """Inside of it linear algebra takes one thread, where several workers call it at a time: not workers * threads.

    Example:
        >>> from keras_crsae.applications.spike_sorting.matching import linear_algebra_threads, one_thread_each
        >>> with one_thread_each(2):
        ...     linear_algebra_threads()
        1
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1) if workers > 1 else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def searching_with(workers: int) -> Iterator[None]:
    """Inside of it ``match_pieces`` searches so many pieces at a time; their spikes are the same.

    Example:
        >>> from keras_crsae.applications.spike_sorting.matching import searching_with
        >>> with searching_with(2):
        ...     pass
    """
    token = _WORKERS.set(workers)
    try:
        yield
    finally:
        _WORKERS.reset(token)


class UnitSpikes(NamedTuple):
    """Templates and their spikes in a whitened signal, in order of ``start_sample``."""

    templates: np.ndarray  #: (units, kernel_size, channels), mean whitened waveforms
    start_sample: np.ndarray  #: int64 (spikes,), where each spike's template starts
    unit_id: np.ndarray  #: int64 (spikes,), rows of ``templates``
    code_amplitude: np.ndarray  #: float64 (spikes,), multiple of the unit-norm filter

    @property
    def counts(self) -> np.ndarray:
        """Number of spikes of each unit, (units,)."""
        return np.bincount(self.unit_id, minlength=len(self.templates))


def match_templates(signal: np.ndarray, templates: np.ndarray, refractory: int,
                    amplitude_cv: float | np.ndarray = DEFAULTS.initial_amplitude_cv,
                    log_odds_against: float | np.ndarray = DEFAULTS.initial_log_odds_against_nats,
                    thorough: bool = False, overlap: np.ndarray | None = None) -> UnitSpikes:
    """The most probable spikes of ``templates``; see ``crsae_onnx.core.spikes.template_matching``.

    Args:
        signal: (time, channels), whitened.
        templates: (units, kernel_size, channels).
        refractory: samples; smallest distance of two spikes of a unit.
        amplitude_cv: coefficient of variation of a unit's amplitudes, a number or (units,).
        log_odds_against: log odds against a spike at one sample, a number or (units,).
        thorough: also search distant pairs.
        overlap: None, or ``gram`` of the unit-norm filters, where it is known.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.matching import match_templates
        >>> signal, template = np.zeros((300, 1), np.float32), 3 * np.hanning(30)[None, :, None]
        >>> signal[100:130] += template[0]
        >>> match_templates(signal, template, refractory=20).start_sample.tolist()
        [100]
    """
    norms, units = template_norms(templates), len(templates)
    matcher = TemplateMatcher(as_kernel(templates), norms, np.broadcast_to(amplitude_cv, units),
                              np.broadcast_to(log_odds_against, units), refractory, overlap=overlap)
    return UnitSpikes(templates, *match_pieces(matcher, signal, thorough))


def match_pieces(matcher: TemplateMatcher, signal: np.ndarray, thorough: bool) -> MatchedSpikes:
    """The spikes of a long signal, found piece by piece: spikes far from each other do not interact.

    Each piece is searched with a margin on both sides and keeps the spikes that start in it. So the memory of the
    search is that of a piece, and what it does stays in the cache.
    """
    margin, parts = MARGIN_KERNELS * len(matcher.kernel), []
    latest = np.full(matcher.kernel.shape[2], -matcher.refractory)
    firsts = range(0, max(len(signal) - len(matcher.kernel) + 1, 1), PIECE_SAMPLES)

    def search(first: int) -> MatchedSpikes:
        low, high = max(0, first - margin), first + PIECE_SAMPLES + margin + len(matcher.kernel) - 1
        found = matcher.find(signal[low:high], thorough=thorough)
        return found._replace(start_sample=found.start_sample + low)

    workers = min(_WORKERS.get(), len(firsts), _MOST_WORKERS)
    with one_thread_each(workers):
        for first, found in zip(firsts, ordered_thread_map(search, firsts, workers), strict=True):
            start = found.start_sample
            # Two pieces may place one spike on both sides of their border.
            inside = (start >= first) & (start < first + PIECE_SAMPLES)
            inside &= start - latest[found.unit_id] >= matcher.refractory
            parts.append(MatchedSpikes(start[inside], found.unit_id[inside], found.code_amplitude[inside]))
            np.maximum.at(latest, found.unit_id[inside], start[inside])
    return MatchedSpikes(*map(np.concatenate, zip(*parts, strict=True)))


def select_units(spikes: UnitSpikes, rows: np.ndarray) -> UnitSpikes:
    """The templates and spikes of the units ``rows`` (ascending); they become units 0, 1, ..."""
    selected = np.isin(spikes.unit_id, rows)
    return UnitSpikes(spikes.templates[rows], spikes.start_sample[selected],
                         np.searchsorted(rows, spikes.unit_id[selected]), spikes.code_amplitude[selected])


def residual(signal: np.ndarray, spikes: UnitSpikes) -> np.ndarray:
    """The signal minus all spikes."""
    rest, filters, kernel_size = signal.copy(), _filters(spikes.templates), spikes.templates.shape[1]
    if can_compile():
        # Imported where it is used: numba takes half a second to import.
        from keras_crsae.applications.spike_sorting.compiled_waveforms import subtract_spikes

        subtract_spikes(rest, filters, spikes.start_sample, spikes.unit_id, spikes.code_amplitude)
        return rest
    for start, unit, amplitude in zip(spikes.start_sample, spikes.unit_id, spikes.code_amplitude, strict=True):
        rest[start:start + kernel_size] -= np.float32(amplitude) * filters[unit]
    return rest


def sum_waveforms(signal: np.ndarray, start: np.ndarray, group: np.ndarray, groups: int, kernel_size: int
                  ) -> np.ndarray:
    """Sums of the waveforms of each group of spikes, float64 (groups, kernel_size, channels).

    Args:
        signal: (time, channels).
        start: (spikes,), where the waveforms begin.
        group: (spikes,), which group each belongs to.
        groups: how many there are.
        kernel_size: samples of a waveform.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.matching import sum_waveforms
        >>> sum_waveforms(np.arange(5.0)[:, None], np.array([0, 3]), np.array([0, 0]), 1, 2)[0, :, 0].tolist()
        [3.0, 5.0]
    """
    out = np.zeros((groups, kernel_size, signal.shape[1]))
    if can_compile():
        from keras_crsae.applications.spike_sorting.compiled_waveforms import add_waveforms

        add_waveforms(out, signal, start, group)
        return out
    for begin, row in zip(start, group, strict=True):
        out[row] += signal[begin:begin + kernel_size]
    return out


def mean_waveforms(rest: np.ndarray, spikes: UnitSpikes) -> np.ndarray:
    """Mean waveform of each unit's spikes, every other spike subtracted, float32 (units, kernel_size, channels).

    No waveform is copied: it takes little memory, also on wide probes. A unit without spikes keeps its template.

    Args:
        rest: residual of the signal.
        spikes: what was subtracted in ``rest``.
    """
    units, counts = len(spikes.templates), spikes.counts[:, None, None]
    total = sum_waveforms(rest, spikes.start_sample, spikes.unit_id, units, spikes.templates.shape[1])
    amplitude = np.bincount(spikes.unit_id, spikes.code_amplitude, minlength=units)
    total += amplitude[:, None, None] * _filters(spikes.templates)
    return np.where(counts > 0, total / np.maximum(counts, 1), spikes.templates).astype(np.float32)


def _filters(templates: np.ndarray) -> np.ndarray:
    """Unit-norm filters, float32 (units, kernel_size, channels), one after the other in memory."""
    return np.ascontiguousarray(np.moveaxis(as_kernel(templates), -1, 0))


def subtract_others(rest: np.ndarray, spikes: UnitSpikes, unit: int, shift: float = 0.0, minimum_norm: float = 0.0,
                    *, channels: np.ndarray | None = None, rows: np.ndarray | None = None) -> np.ndarray:
    """Waveforms of a unit's spikes with every other spike subtracted, (spikes, kernel_size, channels).

    Args:
        rest: residual of the signal.
        spikes: what was subtracted in ``rest``.
        unit: row of ``spikes.templates``.
        shift: samples, whole or not, by which the waveforms begin after the template's start; spikes whose waveform
            would then pass the ends of the signal are omitted.
        minimum_norm: spikes of smaller templates are not subtracted. Where a large spike differs from its template,
            small ones are matched to the difference: with those subtracted, it would look more like its template than
            it is.
        channels: None, or which channels the waveforms have, ascending.
        rows: None, or which of the unit's spikes.
    """
    whole = math.floor(shift)
    kernel_size = spikes.templates.shape[1]
    span = kernel_size + (shift != whole)  # a fraction needs one sample more
    of_unit = np.flatnonzero(spikes.unit_id == unit)
    of_unit = of_unit if rows is None else of_unit[rows]
    start, amplitude = spikes.start_sample[of_unit] + whole, spikes.code_amplitude[of_unit]
    inside = (start >= 0) & (start + span <= len(rest))
    some = slice(None) if channels is None else channels
    filter_ = _filters(spikes.templates[unit:unit + 1])[0][:, some]
    shifted = np.zeros((span, filter_.shape[1]), np.float32)
    low, high = max(0, -whole), min(span, kernel_size - whole)
    shifted[low:high] = filter_[low + whole:high + whole]
    waves = waveforms(rest, start[inside], span, channels)
    waves += amplitude[inside, None, None].astype(np.float32) * shifted
    small = np.zeros(0, np.int64)
    if minimum_norm > 0:
        small = np.setdiff1d(np.flatnonzero(template_norms(spikes.templates) < minimum_norm), unit)
    if len(small):
        _add_spikes(waves, start[inside], select_units(spikes, small), some)
    return waves if span == kernel_size else np.matmul(_fraction_later(span, shift - whole), waves)


@functools.lru_cache(maxsize=16)
def _fraction_later(span: int, fraction: float) -> np.ndarray:
    """float32 (span - 1, span), which gives waveforms a fraction of a sample after their start.

    By Fourier series, padded against wrap-around: as a matrix it costs a tenth of transforming every waveform.
    """
    points = 2 * span
    phase = np.exp(2j * np.pi * np.fft.rfftfreq(points) * fraction)
    return np.fft.irfft(np.fft.rfft(np.eye(span), points, axis=0) * phase[:, None], points,
                        axis=0)[:span - 1].astype(np.float32)


def _add_spikes(waves: np.ndarray, start: np.ndarray, spikes: UnitSpikes, channels: np.ndarray | slice) -> None:
    """Add spikes to the waveforms (spikes, span, channels) that begin at ``start``, in place."""
    span, kernel_size, filters = waves.shape[1], spikes.templates.shape[1], _filters(spikes.templates)[:, :, channels]
    first = np.searchsorted(spikes.start_sample, start - kernel_size, side="right")
    last = np.searchsorted(spikes.start_sample, start + span)
    for wave, begin, i, j in zip(waves, start, first, last, strict=True):
        for k in range(i, j):
            low = int(spikes.start_sample[k] - begin)
            left, right = max(0, low), min(span, low + kernel_size)
            part = filters[spikes.unit_id[k], left - low:right - low]
            wave[left:right] += np.float32(spikes.code_amplitude[k]) * part
