"""The graph of an encoder of counts: Poisson and binomial with their canonical links.

Counts are divided by their size (exposure or trials) inside; a sample weighs as much as its share of the signal's
largest size, and 1 / that size is the dispersion, which takes the place of sigma^2. One iteration is

    r = y - mean(D w + baseline)            Conv, Exp or Sigmoid, Sub
    x' = prox(w + step D^T r, threshold)    Conv, Add, Sub, Relu (or Min, Max, Sub)

with the baseline as the first convolution's bias. Where the step size is searched (``StepSearch``) eta at w, D (w - x)
stand among the states of the Loop beside -w and x - w, and so do each signal's step size, t and the bound of its
curvature. D is applied to the change of the code alone, as in ``keras_crsae.solvers.Backtracking``: one iteration holds
two convolutions as well, and every tenth one two more for the bound.

The tail of the last block: its codes are multiplied by 0, so that no filter reaches the padding, where D x stays 0: its
Bregman divergence is 0, and nothing of it enters the sums of the acceptance test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache, partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crsae_onnx.core.spec import BASELINE, CODE_PRIORS, INPUT, MASK, SIZE_NAMES
from crsae_onnx.core.spec_parts import BOUND_EVERY, StepSearch
from crsae_onnx.graph.blocks import Blocks
from crsae_onnx.graph.encoder import TINY, Graph, Weights
from crsae_onnx.graph.folding import FoldedEncoder, FoldedLayer
from crsae_onnx.graph.loops import State, loop
from crsae_onnx.graph.nodes import Nodes

#: Operator of the inverse link.
MEANS = {"poisson": "Exp", "binomial": "Sigmoid"}
#: Up to this change a divergence is computed by its series: the difference would cancel.
_SMALL_CHANGE = 0.3


class CountsGraph(Graph):
    """Builds an encoder of counts into ``nodes``, see ``Graph``.

    Args:
        encoder: ``as_images`` of a FoldedEncoder, of a likelihood of counts.
        inputs: names of the file's inputs: whether there is a mask, a size (trials or exposure), a baseline.
        flat: whether signals are one-dimensional.
        nodes: Nodes.
        signal: name of the counts in them.
    """

    def __init__(self, encoder: FoldedEncoder, inputs: Sequence[str], flat: bool, nodes: Nodes,
                 signal: str = INPUT) -> None:
        Blocks.__init__(self, encoder, flat, nodes)
        self.signed, self.half, self.biased, self.scale = CODE_PRIORS[encoder.code_prior], False, False, ""
        self.average = partial(_unary, MEANS[encoder.likelihood])
        counts = self.image(signal)
        self.measure(counts)
        self.rows = math.prod(self.period) * encoder.channels
        means, self.mask = self._means(counts, inputs)
        self.signal = nodes.shaped(self.fold(means, self.batch), self.rows, "signal_blocks")
        self.given_baseline = BASELINE in inputs
        self.baseline = self._baseline()  #: (batch or 1, rows, 1, 1)
        self.layers = [self._weights(layer, bool(self.level), 0) for layer in encoder.layers]

    # Counts to means

    def _means(self, counts: str, inputs: Sequence[str]) -> tuple[str, str | None]:
        """(counts / size, folded weights in [0, 1] or None); sets ``level``, the name of the dispersions, or ""."""
        top, encoder = self.top, self.encoder
        name = SIZE_NAMES[encoder.likelihood]
        self.level = ""
        if name not in inputs and not np.ndim(encoder.size):
            y = counts if encoder.size == 1 else top("Div", counts, _number(top, encoder.size))
            return y, self._mask(MASK in inputs, 0)
        size = self.image(name) if name in inputs else self._own_size()
        size = top("Expand", size, top("Shape", counts))
        if MASK in inputs:
            size = top("Mul", size, self.image(MASK))
        largest = top("ReduceMax", size, top.constant([1, 2, 3]), keepdims=1)
        largest = top("Max", largest, _number(top, TINY))
        self.level = top("Reciprocal", largest)
        seen = top("Greater", size, _number(top, 0.0))
        y = top("Where", seen, top("Div", counts, top("Max", size, _number(top, TINY))), _number(top, 0.0))
        return y, self.fold(top("Div", size, largest), self.batch)

    def _own_size(self) -> str:
        """The likelihood's own size as an image of each signal, (1, *space, channels)."""
        size = np.asarray(self.encoder.size, np.float32)
        return self.top.constant(size.reshape((1,) * (4 - size.ndim) + size.shape), np.float32)

    def _baseline(self) -> str:
        top = self.top
        if not self.given_baseline:
            return self.weight(self._own_baseline().reshape(1, -1, 1, 1))
        tiled = top("Tile", BASELINE, top.constant([1, math.prod(self.period)]))
        return top("Unsqueeze", tiled, top.constant([2, 3]))

    def _own_baseline(self) -> NDArray[np.float64]:
        """The model's baseline, one a row of the folded signal."""
        encoder = self.encoder
        return np.tile(np.zeros(encoder.channels) if encoder.baseline is None else encoder.baseline,
                       math.prod(self.period))

    def predict(self, nodes: Nodes, code: str, weight: str) -> str:
        """eta = D x + baseline, (batch, rows, *signal_blocks)."""
        if not self.given_baseline:
            return self.synthesis(nodes, code, weight, self.rows, self.weight(self._own_baseline()))
        eta = nodes("Add", self.synthesis(nodes, code, weight, self.rows), self.baseline)
        return nodes.shaped(eta, self.rows, "signal_blocks")

    def threshold(self, layer: FoldedLayer, scale: NDArray[np.float32], sigma: bool) -> str:
        if self.encoder.search is None:
            return super().threshold(layer, scale, sigma)
        return self.open_threshold(layer, scale, sigma)  # codes at closed positions are multiplied by 0

    # Steps of one size

    def residual_weight(self, layer: FoldedLayer, extras: int) -> str:
        return self.synthesis_weight(layer.kernel)

    def residual(self, nodes: Nodes, w: str | None, weights: Weights) -> str:
        eta = self.baseline if w is None else self.predict(nodes, w, weights.synthesis)
        return nodes("Sub", self.signal, self.average(nodes, eta))

    # Steps that are searched

    def iterate(self) -> str:
        """Name of the folded code after all iterations."""
        search, encoder, top = self.encoder.search, self.encoder, self.top
        if search is None:
            return super().iterate()
        states = self._begin(search)
        passes, rest = divmod(len(encoder.momentum), encoder.check_every) if encoder.loop else \
            (0, len(encoder.momentum))
        names = [state.value for state in states]
        for k in range(1, rest + 1):
            names = self._search(top, names, search, k % BOUND_EVERY == 0)
        if not passes:
            return self._searched_code(top, names)
        whole = encoder.check_every % BOUND_EVERY == 0  # else the place would change from pass to pass

        def one_pass(nodes: Nodes, number: str, before: list[str]) -> tuple[list[str], list[str]]:
            after = before
            for k in range(1, encoder.check_every + 1):
                bounds = (rest + k) % BOUND_EVERY == 0 if whole else k == encoder.check_every
                after = self._search(nodes, after, search, bounds)
            return [*after[:2], self._eta_anew(nodes, after[0]), *after[3:]], before

        def goes_on(nodes: Nodes, after: list[str], before: list[str], name: str) -> None:
            code, last = ([self._searched_code(nodes, states)] for states in (after, before))
            self.changed(nodes, code, last, f"{nodes.prefix}moves")
            least = nodes("Div", before[4], _number(nodes, search.increase ** (encoder.check_every - 1)))
            refused = nodes("ReduceMax", nodes("Cast", nodes("Less", after[4], least), to=1), keepdims=0)
            nodes("Or", f"{nodes.prefix}moves", nodes("Greater", refused, _number(nodes, 0.5)), name=name)

        states = [state._replace(value=value) for state, value in zip(states, names, strict=True)]
        names = loop(top, passes, states, one_pass, None if encoder.tolerance is None else goes_on)
        return self._searched_code(top, names)

    def _eta_anew(self, nodes: Nodes, back: str) -> str:
        """eta at w, ``back`` = -w: as a running sum it keeps the rounding of every step."""
        moved = self.synthesis(nodes, nodes("Neg", back), self.layers[0].synthesis, self.rows)
        moved = moved if self.mask is None else self._seen(nodes, moved)
        return nodes.shaped(nodes("Add", moved, self.baseline), self.rows, "signal_blocks")

    def _searched_code(self, nodes: Nodes, states: list[str]) -> str:
        """x, of -w and x - w."""
        return nodes.shaped(nodes("Sub", states[1], states[0]), self.columns, "blocks")

    def _begin(self, search: StepSearch) -> list[State]:
        """The states -w, x - w, eta at w, D (w - x), step size, t and bound of the curvature of the code 0."""
        top, constant, prefix = self.top, self.top.constant, f"{self.top.prefix}body/"
        code, signal = (Nodes(prefix).shape(count, axes) for count, axes in
                        ((self.columns, "blocks"), (self.rows, "signal_blocks")))
        number = [code[0], 1, 1, 1]
        zero = top("Expand", _number(top, 0.0), self.concat(self.batch, constant([self.columns]), self.blocks))
        zero = top.shaped(zero, self.columns, "blocks")
        nothing = top("Expand", _number(top, 0.0), self.concat(self.batch, constant([self.rows]), self.signal_blocks))
        nothing = top.shaped(nothing, self.rows, "signal_blocks")
        eta = top.shaped(top("Add", nothing, self.baseline), self.rows, "signal_blocks")
        one = top("Expand", _number(top, 1.0), self.concat(self.batch, constant([1, 1, 1])))
        step = top("Mul", one, _number(top, self.encoder.first_step))
        if search.by_data:
            step = top("Div", step, self._start_curvature())
        #: 0 at the positions of the last block that lie past the code's end.
        self.exists = [top("Cast", top("Equal", self.closed_positions(axis), _number(top, 0.0)), to=1)
                       for axis in self.tail]
        none = top("Mul", one, _number(top, 0.0))
        values = {"back": zero, "brake": zero, "eta": eta, "pace": nothing, "step": step, "t": one, "steepest": none}
        shapes = {"back": code, "brake": code, "eta": signal, "pace": signal,
                  **dict.fromkeys(("step", "t", "steepest"), number)}
        return [State(name, value, shapes[name]) for name, value in values.items()]

    def _start_curvature(self) -> str:
        """Mean of the zero code, or half of the largest y."""
        top, axes = self.top, self.top.constant([1, 2, 3])
        y = self.signal if self.mask is None else top("Mul", self.mask, self.signal)
        return top("Max", top("ReduceMax", self.average(top, self.baseline), axes, keepdims=1),
                   top("Mul", top("ReduceMax", y, axes, keepdims=1), _number(top, 0.5)))

    def _search(self, nodes: Nodes, states: list[str], search: StepSearch, bounds: bool) -> list[str]:
        """One iteration: a step is taken where it is accepted, and else its size is halved.

        ``bounds``: the curvature is bounded anew.
        """
        def number(value: ArrayLike) -> str:
            return _number(nodes, value)

        back, brake, eta, pace, step, t, steepest = states
        axes, mean = nodes.constant([1, 2, 3]), self.average(nodes, eta)
        step = nodes("Min", step, nodes("Div", number(search.longest_step), nodes("Max", steepest, number(TINY))))
        change = self._change(nodes, back, mean, step)
        predicted = self.synthesis(nodes, change, self.layers[0].synthesis, self.rows)
        predicted = predicted if self.mask is None else self._seen(nodes, predicted)
        above = self._excess(nodes, eta, predicted)
        above = above if self.mask is None else nodes("Mul", above, self.mask)
        above = nodes("ReduceSum", above, axes, keepdims=1)
        energy = nodes("ReduceSumSquare", change, axes, keepdims=1)
        allowed = nodes("Div", nodes("Mul", energy, number((1 + search.relative_slack) / 2)), step)
        accepted = nodes("LessOrEqual", above, allowed)
        t_next = nodes("Min", nodes("Add", t, number(0.5)), number(search.longest_momentum))
        pull = nodes("Div", nodes("Sub", t, number(1.0)), t_next)
        brake_next = nodes("Mul", pull, nodes("Sub", brake, change))
        pace_next = nodes("Mul", pull, nodes("Add", pace, predicted))
        longer = nodes("Where", nodes("Greater", energy, number(0.0)), number(1 / search.decrease), number(1.0))
        step_next = nodes("Mul", step, nodes("Where", accepted, longer, number(1 / search.increase)))
        taken = [nodes("Add", nodes("Sub", back, change), brake_next), brake_next,
                 nodes("Add", nodes("Add", eta, predicted), pace_next), pace_next]
        shapes = [(self.columns, "blocks")] * 2 + [(self.rows, "signal_blocks")] * 2
        return [*(nodes.shaped(nodes("Where", accepted, new, old), *shape)
                  for new, old, shape in zip(taken, states[:4], shapes, strict=True)),
                step_next, nodes("Where", accepted, t_next, t),
                self._steepest(nodes, mean, nodes("Equal", change, back), steepest) if bounds else steepest]

    def _steepest(self, nodes: Nodes, mean: str, rests: str, present: str) -> str:
        """The largest row sum of |D_S| |D_S|^T A''(eta), S what is not 0 (``rests``); ``present`` if that overflows.

        See ``keras_crsae.solvers.operations.SignalOperations.steepest``.
        """
        weights = self.layers[0]
        curvature = VARIANCES[self.encoder.likelihood](nodes, mean)
        curvature = curvature if self.mask is None else nodes("Mul", curvature, self.mask)
        adjoint, synthesis = (self._magnitude(weight) for weight in (weights.adjoint, weights.synthesis))
        spread = self.convolve(nodes, curvature, adjoint, weights.bias)
        spread = nodes("Where", rests, _number(nodes, 0.0), spread)
        rows = self.synthesis(nodes, nodes.shaped(spread, self.columns, "blocks"), synthesis, self.rows)
        rows = rows if self.mask is None else self._seen(nodes, rows)
        found = nodes("ReduceMax", rows, nodes.constant([1, 2, 3]), keepdims=1)
        return nodes("Where", nodes("Less", found, _number(nodes, 1 / TINY)), found, present)

    @lru_cache  # noqa: B019  a graph lives as long as its conversion
    def _magnitude(self, weight: str) -> str:
        return self.top("Abs", weight)

    def _change(self, nodes: Nodes, back: str, mean: str, step: str) -> str:
        """prox(w + step D^T residual, threshold) - w, ``back`` = -w and the mean at w."""
        weights = self.layers[0]
        residual = nodes("Sub", self.signal, mean)
        residual = residual if self.mask is None else nodes("Mul", residual, self.mask)
        rise = self.convolve(nodes, nodes("Mul", residual, step), weights.adjoint, weights.bias)
        for exists in self.exists:
            rise = nodes("Mul", rise, exists)
        threshold = nodes("Mul", weights.threshold, step)
        above = back
        if self.signed:
            above = nodes("Min", back, nodes("Sub", rise, nodes("Mul", weights.negative_threshold, step)))
        return nodes.shaped(nodes("Max", nodes("Sub", rise, threshold), above), self.columns, "blocks")

    def _seen(self, nodes: Nodes, array: str) -> str:
        """0 where a sample is missing: there D w may be anything, and its exponential could overflow."""
        return nodes("Where", self._observed, array, _number(nodes, 0.0))

    @cached_property
    def _observed(self) -> str:
        return self.top("Greater", self.mask or "", _number(self.top, 0.0))

    def _excess(self, nodes: Nodes, eta: str, change: str) -> str:
        """How far the data term at eta + change lies above its tangent at eta (``Likelihood.step_excess``)."""
        return {"poisson": _poisson_excess, "binomial": _binomial_excess}[self.encoder.likelihood](nodes, eta, change)

    # Outputs

    def outputs(self, folded: str, names: Sequence[str]) -> None:
        """The outputs "code", "eta" and "mean"."""
        encoder = self.encoder
        if "code" in names:
            self.code(folded, "code")
        if {"eta", "mean"} & set(names):
            eta = self.predict(self.top, folded, self.synthesis_weight(encoder.decoder_kernel))
            for name, array in (("eta", eta), ("mean", self.average(self.top, eta) if "mean" in names else "")):
                if name in names:
                    self.unfold(array, self.period, encoder.channels, self.space, name)


def _binomial_variance(nodes: Nodes, mean: str) -> str:
    return nodes("Mul", mean, nodes("Sub", _number(nodes, 1.0), mean))


#: A''(eta), from the mean.
VARIANCES = {"poisson": lambda nodes, mean: mean, "binomial": _binomial_variance}


def _number(nodes: Nodes, value: ArrayLike) -> str:
    return nodes.constant(value, np.float32)


def _unary(op: str, nodes: Nodes, array: str) -> str:
    return nodes(op, array)


def _nested(nodes: Nodes, d: str, factors: Sequence[str]) -> str:
    """d^2 / 2 (1 + d / 3 (a + d / 4 (b + d / 5 c))) of the factors a, b, c."""
    a, b, c = factors
    inner = nodes("Add", b, nodes("Mul", nodes("Div", d, _number(nodes, 5.0)), c))
    inner = nodes("Add", a, nodes("Mul", nodes("Div", d, _number(nodes, 4.0)), inner))
    inner = nodes("Add", _number(nodes, 1.0), nodes("Mul", nodes("Div", d, _number(nodes, 3.0)), inner))
    return nodes("Mul", nodes("Mul", nodes("Mul", d, d), _number(nodes, 0.5)), inner)


def _poisson_excess(nodes: Nodes, eta: str, change: str) -> str:
    d = nodes("Max", change, _number(nodes, -6.0))
    slope = nodes("Add", nodes("Div", d, _number(nodes, 36.0)), _number(nodes, 1 / 3))
    between = nodes("Exp", nodes("Add", eta, nodes("Mul", d, slope)))
    return nodes("Mul", nodes("Mul", nodes("Mul", change, _number(nodes, 0.5)), change), between)


def _binomial_excess(nodes: Nodes, eta: str, change: str) -> str:
    small = nodes("Less", nodes("Abs", change), _number(nodes, _SMALL_CHANGE))
    # The same for -eta and -change: eta is taken negative, where softplus keeps its digits.
    d = nodes("Where", nodes("Greater", eta, _number(nodes, 0.0)), nodes("Neg", change), change)
    eta = nodes("Neg", nodes("Abs", eta))
    p = nodes("Sigmoid", eta)
    variance = nodes("Mul", p, nodes("Sub", _number(nodes, 1.0), p))
    skew = nodes("Sub", _number(nodes, 1.0), nodes("Mul", p, _number(nodes, 2.0)))
    kurtosis = nodes("Sub", _number(nodes, 1.0), nodes("Mul", variance, _number(nodes, 6.0)))
    last = nodes("Mul", skew, nodes("Sub", _number(nodes, 1.0), nodes("Mul", variance, _number(nodes, 12.0))))
    series = nodes("Mul", variance, _nested(nodes, d, [skew, kurtosis, last]))
    exact = nodes("Sub", nodes("Sub", nodes("Softplus", nodes("Add", eta, d)), nodes("Softplus", eta)),
                  nodes("Mul", p, d))
    return nodes("Where", small, series, exact)
