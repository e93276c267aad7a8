"""Template matching: the most probable spikes of a whitened signal (NumPy).

A sparse code is the convex relaxation: it finds where filters are active, but splits a spike over neighbouring
positions and similar filters, and shrinks it. Here the spikes are the most probable ones under

    x = sum_i a_i d_{u_i}(t - t_i) + v,   v ~ N(0, 1),   a_i ~ N(m_u, (c_u m_u)^2)

with prior odds for each spike at one position, and no two spikes of a unit within its refractory time. The search
starts from the code's local maxima and changes one spike, or two, at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from crsae_onnx.core.compiled import can_compile
from crsae_onnx.core.spikes.correlations import Correlator, gram, pooled_peaks
from crsae_onnx.core.spikes.search_arrays import flat_model, limits
from crsae_onnx.core.spikes.spike_search import AmplitudeModel, MatchingParameters, SpikeSearch
from crsae_onnx.core.typing import Array, FloatArray, IntArray


class MatchedSpikes(NamedTuple):
    """Spikes of a signal, in order of ``start_sample``."""

    start_sample: IntArray  #: where the filter starts
    unit_id: IntArray  #: row of the filters
    code_amplitude: Array  #: float64, amplitude of the unit-norm filter


class TemplateMatcher:
    """Finds the most probable spikes of a whitened signal.

    Args:
        kernel: (kernel_size, channels, units), unit-norm filters.
        mean_amplitude: (units,), mean amplitude of a unit's spikes, in noise standard deviations.
        amplitude_cv: (units,), their coefficient of variation: standard deviation over mean.
        log_odds_against: (units,), logarithm of the prior odds against a spike at one position, about
            log(sampling frequency / firing rate).
        refractory: positions; spikes of a unit keep at least this distance.
        parameters: ``MatchingParameters`` of the search.
        penalty_weight: None, or (units,), weights of the l1 norm: where no code is given, the search starts from the
            code of ``sparse_code`` with these, if it is compiled.
        overlap: None, or ``gram(kernel)``, where it is known.
        compiled: whether numba compiles the search, with the same result; None: where it is installed.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.template_matching import TemplateMatcher
        >>> kernel = np.hanning(9)[:, None, None] / np.linalg.norm(np.hanning(9))
        >>> matcher = TemplateMatcher(kernel, [9.0], [0.1], [7.0], refractory=5)
        >>> signal = np.zeros((60, 1), np.float32); signal[20:29] = 9 * kernel[:, 0]
        >>> matcher.find(signal).start_sample.tolist()
        [20]
    """

    def __init__(self, kernel: Any, mean_amplitude: Any, amplitude_cv: Any, log_odds_against: Any, refractory: int,
                 parameters: MatchingParameters | None = None, *, penalty_weight: Any = None,
                 overlap: FloatArray | None = None, compiled: bool | None = None) -> None:
        self.kernel = np.ascontiguousarray(kernel, np.float32)
        self.mean_amplitude = np.asarray(mean_amplitude, np.float64)
        self.refractory = int(refractory)
        self.parameters = MatchingParameters() if parameters is None else parameters
        overlap = gram(self.kernel) if overlap is None else overlap
        self._model = AmplitudeModel.from_prior(overlap, self.mean_amplitude, np.asarray(amplitude_cv, np.float64),
                                                np.asarray(log_odds_against))
        self._correlate = Correlator(self.kernel)
        self.compiled = can_compile() if compiled is None else bool(compiled)
        self._flat = flat_model(self._model) if self.compiled else None
        self.penalty_weight = None if penalty_weight is None else np.array(penalty_weight, np.float64)

    @property
    def makes_codes(self) -> bool:
        """Whether the search computes the code that it starts from: no other is needed."""
        return self.compiled and self.penalty_weight is not None

    def find(self, signal: Array, code: Array | None = None, thorough: bool = True) -> MatchedSpikes:
        """The spikes of a signal.

        Args:
            signal: (time, channels), whitened: noise of variance 1, independent over samples and channels.
            code: None, or non-negative (positions, units) to start from.
            thorough: also look at distant pairs, and try two spikes in place of each one. Right for known units; while
                units are being learned it lets sums of two take the place of a third.
        """
        correlation = self._correlate(signal)
        if self._flat is None:
            return self._search(correlation, self._first_spikes(code), thorough)
        # Imported where they are used: numba takes half a second to import.
        from crsae_onnx.core.spikes.compiled_search import search_spikes
        from crsae_onnx.core.spikes.coordinate_descent import sparse_code

        if code is None and self.penalty_weight is not None:
            code = sparse_code(correlation, self._flat, self.penalty_weight)
        return MatchedSpikes(*search_spikes(
            self._flat, correlation, self._first_spikes(code),
            limits(self.parameters, len(self.kernel), self.refractory, thorough)))

    def _first_spikes(self, code: Array | None) -> tuple[IntArray, IntArray, Array]:
        """(start, unit, amplitude) of the local maxima of a code."""
        if code is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        return pooled_peaks(np.asarray(code), self.parameters.candidate_fraction * self.mean_amplitude)

    def _search(self, correlation: FloatArray, first: tuple[IntArray, IntArray, Array], thorough: bool
                ) -> MatchedSpikes:
        """The search in NumPy, which starts from the spikes ``first``."""
        known = self.parameters
        search = SpikeSearch(self._model, correlation, self.refractory, known)
        for start, unit, amplitude in zip(*first, strict=True):
            search.add(start, unit, amplitude)
        for sweep in range(known.sweeps if thorough else known.quick_sweeps):
            changed = search.move_each()
            changed += search.add_missed()
            near = known.pair_fraction if thorough else known.quick_pair_fraction
            changed += search.move_pairs(near * len(self.kernel))
            # Trying all pairs is expensive: the greedy moves come first.
            if thorough and (sweep or not changed):
                changed += search.try_pairs()
            if not changed:
                break
        return MatchedSpikes(np.array(search.start, np.int64), np.array(search.unit, np.int64),
                             np.array(search.amplitude, np.float64))
