"""The search of ``crsae_onnx.core.spikes.spike_search`` as loops that numba compiles: the same moves in the same order.

``SpikeSearch`` is the reference; it documents each function under the same name. Sums are taken in the same
order and precision, so that both give the same spikes. Pairs of which an upper bound says that they gain too little are
not tried, which changes no result.
"""

# Scalars are NumPy's here, as numba sees them; int and float state their kind.
# pyright: basic, reportReturnType=false, reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import numpy as np

from crsae_onnx.core.compiled import compiled
from crsae_onnx.core.spikes.search_arrays import Limits, Model, State
from crsae_onnx.core.spikes.spike_search import ROUNDING, ROUNDING_FRACTION
from crsae_onnx.core.typing import Array, FloatArray, IntArray

#: Of the table of settled spikes at least; it is kept less than half full.
_TABLE_ENTRIES = 4096
#: Upper bounds are computed in double precision, gains of pairs in single: what rounding may add to these.
_BOUND_MARGIN = 0.05


def search_spikes(model: Model, correlation: FloatArray, first: tuple[IntArray, IntArray, Array], known: Limits
                  ) -> tuple[IntArray, IntArray, Array]:
    """(start, unit, amplitude) of the spikes of a signal, sorted by start.

    Args:
        model: ``flat_model``.
        correlation: float32 (units, positions), of the filters with the signal; changed.
        first: (start, unit, amplitude) of the spikes to begin with.
        known: ``limits``.
    """
    units, positions = correlation.shape
    room = len(first[0]) + units * (positions // max(known.refractory, 1) + 2) + 4
    state = State(correlation, np.zeros(room, np.int64), np.zeros(room, np.int64), np.zeros(room),
                  np.zeros(1, np.int64))
    _search(model, state, *(np.ascontiguousarray(v, t) for v, t in zip(first, (np.int64, np.int64, np.float64),
                                                                       strict=True)), known)
    count = int(state.num_spikes[0])
    return state.start[:count].copy(), state.unit[:count].copy(), state.amplitude[:count].copy()


@compiled
def _subtract(model: Model, state: State, start: int, unit: int, amplitude: float) -> None:
    size = (model.gram.shape[2] + 1) // 2
    before = start - size + 1
    low, high = max(0, before), min(state.correlation.shape[1], start + size)
    single = np.float32(amplitude)
    for n in range(model.first_neighbour[unit], model.first_neighbour[unit + 1]):
        other = model.neighbours[n]
        for t in range(low, high):
            state.correlation[other, t] -= single * model.gram[unit, other, t - before]


@compiled
def _left_of(state: State, start: int) -> int:
    """Number of spikes that start before ``start``."""
    low, high = 0, state.num_spikes[0]
    while low < high:
        middle = (low + high) // 2
        if state.start[middle] < start:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _add(model: Model, state: State, start: int, unit: int, amplitude: float) -> int:
    i, count = _left_of(state, start + 1), state.num_spikes[0]
    for j in range(count, i, -1):
        state.start[j], state.unit[j] = state.start[j - 1], state.unit[j - 1]
        state.amplitude[j] = state.amplitude[j - 1]
    state.start[i], state.unit[i], state.amplitude[i] = start, unit, amplitude
    state.num_spikes[0] = count + 1
    _subtract(model, state, start, unit, amplitude)
    return i


@compiled
def _pop(model: Model, state: State, i: int) -> tuple[int, int, float]:
    start, unit, amplitude = state.start[i], state.unit[i], state.amplitude[i]
    for j in range(i, state.num_spikes[0] - 1):
        state.start[j], state.unit[j] = state.start[j + 1], state.unit[j + 1]
        state.amplitude[j] = state.amplitude[j + 1]
    state.num_spikes[0] -= 1
    _subtract(model, state, start, unit, -amplitude)
    return start, unit, amplitude


@compiled
def _discard(model: Model, state: State, start: int, unit: int, amplitude: float) -> None:
    i = _left_of(state, start)
    while state.start[i] != start or state.unit[i] != unit or state.amplitude[i] != amplitude:
        i += 1
    _pop(model, state, i)


@compiled
def _gain(model: Model, state: State, start: int, unit: int, amplitude: float) -> float:
    return (amplitude * (state.correlation[unit, start] + model.mean_term[unit])
            - 0.5 * model.quadratic[unit] * amplitude**2 - model.constant[unit])


@compiled
def _near(model: Model, one: int, two: int) -> IntArray:
    """Units that overlap one of two, ascending: what their spikes may be exchanged for."""
    out = np.empty(len(model.overlap), np.int64)
    count = 0
    for unit in range(len(out)):
        if model.overlap[one, unit] or model.overlap[two, unit]:
            out[count] = unit
            count += 1
    return out[:count]


@compiled
def _allowed(state: State, low: int, high: int, dead: int, near: IntArray) -> Array:
    """Boolean (units in ``near``, high - low): no spike of the unit is within its refractory time."""
    allowed = np.ones((len(near), high - low), np.bool_)
    i = _left_of(state, low - dead + 1)
    while i < state.num_spikes[0] and state.start[i] < high + dead - 1:
        row = np.searchsorted(near, state.unit[i])
        if row < len(near) and near[row] == state.unit[i]:
            for t in range(max(0, state.start[i] - dead + 1 - low), min(high - low, state.start[i] + dead - low)):
                allowed[row, t] = False
        i += 1
    return allowed


@compiled
def _best(model: Model, state: State, low: int, high: int, dead: int, near: IntArray
          ) -> tuple[float, int, int, float]:
    """(gain, start, unit, amplitude)."""
    low, high = max(0, low), min(state.correlation.shape[1], high)
    allowed = _allowed(state, low, high, dead, near)
    gain, start, unit, coefficient = -np.inf, low, near[0], 0.0
    for row in range(len(near)):
        u = near[row]
        for t in range(low, high):
            if allowed[row, t - low]:
                linear = max(state.correlation[u, t] + model.mean_term[u], 0.0)
                value = linear * linear * (0.5 / model.quadratic[u]) - model.constant[u]
                if value > gain:
                    gain, start, unit, coefficient = value, t, u, linear
    return gain, start, unit, coefficient / model.quadratic[unit]


@compiled
def _pair_bound(p: float, q: float, j: float, k: float, g: float) -> float:
    """Upper bound of what a pair adds but for its constants, of linear coefficients up to p and q and overlap >= -g.

    It grows with p, q and g; of positive overlap it is the sum of what either adds by itself.
    """
    return (k * p * p + 2 * g * p * q + j * q * q) / (2 * (j * k - g * g))


@compiled
def _best_two(model: Model, state: State, low: int, high: int, known: Limits, least: float, near: IntArray
              ) -> tuple[float, IntArray, IntArray, Array]:
    """(gain, starts, units, amplitudes) of two; a gain of -inf where none exceeds ``least``."""
    low, high = max(0, low), min(state.correlation.shape[1], high)
    allowed = _allowed(state, low, high, known.refractory, near)
    linear, largest = np.zeros(allowed.shape), np.zeros(len(near))
    best = np.full(len(near), -1e9)
    for row in range(len(near)):
        u = near[row]
        for t in range(high - low):
            if allowed[row, t]:
                linear[row, t] = max(state.correlation[u, low + t] + model.mean_term[u], 0.0)
                largest[row] = max(largest[row], linear[row, t])
                best[row] = max(best[row], linear[row, t] ** 2 * (0.5 / model.quadratic[u]) - model.constant[u])
    rows = np.sort(np.argsort(-best, kind="mergesort")[:known.pair_units])
    starts, chosen, amplitudes = np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(2)
    gain, size = -np.inf, (model.gram.shape[2] + 1) // 2
    for a in range(len(rows)):
        m, u = rows[a], near[rows[a]]
        for b in range(a, len(rows)):
            n, v = rows[b], near[rows[b]]
            needed = max(least, gain) - _BOUND_MARGIN + model.constant[u] + model.constant[v]
            opposite = model.opposite[u, v]
            if _pair_bound(largest[m], largest[n], model.quadratic[u], model.quadratic[v], opposite) < needed:
                continue
            for t in range(high - low):
                p = linear[m, t]
                if p > 0 and _pair_bound(p, largest[n], model.quadratic[u], model.quadratic[v], opposite) >= needed:
                    value, s = _best_partner(model, linear[n], u, v, t, np.float32(p), known.refractory, size)
                    if value > gain:
                        gain, starts[0], starts[1], chosen[0], chosen[1] = value, t, s, m, n
    if gain <= -np.inf:
        return -np.inf, starts, chosen, amplitudes
    p, q = linear[chosen[0], starts[0]], linear[chosen[1], starts[1]]
    u, v, lag = near[chosen[0]], near[chosen[1]], starts[1] - starts[0]
    chosen[0], chosen[1] = u, v
    g = float(model.gram[u, v, size - 1 + lag]) if abs(lag) < size else 0.0
    j, k = model.quadratic[u], model.quadratic[v]
    amplitudes[0], amplitudes[1] = (k * p - g * q) / (j * k - g * g), (j * q - g * p) / (j * k - g * g)
    gain = (p * amplitudes[0] + q * amplitudes[1]) / 2 - (model.constant[u] + model.constant[v])
    return gain, starts + low, chosen, amplitudes


@compiled
def _best_partner(model: Model, linear: Array, u: int, v: int, t: int, p: float, dead: int, size: int
                  ) -> tuple[float, int]:
    """(gain, position) of the best spike of unit v beside one of u at t whose linear coefficient is p."""
    j, k = np.float32(model.quadratic[u]), np.float32(model.quadratic[v])
    cost_u, cost_v, two = np.float32(model.constant[u]), np.float32(model.constant[v]), np.float32(2)
    gain, at = np.float32(-np.inf), -1
    for s in range(len(linear)):
        q = np.float32(linear[s])
        if q <= 0 or (u == v and (abs(s - t) < dead or s < t)):
            continue
        g = model.gram[u, v, size - 1 + s - t] if abs(s - t) < size else np.float32(0)
        left, right = k * p - g * q, j * q - g * p
        if left > 0 and right > 0:
            value = (left * p + right * q) / (two * (j * k - g * g)) - cost_u - cost_v
            if value > gain:
                gain, at = value, s
    return gain, at


@compiled
def _move_each(model: Model, state: State, known: Limits) -> int:
    changed = i = 0
    while i < state.num_spikes[0]:
        start, unit, _ = _pop(model, state, i)
        near = model.neighbours[model.first_neighbour[unit]:model.first_neighbour[unit + 1]]
        gain, new, new_unit, amplitude = _best(model, state, start - known.step, start + known.step + 1,
                                               known.refractory, near)
        changed += gain <= 0 or new != start or new_unit != unit
        if gain > 0:
            i = max(i, _add(model, state, new, new_unit, amplitude)) + 1
    return changed


@compiled
def _add_missed(model: Model, state: State, known: Limits) -> int:
    units, positions = state.correlation.shape
    best = np.full(positions, -np.inf)
    for u in range(units):
        for t in range(positions):
            if state.correlation[u, t] > model.min_correlation[u]:
                linear = max(state.correlation[u, t] + model.mean_term[u], 0.0)
                best[t] = max(best[t], linear * linear * (0.5 / model.quadratic[u]) - model.constant[u])
    where = np.flatnonzero(best > -np.inf)
    gains = best[where]
    changed, every = 0, np.arange(units)
    for t in where[np.argsort(-gains, kind="mergesort")]:
        gain, start, unit, amplitude = _best(model, state, t, t + 1, known.refractory, every)
        if gain > 0:
            _add(model, state, start, unit, amplitude)
            changed += 1
    return changed


@compiled
def _move_pairs(model: Model, state: State, known: Limits) -> int:
    changed = i = 0
    while i + 1 < state.num_spikes[0]:
        j = i + 1
        while j < state.num_spikes[0] and state.start[j] - state.start[i] <= known.near:
            if model.overlap[state.unit[i], state.unit[j]] and _move_pair(model, state, known, i, j):
                changed += 1
                break
            j += 1
        i += 1
    return changed


@compiled
def _move_pair(model: Model, state: State, known: Limits, i: int, j: int) -> bool:
    second = _pop(model, state, j)
    old = _gain(model, state, *second)
    first = _pop(model, state, i)
    old += _gain(model, state, *first)
    new, near = 0.0, _near(model, first[1], second[1])
    added = [(0, 0, 0.0) for _ in range(0)]
    for _ in range(2):
        gain, start, unit, amplitude = _best(model, state, first[0] - known.step, second[0] + known.step + 1,
                                             known.refractory, near)
        if gain <= 0:
            break
        _add(model, state, start, unit, amplitude)
        added.append((start, unit, amplitude))
        new += gain
    if new > old + max(ROUNDING, ROUNDING_FRACTION * abs(old)):
        return True
    for start, unit, amplitude in added:
        _discard(model, state, start, unit, amplitude)
    _add(model, state, *first)
    _add(model, state, *second)
    return False


@compiled
def _try_pairs(model: Model, state: State, known: Limits, settled: Array) -> int:
    changed = i = 0
    while i < state.num_spikes[0]:
        changed += _replace(model, state, known, settled, i, 1, known.alone)
        i += 1
    i = 0
    while i + 1 < state.num_spikes[0]:
        near = state.start[i + 1] - state.start[i] <= known.pair_near
        if near and model.overlap[state.unit[i], state.unit[i + 1]]:
            changed += _replace(model, state, known, settled, i, 2, known.step)
        i += 1
    return changed


@compiled
def _surroundings(model: Model, state: State, i: int, members: int, first: int, last: int, near: IntArray) -> int:
    """A number that stands for spikes [i, i + members) among those in [first, last) that overlap ``near``; never 0."""
    key = np.uint64(members)
    for n in range(first, last):
        if not _overlaps_some(model, state.unit[n], near):
            continue
        for value in (state.start[n], state.unit[n], int(n == i)):
            key = (key ^ np.uint64(value + 1)) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
    return key | np.uint64(1)


@compiled
def _overlaps_some(model: Model, unit: int, near: IntArray) -> bool:
    for other in near:
        if model.overlap[unit, other]:
            return True
    return False


@compiled
def _slot(settled: Array, key: int) -> int:
    """Where ``key`` stands in the table, or would."""
    mask = np.uint64(len(settled) - 1)
    at = (key >> np.uint64(20)) & mask
    while settled[at] != 0 and settled[at] != key:
        at = (at + np.uint64(1)) & mask
    return at


@compiled
def _replace(model: Model, state: State, known: Limits, settled: Array, i: int, members: int, radius: int) -> bool:
    low, high = state.start[i] - radius, state.start[i + members - 1] + radius + 1
    size = (model.gram.shape[2] + 1) // 2
    near = _near(model, state.unit[i], state.unit[i + members - 1])
    key = _surroundings(model, state, i, members, _left_of(state, low - size), _left_of(state, high + size + 1), near)
    slot = _slot(settled, key)
    if settled[slot] == key:
        return False
    old = [_pop(model, state, i + members - 1)]
    least = _gain(model, state, *old[0])
    if members == 2:
        old.append(_pop(model, state, i))
        least += _gain(model, state, *old[1])
    least += max(ROUNDING, ROUNDING_FRACTION * abs(least))
    better = False
    gain, start, unit, amplitude = _best(model, state, low, high, known.refractory, near)
    if gain > least:
        least, better = gain, True
    two, starts, units, amplitudes = _best_two(model, state, low, high, known, least, near)
    if two > least:
        for n in range(2):
            _add(model, state, starts[n], units[n], amplitudes[n])
        return True
    if better:
        _add(model, state, start, unit, amplitude)
        return True
    for start, unit, amplitude in old:
        _add(model, state, start, unit, amplitude)
    settled[slot] = key
    return False


@compiled
def _search(model: Model, state: State, start: IntArray, unit: IntArray, amplitude: Array, known: Limits) -> None:
    for i in range(len(start)):
        _add(model, state, start[i], unit[i], amplitude[i])
    settled = np.zeros(0, np.uint64)
    for sweep in range(known.sweeps):
        changed = _move_each(model, state, known)
        changed += _add_missed(model, state, known)
        changed += _move_pairs(model, state, known)
        # Trying all pairs is expensive: the greedy moves come first.
        if known.thorough and (sweep > 0 or changed == 0):
            entries = _TABLE_ENTRIES
            while entries < 64 * state.num_spikes[0]:
                entries *= 2
            if entries > len(settled):
                settled = np.zeros(entries, np.uint64)
            changed += _try_pairs(model, state, known, settled)
        if changed == 0:
            break
