"""The search of template matching: one or two spikes are changed at a time while the posterior grows (NumPy)."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from crsae_onnx.core.spikes.pair_search import best_pair
from crsae_onnx.core.typing import Array, FloatArray

#: (start, unit, amplitude)
Spike: TypeAlias = tuple[int, int, float]

#: A gain must pass the rounding of sums, or the search would go round in circles: at least so much, and such a fraction
#: of what the spikes that are replaced had gained, since correlations with large spikes are rounded to more.
ROUNDING, ROUNDING_FRACTION = 1e-3, 2e-6
_FORBIDDEN = -1e9


@dataclass(frozen=True)
class MatchingParameters:
    """Tuning of the search.

    Attributes:
        candidate_fraction: of a unit's mean amplitude that pooled code must reach for a candidate. Far below 1, since
            lambda shrinks codes; but a start with too many spikes leaves the search in a worse optimum than one with
            too few.
        step_samples: that a spike may move in one step.
        pair_fraction: of the kernel; spikes closer than this are changed together.
        split_fraction: of the kernel; two spikes are tried in place of one within this distance of it.
        pair_units: of which all pairs are tried, the best by themselves at the position.
        sweeps: over all spikes, at most.
        quick_pair_fraction, quick_sweeps: the same where the search is not thorough.
    """

    candidate_fraction: float = 0.3
    step_samples: int = 3
    pair_fraction: float = 0.5
    split_fraction: float = 0.2
    pair_units: int = 6
    sweeps: int = 8
    quick_pair_fraction: float = 0.25
    quick_sweeps: int = 3


@dataclass(frozen=True)
class AmplitudeModel:
    """Log posterior of one spike as a function of its amplitude a: (c + mean_term) a - quadratic a^2 / 2 - constant.

    c is the correlation of the unit's filter with what the other spikes leave of the signal. With the prior
    a ~ N(m, s^2) this is ``c a - a^2 / 2 - (a - m)^2 / (2 s^2)`` minus the log odds against a spike, and minus
    log(1 + s^2) / 2 from integrating over the amplitude. All fields but ``gram`` have shape (units, 1).
    """

    gram: FloatArray
    mean_term: Array
    quadratic: Array
    constant: Array
    min_correlation: FloatArray

    @classmethod
    def from_prior(cls, gram: FloatArray, mean: Array, cv: Array, log_odds_against: Array) -> AmplitudeModel:
        """From means and coefficients of variation (units,) of the amplitudes, and the log odds against a spike."""
        variance = np.square(cv * mean)
        mean_term = (mean / variance)[:, None]
        quadratic = (1 + 1 / variance)[:, None]
        constant = (0.5 * mean**2 / variance + log_odds_against + 0.5 * np.log1p(variance))[:, None]
        # The correlation from which a spike increases the posterior.
        least = np.sqrt(2 * quadratic * np.maximum(constant, 0)) - mean_term
        return cls(gram, mean_term, quadratic, constant, np.where(constant > 0, least, -np.inf).astype(np.float32))


class SpikeSearch:
    """The spikes so far, sorted by start, and every unit's correlation with what they leave of the signal.

    Args:
        model: ``AmplitudeModel``.
        correlation: (units, positions), of the filters with the signal; changed in place.
        refractory: positions; spikes of a unit keep at least this distance.
        parameters: ``MatchingParameters``.
    """

    def __init__(self, model: AmplitudeModel, correlation: Array, refractory: int,
                 parameters: MatchingParameters) -> None:
        self.model, self.correlation, self.positions = model, correlation, correlation.shape[1]
        self.refractory, self.parameters = refractory, parameters
        self.size = (model.gram.shape[2] + 1) // 2
        self._overlap: Array = np.any(model.gram, axis=2, keepdims=True)[:, :, 0] | np.eye(len(model.gram), dtype=bool)
        #: Units that each one overlaps; the correlations of others it leaves as they are.
        self._overlapping = [np.flatnonzero(row) for row in self._overlap]
        self.start: list[int] = []
        self.unit: list[int] = []
        self.amplitude: list[float] = []
        #: Spikes and their surroundings that trying all pairs did not improve.
        self._settled: set[tuple[int, int, tuple[int, ...], tuple[int, ...]]] = set()

    def _near(self, units: list[int]) -> Array:
        """Units that overlap some of these, ascending: what their spikes may be exchanged for."""
        return np.flatnonzero(self._overlap[units].sum(axis=0))

    def _subtract(self, start: int, unit: int, amplitude: float) -> None:
        first = start - self.size + 1
        low, high = max(0, first), min(self.positions, start + self.size)
        some = self._overlapping[unit]
        self.correlation[some, low:high] -= amplitude * self.model.gram[unit, some, low - first:high - first]

    def add(self, start: int, unit: int, amplitude: float) -> int:
        """Add a spike; its index."""
        i = bisect.bisect(self.start, start)
        self.start.insert(i, int(start))
        self.unit.insert(i, int(unit))
        self.amplitude.insert(i, float(amplitude))
        self._subtract(int(start), int(unit), float(amplitude))
        return i

    def pop(self, i: int) -> Spike:
        """Remove and return spike ``i``."""
        spike = self.start.pop(i), self.unit.pop(i), self.amplitude.pop(i)
        self._subtract(spike[0], spike[1], -spike[2])
        return spike

    def discard(self, spike: Spike) -> None:
        """Remove this spike."""
        i = bisect.bisect_left(self.start, spike[0])
        while (self.start[i], self.unit[i], self.amplitude[i]) != spike:
            i += 1
        self.pop(i)

    def gain(self, start: int, unit: int, amplitude: float) -> float:
        """What this spike, not among the present ones, would add to the log posterior."""
        model = self.model
        return float(amplitude * (self.correlation[unit, start] + model.mean_term[unit, 0])
                     - 0.5 * model.quadratic[unit, 0] * amplitude**2 - model.constant[unit, 0])

    def _gains(self, low: int, high: int, near: Array) -> tuple[int, Array, Array]:
        """(low, gains, linear coefficients) of another spike of each unit in ``near`` at each start in [low, high)."""
        model, low, high = self.model, max(0, low), min(self.positions, high)
        linear = np.maximum(self.correlation[near, low:high] + model.mean_term[near], 0)
        gains = linear * linear * (0.5 / model.quadratic[near]) - model.constant[near]
        dead = self.refractory
        i = bisect.bisect_left(self.start, low - dead + 1)
        while i < len(self.start) and self.start[i] < high + dead - 1:
            row = np.flatnonzero(near == self.unit[i])
            gains[row, max(0, self.start[i] - dead + 1 - low):max(0, self.start[i] + dead - low)] = _FORBIDDEN
            i += 1
        return low, gains, linear

    def best(self, low: int, high: int, near: Array | None = None) -> tuple[float, Spike]:
        """(gain, spike) of the best additional spike, of any unit or those in ``near``, that starts in [low, high)."""
        near = np.arange(len(self._overlap)) if near is None else near
        low, gains, linear = self._gains(low, high, near)
        row, at = divmod(int(gains.argmax()), gains.shape[1])
        unit = int(near[row])
        return float(gains[row, at]), (at + low, unit, float(linear[row, at] / self.model.quadratic[unit, 0]))

    def best_two(self, low: int, high: int, near: Array | None = None) -> tuple[float, list[Spike]]:
        """(gain, [spike, spike]) of the best two additional spikes that start in [low, high); as ``best``."""
        model = self.model
        near = np.arange(len(self._overlap)) if near is None else near
        low, gains, linear = self._gains(low, high, near)
        linear[gains == _FORBIDDEN] = 0
        rows = np.sort(np.argsort(-gains.max(axis=1), kind="stable")[:self.parameters.pair_units])
        units = near[rows]
        span, wide = linear.shape[1] - 1, self.size - 1
        overlap = model.gram[units[:, None], units][:, :, max(0, wide - span):wide + span + 1]
        if span > wide:  # spikes further apart than a kernel do not overlap
            overlap = np.pad(overlap, ((0, 0), (0, 0), (span - wide, span - wide)))
        gain, pair = best_pair(linear[rows], model.quadratic[units, 0], model.constant[units, 0], overlap,
                               self.refractory)
        return gain, [(at + low, int(units[u]), amplitude) for u, at, amplitude in pair]

    def move_each(self) -> int:
        """Take each spike out and put the best one near it back, where one gains; the number of changes.

        Of the units that overlap its own: others do not interact with it, on a wide probe most of them.
        """
        changed = i = 0
        step = self.parameters.step_samples
        while i < len(self.start):
            old = self.pop(i)
            gain, new = self.best(old[0] - step, old[0] + step + 1, self._overlapping[old[1]])
            changed += gain <= 0 or new[:2] != old[:2]
            if gain > 0:
                i = max(i, self.add(*new)) + 1
        return changed

    def add_missed(self) -> int:
        """Add spikes wherever one gains, the best first; the number of changes."""
        model, changed = self.model, 0
        # One comparison over the signal; gains are computed where one is positive.
        positions = np.flatnonzero((self.correlation > model.min_correlation).any(axis=0))
        linear = np.maximum(self.correlation[:, positions] + model.mean_term, 0)
        gains = (linear * linear * (0.5 / model.quadratic) - model.constant).max(axis=0, initial=_FORBIDDEN)
        for at in positions[np.argsort(-gains, kind="stable")].tolist():
            gain, spike = self.best(at, at + 1)
            if gain > 0:
                self.add(*spike)
                changed += 1
        return changed

    def move_pairs(self, near: float) -> int:
        """Replace two spikes at most ``near`` positions apart by the best one, or the best two, where that gains more.

        Units that share no channel do not interact: they are left to the single moves.
        Two small spikes that together imitate a large one are a minimum that no single move leaves. Returns the number
        of changes.
        """
        changed = i = 0
        while i + 1 < len(self.start):
            j = i + 1
            while j < len(self.start) and self.start[j] - self.start[i] <= near:
                if self._overlap[self.unit[i], self.unit[j]] and self._move_pair(i, j):
                    changed += 1
                    break
                j += 1
            i += 1
        return changed

    def _move_pair(self, i: int, j: int) -> bool:
        """Whether spikes i < j were replaced by better ones."""
        second = self.pop(j)
        old = self.gain(*second)
        first = self.pop(i)
        old += self.gain(*first)
        step, near = self.parameters.step_samples, self._near([first[1], second[1]])
        added: list[Spike] = []
        new = 0.0
        for _ in range(2):
            gain, spike = self.best(first[0] - step, second[0] + step + 1, near)
            if gain <= 0:
                break
            self.add(*spike)
            added.append(spike)
            new += gain
        if new > old + max(ROUNDING, ROUNDING_FRACTION * abs(old)):
            return True
        for spike in added:
            self.discard(spike)
        self.add(*first)
        self.add(*second)
        return False

    def try_pairs(self) -> int:
        """Replace each spike, and each two neighbours that overlap, by the best one or two where that gains more.

        What no greedy move finds: two that overlap and together look like another unit, or like each other exchanged.
        Returns the number of changes.
        """
        known, changed, i = self.parameters, 0, 0
        alone, near = max(known.step_samples, round(known.split_fraction * self.size)), known.pair_fraction * self.size
        while i < len(self.start):
            changed += self._replace(i, 1, alone)
            i += 1
        i = 0
        while i + 1 < len(self.start):
            overlap = self._overlap[self.unit[i], self.unit[i + 1]]
            if overlap and self.start[i + 1] - self.start[i] <= near:
                changed += self._replace(i, 2, known.step_samples)
            i += 1
        return changed

    def _replace(self, i: int, members: int, radius: int) -> bool:
        """Whether something better stands in the place of spikes [i, i + members)."""
        low, high = self.start[i] - radius, self.start[i + members - 1] + radius + 1
        first = bisect.bisect_left(self.start, low - self.size)
        last = bisect.bisect_right(self.start, high + self.size)
        near = self._near(self.unit[i:i + members])
        among = [j for j in range(first, last) if self._overlap[self.unit[j], near].any()]
        around = (members, among.index(i), tuple(self.start[j] for j in among), tuple(self.unit[j] for j in among))
        if around in self._settled:
            return False
        old: list[Spike] = []
        least = 0.0
        for j in range(members):
            old.append(self.pop(i + members - 1 - j))
            least += self.gain(*old[-1])
        least += max(ROUNDING, ROUNDING_FRACTION * abs(least))
        new: list[Spike] | None = None
        gain, spike = self.best(low, high, near)
        if gain > least:
            least, new = gain, [spike]
        gain, spikes = self.best_two(low, high, near)
        if gain > least:
            new = spikes
        for spike in old if new is None else new:
            self.add(*spike)
        if new is None:
            self._settled.add(around)
        return new is not None
