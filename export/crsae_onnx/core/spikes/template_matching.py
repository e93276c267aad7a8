"""From sparse code to spikes: which spikes explain a whitened signal best (NumPy).

The code is the convex relaxation: it finds where filters are active, but splits a spike over neighbouring positions
and similar filters, and shrinks it. Here the spikes are the most probable ones under

    x = sum_i a_i d_{u_i}(t - t_i) + v,   v ~ N(0, 1),   a_i ~ N(amplitude_u, (spread_u amplitude_u)^2)

with a cost for each spike (minus the logarithm of its prior odds at one position) and no two spikes of a unit within
its refractory time. The search starts from the code's local maxima and moves one spike, or one pair, at a time.
"""

import bisect

import numpy as np

from crsae_onnx.core.spikes.pair_search import best_pair

#: Code values within so many positions on each side belong to one spike between two samples.
POOL = 2
#: Share of a unit's amplitude that pooled code must reach for a candidate. Far below 1, since lambda shrinks codes; but
#: a start with too many spikes leaves the search in a worse optimum than one with too few.
CANDIDATE = 0.3
#: Samples that a spike may move in one step.
REACH = 3
#: Shares of a kernel: pairs closer than this are looked at together; two spikes are tried in place of one within this
#: much of it.
PAIR, SPLIT = 0.5, 0.2
#: The same of pairs, where the search is not thorough.
_NEAR = 0.25
#: Units of which exact pairs are made, the best by themselves at the place.
_UNITS = 6
_SWEEPS, _FEW_SWEEPS = 8, 3
#: Points of a Fourier transform at least, and blocks that are transformed together.
_POINTS, _BLOCKS = 1024, 32
#: A gain must pass the rounding of sums, or the search would go round in circles.
_ROUNDING = 1e-3
_FORBIDDEN = -1e9


def correlate(signal, kernel):
    """Correlation of every filter with a signal at every position, float32 (filters, positions).

    By Fourier transforms of overlapping blocks: 3 times faster than matrix products on one channel, 15 times on 32.

    Args:
        signal: float32 (time, channels).
        kernel: float32 (kernel_size, channels, filters).

    Example:
        >>> correlate(np.ones((5, 1), np.float32), np.ones((3, 1, 2), np.float32)).shape
        (2, 3)
    """
    size, _, filters = kernel.shape
    positions = len(signal) - size + 1
    points = max(_POINTS, 1 << (4 * size - 1).bit_length())
    step = points - size + 1
    spectrum = np.fft.rfft(np.asarray(kernel, np.float32), points, axis=0).conj().astype(np.complex64)
    columns = np.ascontiguousarray(np.asarray(signal).T, np.float32)
    out = np.empty((filters, positions), np.float32)
    for start in range(0, positions, step * _BLOCKS):
        count = min(_BLOCKS, -(-(positions - start) // step))
        piece = columns[:, start:start + (count - 1) * step + points]
        piece = np.pad(piece, ((0, 0), (0, (count - 1) * step + points - piece.shape[1])))
        blocks = np.lib.stride_tricks.sliding_window_view(piece, points, axis=1)[:, ::step]
        made = np.fft.rfft(blocks, axis=2).astype(np.complex64, copy=False).transpose(2, 1, 0) @ spectrum
        block = np.fft.irfft(made.transpose(2, 1, 0), points, axis=2)[:, :, :step].reshape(filters, -1)
        out[:, start:start + count * step] = block[:, :positions - start]
    return out


def gram(kernel):
    """Correlations between filters, float32 (filters, filters, 2 kernel_size - 1).

    Entry [u, v, kernel_size - 1 + lag] is what a spike of u with amplitude 1 at position t adds to the correlation of
    v at position t + lag.

    Example:
        >>> gram(np.ones((2, 1, 1), np.float32))[0, 0].tolist()
        [1.0, 2.0, 1.0]
    """
    size, _, filters = kernel.shape
    points = 1 << (2 * size - 1).bit_length()
    spectrum = np.fft.rfft(kernel.astype(np.float64), points, axis=0)
    out = np.empty((filters, filters, 2 * size - 1), np.float32)
    for u in range(filters):
        product = (spectrum[:, :, u, None] * spectrum.conj()).sum(1)
        lags = np.fft.irfft(product, points, axis=0)
        out[u] = np.concatenate([lags[-(size - 1):] if size > 1 else lags[:0], lags[:size]]).T
    return out


def pooled_maxima(code, least):
    """Candidates (position, unit, amplitude) of a code: local maxima of its sum over +-POOL positions.

    Args:
        code: non-negative (positions, filters).
        least: (filters,), smallest amplitude of a candidate.

    Example:
        >>> code = np.zeros((9, 1), np.float32); code[3:5] = 2
        >>> [a.tolist() for a in pooled_maxima(code, np.array([1.0]))]
        [[3], [0], [4.0]]
    """
    positions, filters = code.shape
    found = []
    for u in range(filters):
        active = np.flatnonzero(code[:, u])
        if not len(active):
            continue
        near = np.unique((active[:, None] + np.arange(-POOL, POOL + 1)).ravel())
        near = near[(near >= 0) & (near < positions)]
        padded = np.pad(code[:, u], POOL + 1)
        steps = np.arange(2 * POOL + 1)
        pooled = padded[near[:, None] + 1 + steps].sum(1)
        before, after = padded[near[:, None] + steps].sum(1), padded[near[:, None] + 2 + steps].sum(1)
        # A flat top is one spike: its middle, by the code's own larger value, then the first.
        keep = (pooled > least[u]) & (pooled >= before) & (pooled >= after)
        runs = np.split(np.flatnonzero(keep), np.flatnonzero(np.diff(near[keep]) > 1) + 1)
        for run in runs:
            if len(run):
                best = run[np.argmax(code[near[run], u])]
                found.append((int(near[best]), u, float(pooled[best])))
    found.sort()
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    position, unit, amplitude = zip(*found, strict=True)
    return np.array(position, np.int64), np.array(unit, np.int64), np.array(amplitude)


class Matcher:
    """Finds the most probable spikes of a whitened signal.

    Args:
        kernel: (kernel_size, channels, units), unit-norm filters.
        amplitude: (units,), mean amplitude of a unit's spikes, in noise standard deviations.
        spread: (units,), their standard deviation as a share of it.
        cost: (units,), log odds against a spike at one position, about log(sampling frequency / rate).
        refractory: positions; spikes of a unit keep at least this distance.

    Example:
        >>> matcher = Matcher(kernel, amplitude=[9.0, 12.0], spread=[0.1, 0.1], cost=[7.0, 7.0], refractory=30)
        >>> position, unit, amplitude = matcher.find(signal, code)
    """

    def __init__(self, kernel, amplitude, spread, cost, refractory):
        self.kernel = np.ascontiguousarray(kernel, np.float32)
        self.size, _, self.units = self.kernel.shape
        self.amplitude = np.asarray(amplitude, np.float64)
        variance = np.square(np.asarray(spread, np.float64) * self.amplitude)
        self._gram = gram(self.kernel)
        # Gain of a spike of amplitude a on correlation c: c a - a^2 / 2 - (a - mean)^2 / (2 variance) - constant.
        self._slope = (self.amplitude / variance)[:, None]
        self._curve = (1 + 1 / variance)[:, None]
        self._constant = (0.5 * self.amplitude**2 / variance + np.asarray(cost) + 0.5 * np.log1p(variance))[:, None]
        # The correlation from which a spike gains.
        pays = np.sqrt(2 * self._curve * np.maximum(self._constant, 0)) - self._slope
        self._least = np.where(self._constant > 0, pays, -np.inf).astype(np.float32)
        self.refractory = int(refractory)

    def find(self, signal, code=None, thorough=True):
        """(position, unit, amplitude) of the spikes, by position.

        Args:
            signal: (time, channels), whitened: noise of variance 1, independent over samples and channels.
            code: None, or non-negative (positions, units) to start from.
            thorough: also look at distant pairs, and try two spikes in place of each one. Right for known units; while
                units are being found it lets sums of two take the place of a third.

        Returns:
            int64, int64 and float64 arrays; ``position`` is where the filter starts.
        """
        search = _Search(self, correlate(signal, self.kernel))
        if code is not None:
            for spike in zip(*pooled_maxima(np.asarray(code), CANDIDATE * self.amplitude), strict=True):
                search.add(*spike)
        for sweep in range(_SWEEPS if thorough else _FEW_SWEEPS):
            changed = search.move_each()
            changed += search.add_missed()
            changed += search.move_pairs((PAIR if thorough else _NEAR) * self.size)
            # Exact pairs are dear: the greedy moves come first.
            if thorough and (sweep or not changed):
                changed += search.exact_pairs()
            if not changed:
                break
        return np.array(search.at, np.int64), np.array(search.unit, np.int64), np.array(search.height, np.float64)


class _Search:
    """The spikes so far, sorted by position, and every unit's correlation with what they leave unexplained."""

    def __init__(self, matcher, correlation):
        self.model, self.correlation, self.positions = matcher, correlation, correlation.shape[1]
        self.at, self.unit, self.height = [], [], []
        self._settled = set()  # spikes and their surroundings that exact pairs did not better

    def _subtract(self, at, unit, height):
        reach = self.model.size - 1
        low, high = max(0, at - reach), min(self.positions, at + reach + 1)
        self.correlation[:, low:high] -= height * self.model._gram[unit][:, low - at + reach:high - at + reach]

    def add(self, at, unit, height):
        i = bisect.bisect(self.at, at)
        self.at.insert(i, int(at))
        self.unit.insert(i, int(unit))
        self.height.insert(i, float(height))
        self._subtract(int(at), int(unit), float(height))
        return i

    def pop(self, i):
        spike = self.at.pop(i), self.unit.pop(i), self.height.pop(i)
        self._subtract(spike[0], spike[1], -spike[2])
        return spike

    def discard(self, spike):
        i = bisect.bisect_left(self.at, spike[0])
        while (self.at[i], self.unit[i], self.height[i]) != spike:
            i += 1
        self.pop(i)

    def gain(self, at, unit, height):
        """What this spike, not among the present ones, would add to the log posterior."""
        model = self.model
        return float(height * (self.correlation[unit, at] + model._slope[unit, 0])
                     - 0.5 * model._curve[unit, 0] * height**2 - model._constant[unit, 0])

    def _gains(self, low, high):
        """(low, gains, pulls) of an additional spike of each unit at each start in [low, high), cut to the signal."""
        model, low, high = self.model, max(0, low), min(self.positions, high)
        pull = np.maximum(self.correlation[:, low:high] + model._slope, 0)
        gains = pull * pull * (0.5 / model._curve) - model._constant
        dead = model.refractory
        i = bisect.bisect_left(self.at, low - dead + 1)
        while i < len(self.at) and self.at[i] < high + dead - 1:
            gains[self.unit[i], max(0, self.at[i] - dead + 1 - low):max(0, self.at[i] + dead - low)] = _FORBIDDEN
            i += 1
        return low, gains, pull

    def best(self, low, high):
        """(gain, spike) of the best additional spike that starts in [low, high)."""
        low, gains, pull = self._gains(low, high)
        unit, at = divmod(int(gains.argmax()), gains.shape[1])
        return float(gains[unit, at]), (at + low, unit, float(pull[unit, at] / self.model._curve[unit, 0]))

    def best_two(self, low, high):
        """(gain, [spike, spike]) of the best two additional spikes that start in [low, high)."""
        model = self.model
        low, gains, pull = self._gains(low, high)
        pull[gains == _FORBIDDEN] = 0
        units = np.sort(np.argsort(-gains.max(axis=1), kind="stable")[:_UNITS])
        reach, wide = pull.shape[1] - 1, model.size - 1
        overlap = model._gram[units[:, None], units][:, :, max(0, wide - reach):wide + reach + 1]
        if reach > wide:  # spikes further apart than a kernel do not overlap
            overlap = np.pad(overlap, ((0, 0), (0, 0), (reach - wide, reach - wide)))
        gain, two = best_pair(pull[units], model._curve[units, 0], model._constant[units, 0], overlap,
                              model.refractory)
        return gain, [(at + low, int(units[u]), height) for u, at, height in two]

    def move_each(self):
        """Take each spike out and put the best one near it back, where one pays."""
        changed = i = 0
        while i < len(self.at):
            old = self.pop(i)
            gain, new = self.best(old[0] - REACH, old[0] + REACH + 1)
            changed += gain <= 0 or new[:2] != old[:2]
            if gain > 0:
                i = max(i, self.add(*new)) + 1
        return changed

    def add_missed(self):
        """Add spikes wherever one pays, the best first."""
        model = self.model
        # One comparison over the signal; gains are computed where one is positive.
        places, changed = np.flatnonzero((self.correlation > model._least).any(axis=0)), 0
        pull = np.maximum(self.correlation[:, places] + model._slope, 0)
        gains = (pull * pull * (0.5 / model._curve) - model._constant).max(axis=0, initial=_FORBIDDEN)
        for at in places[np.argsort(-gains, kind="stable")]:
            gain, spike = self.best(at, at + 1)
            if gain > 0:
                self.add(*spike)
                changed += 1
        return changed

    def move_pairs(self, near):
        """Replace two spikes at most ``near`` positions apart by the best one, or the best two, where that pays more.

        Two small spikes that together imitate a large one are a minimum that no single move leaves.
        """
        changed = i = 0
        while i + 1 < len(self.at):
            j = i + 1
            while j < len(self.at) and self.at[j] - self.at[i] <= near:
                second = self.pop(j)
                old = self.gain(*second)
                first = self.pop(i)
                old += self.gain(*first)
                low, high = first[0] - REACH, second[0] + REACH + 1
                made, new = [], 0.0
                for _ in range(2):
                    gain, spike = self.best(low, high)
                    if gain <= 0:
                        break
                    self.add(*spike)
                    made.append(spike)
                    new += gain
                if new > old + _ROUNDING:
                    changed += 1
                    break
                for spike in made:
                    self.discard(spike)
                self.add(*first)
                self.add(*second)
                j += 1
            i += 1
        return changed

    def exact_pairs(self):
        """Replace each spike, and each two neighbours, by the best one or two in their place where that pays more.

        What no greedy move finds: two that overlap and together look like another unit, or like each other exchanged.
        """
        size, changed, i = self.model.size, 0, 0
        alone, near = max(REACH, round(SPLIT * size)), PAIR * size
        while i < len(self.at):
            changed += self._replace(i, 1, alone)
            i += 1
        i = 0
        while i + 1 < len(self.at):
            if self.at[i + 1] - self.at[i] <= near:
                changed += self._replace(i, 2, REACH)
            i += 1
        return changed

    def _replace(self, i, members, reach):
        """Whether something better stands in the place of spikes [i, i + members)."""
        low, high = self.at[i] - reach, self.at[i + members - 1] + reach + 1
        first = bisect.bisect_left(self.at, low - self.model.size)
        last = bisect.bisect_right(self.at, high + self.model.size)
        around = members, i - first, tuple(self.at[first:last]), tuple(self.unit[first:last])
        if around in self._settled:
            return False
        old, least = [], _ROUNDING
        for j in range(members):
            old.append(self.pop(i + members - 1 - j))
            least += self.gain(*old[-1])
        new = None
        gain, spike = self.best(low, high)
        if gain > least:
            least, new = gain, [spike]
        gain, spikes = self.best_two(low, high)
        if gain > least:
            new = spikes
        for spike in old if new is None else new:
            self.add(*spike)
        if new is None:
            self._settled.add(around)
        return new is not None
