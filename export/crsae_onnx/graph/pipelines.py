"""The exported graph: the encoder, and around it spike detection in recordings and the denoising of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from crsae_onnx.core.cycle_spinning import all_shifts
from crsae_onnx.core.spec import INPUT, LOGITS, OPSET, SIGMA, SIZE_NAMES, SPIKE_TENSORS, is_index, sizes, tensors
from crsae_onnx.core.spec_parts import REFERENCE_SIGMA, DenoiserSpec, HeadSpec
from crsae_onnx.core.spikes.correlations import POOL_RADIUS
from crsae_onnx.core.spikes.peak_rule import CENTRE_WEIGHT, PeakRule
from crsae_onnx.core.spikes.whitening import Whitening
from crsae_onnx.graph.aligned import AlignedGraph
from crsae_onnx.graph.blocks import as_images
from crsae_onnx.graph.counts import CountsGraph
from crsae_onnx.graph.encoder import Graph
from crsae_onnx.graph.folding import FoldedEncoder
from crsae_onnx.graph.nodes import Nodes, fold_constants

if TYPE_CHECKING:
    import onnx

#: Larger than any signal: what is not below it is NaN or infinite.
_LARGEST = 3e38


def build(encoder: FoldedEncoder, outputs: Sequence[str], inputs: Sequence[str], whitening: Whitening | None = None,
          rule: PeakRule | None = None, denoiser: DenoiserSpec | None = None,
          head: HeadSpec | None = None) -> onnx.ModelProto:
    """ONNX model of an encoder.

    Args:
        encoder: FoldedEncoder.
        outputs: some of "code", "reconstruction", "spikes", "denoised"; of counts "code", "eta", "mean".
        inputs: "signal" and, optionally, "mask" and "sigma"; of counts "mask", "trials" or "exposure", "baseline".
        whitening: None, or the ``Whitening`` that recordings go through first, inside the graph.
        rule: of the output "spikes".
        denoiser: of the output "denoised".
        head: of the output "logits".

    Raises:
        ValueError: the output "spikes" without a rule, or "denoised" without a denoiser.
    """
    from onnx import helper

    images, top = as_images(encoder), Nodes()
    signal = INPUT if whitening is None else whiten(top, INPUT, whitening)
    if encoder.subspace is not None:
        signal = top("MatMul", signal, top.constant(encoder.subspace, np.float32))
    if encoder.likelihood in SIZE_NAMES:
        counts = CountsGraph(images, inputs, len(encoder.strides) == 1, top)
        counts.outputs(counts.iterate(), outputs)
    elif set(outputs) - {"denoised"}:
        flat = len(encoder.strides) == 1
        graph = AlignedGraph(images, flat, top, signal) if encoder.aligned else \
            Graph(images, inputs, flat, top, signal)
        _encoder_outputs(top, graph, outputs, rule, head)
    if "denoised" in outputs:
        if denoiser is None:
            raise ValueError("The output 'denoised' needs a DenoiserSpec. Received: denoiser=None")
        denoise(top, images, denoiser)
    if not encoder.loop:
        fold_constants(top, tensors(outputs))
    facts = {"rank": len(encoder.strides), "channels": encoder.signal_channels, "filters": encoder.filters}
    if head is not None:
        facts["classes"] = head.classes
    whole = helper.make_graph(top.nodes, "crsae", [_value_info(n, facts) for n in inputs],
                              [_value_info(n, facts) for n in tensors(outputs)], top.used_constants(),
                              value_info=top.shapes)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(whole, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets),
                             producer_name="keras-crsae")


def _encoder_outputs(nodes: Nodes, graph: Graph, outputs: Sequence[str], rule: PeakRule | None,
                     head: HeadSpec | None) -> None:
    """The outputs "code", "reconstruction", "spikes" and "logits"."""
    folded = graph.iterate()
    name = "code" if "code" in outputs else "inner_code"
    if {"code", "spikes", LOGITS} & set(outputs):
        graph.code(folded, name)
    if LOGITS in outputs:
        if head is None:
            raise ValueError("The output 'logits' needs a HeadSpec. Received: head=None")
        flat = nodes("Reshape", name, nodes.constant([-1, len(head.weights)]))
        nodes("Gemm", flat, *(nodes.constant(v, np.float32) for v in (head.weights, head.bias)), name=LOGITS)
    if "spikes" in outputs:
        if rule is None:
            raise ValueError("The output 'spikes' needs a PeakRule. Received: rule=None")
        find_spikes(nodes, name, rule)
    if "reconstruction" in outputs:
        graph.reconstruction(folded, "reconstruction")


def _value_info(name: str, facts: dict[str, int]) -> onnx.ValueInfoProto:
    """An input or output of the file, with named axes."""
    from onnx import TensorProto, helper

    kind = TensorProto.INT64 if is_index(name) else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, sizes(name, facts, unknown=None))


def whiten(nodes: Nodes, recording: str, whitening: Whitening) -> str:
    """``Whitening`` of (batch, time, channels), zero beyond both ends; gaps and blanks zero or bridged."""
    def number(value: ArrayLike) -> str:
        return nodes.constant(value, np.float32)

    channels, (past, future) = whitening.channels, whitening.filter_context
    holds = nodes("Less", nodes("Abs", recording), number(_LARGEST))
    if whitening.blank_samples:
        holds = nodes("And", holds, nodes("Not", _in_blanks(nodes, recording, whitening)))
    values = nodes("Where", holds, nodes("Sub", recording, number(whitening.offset)), number(0.0))
    if whitening.common_reference:
        values = nodes("Sub", values, _median(nodes, values, holds, channels))
        values = nodes("Where", holds, values, number(0.0))
    if whitening.fall_samples:
        left = nodes("Or", holds, nodes("IsInf", recording))
        values = nodes("Where", left, values, _bridged(nodes, values, holds, whitening.fall_samples))
    taps = whitening.taps[::-1].T[:, None]  # correlation, one filter a channel
    values = nodes("Conv", nodes("Transpose", values, perm=[0, 2, 1]), number(taps), group=channels,
                   kernel_shape=[len(whitening.taps)], pads=[past, future])
    return nodes("MatMul", nodes("Transpose", values, perm=[0, 2, 1]), number(whitening.mixing))


def _in_blanks(nodes: Nodes, recording: str, whitening: Whitening) -> str:
    """(batch, time, channels), true in a run of small second differences: the opening of where they are small."""
    def number(value: ArrayLike) -> str:
        return nodes.constant(value, np.float32)

    constant, run = nodes.constant, whitening.blank_samples
    rows = nodes("Transpose", recording, perm=[0, 2, 1])

    def shifted(start: int, stop: int) -> str:
        return nodes("Slice", rows, constant([start]), constant([stop]), constant([2]))

    middle = nodes("Mul", shifted(1, -1), number(2.0))
    bend = nodes("Abs", nodes("Add", nodes("Sub", shifted(0, -2), middle), shifted(2, np.iinfo(np.int64).max)))
    straight = nodes("LessOrEqual", bend, number(whitening.blank_tolerance[:, None]))  # false where it is NaN
    bent = nodes("Pad", nodes("Cast", nodes("Not", straight), to=1), constant([0, 0, run - 1, 0, 0, run - 1]),
                 number(1.0))
    runs = nodes("Sub", number(1.0), nodes("MaxPool", bent, kernel_shape=[run]))  # 1 where a run begins
    wide = nodes("MaxPool", nodes("MaxPool", runs, kernel_shape=[run]), kernel_shape=[3], pads=[2, 2])
    return nodes("Transpose", nodes("Greater", wide, number(0.5)), perm=[0, 2, 1])


def _bridged(nodes: Nodes, values: str, holds: str, fall: int) -> str:
    """(batch, time, channels): samples that fill the gaps, see ``crsae_onnx.core.spikes.whitening``."""
    def number(value: ArrayLike) -> str:
        return nodes.constant(value, np.float32)

    constant, far, reach = nodes.constant, number(-1e9), 2 * fall
    rows, known = (nodes("Transpose", part, perm=[0, 2, 1]) for part in (values, holds))
    samples = nodes("Gather", nodes("Shape", rows), constant(2))
    time = nodes("Cast", nodes("Range", constant(0), samples, constant(1)), to=1)
    last = nodes("MaxPool", nodes("Where", known, time, far), kernel_shape=[reach + 1], pads=[reach, 0])
    following = nodes("Neg", nodes("MaxPool", nodes("Where", known, nodes("Neg", time), far),
                                   kernel_shape=[reach + 1], pads=[0, reach]))
    before, after = nodes("Sub", time, last), nodes("Sub", following, time)
    final = nodes("Sub", samples, constant(1))
    sides = [nodes("GatherElements", rows, nodes("Min", nodes("Max", nodes("Cast", index, to=7), constant(0)), final),
                   axis=2) for index in (last, following)]
    gap = nodes("Add", before, after)
    line = nodes("Div", nodes("Add", nodes("Mul", after, sides[0]), nodes("Mul", before, sides[1])),
                 nodes("Max", gap, number(1.0)))
    falls: list[str] = []
    for distance, side in zip((before, after), sides, strict=True):
        angle = nodes("Mul", nodes("Min", distance, number(fall)), number(np.pi / 2 / fall))
        weight = nodes("Where", nodes("Less", distance, number(fall)), nodes("Cos", angle), number(0.0))
        falls.append(nodes("Mul", nodes("Mul", weight, weight), side))
    bridge = nodes("Where", nodes("LessOrEqual", gap, number(reach)), line, nodes("Add", *falls))
    return nodes("Transpose", bridge, perm=[0, 2, 1])


def _median(nodes: Nodes, values: str, holds: str, channels: int) -> str:
    """(batch, time, 1): the median over the channels that hold noise; 0 where none does."""
    constant = nodes.constant
    lowest = nodes.constant(-_LARGEST, np.float32)
    ordered = nodes.several("TopK", nodes("Where", holds, values, lowest), constant([channels]), count=2, axis=-1)[0]
    count = nodes("ReduceSum", nodes("Cast", holds, to=7), constant([-1]), keepdims=1)
    below = nodes("Max", nodes("Div", nodes("Sub", count, constant([1])), constant([2])), constant([0]))
    above = nodes("Min", nodes("Div", count, constant([2])), constant([channels - 1]))
    pair = [nodes("GatherElements", ordered, index, axis=-1) for index in (below, above)]
    half = nodes.constant(0.5, np.float32)
    middle = nodes("Add", *(nodes("Mul", value, half) for value in pair))
    return nodes("Where", nodes("Greater", count, constant([0])), middle, nodes.constant(0.0, np.float32))


def find_spikes(nodes: Nodes, code: str, rule: PeakRule) -> None:
    """``PeakRule.find`` on (batch, positions, units), as the three outputs ``SPIKE_TENSORS``."""
    def number(value: ArrayLike) -> str:
        return nodes.constant(value, np.float32)

    constant, reach = nodes.constant, rule.reach
    rows = nodes("Transpose", code, perm=[0, 2, 1])
    pooled, centred = _pooled(nodes, rows)
    most = nodes("MaxPool", centred, kernel_shape=[2 * reach + 1], pads=[reach, reach])
    earlier = nodes("Pad", centred, constant([0, 0, 1, 0, 0, -1]), number(-1.0))
    before = nodes("MaxPool", earlier, kernel_shape=[reach], pads=[reach - 1, 0])
    peaks = nodes("And", nodes("Greater", pooled, number(np.reshape(rule.min_peak, (1, -1, 1)))),
                  nodes("And", nodes("Equal", centred, most), nodes("Greater", centred, before)))
    if rule.exclusion:
        width = 2 * rule.exclusion + 1
        highest = nodes("ReduceMax", centred, constant([1]), keepdims=1)
        highest = nodes("MaxPool", highest, kernel_shape=[width], pads=[rule.exclusion, rule.exclusion])
        peaks = nodes("And", peaks, nodes("Equal", centred, highest))
    where = nodes("NonZero", nodes("Transpose", peaks, perm=[0, 2, 1]))  # batch, position, unit
    batch, position, unit = (nodes("Gather", where, constant(i), axis=0) for i in range(3))
    heights = nodes("GatherND", nodes("Transpose", pooled, perm=[0, 2, 1]), nodes("Transpose", where, perm=[1, 0]))
    sample = nodes("Add", position, nodes("Gather", constant(rule.peak_offset), unit))
    spike_index, spike_unit, amplitude = SPIKE_TENSORS
    nodes("Concat", *(nodes("Unsqueeze", part, constant([1])) for part in (batch, sample)), axis=1,
          name=spike_index)
    nodes("Identity", unit, name=spike_unit)
    nodes("Mul", heights, nodes("Gather", number(rule.gain), unit), name=amplitude)


def _pooled(nodes: Nodes, rows: str) -> tuple[str, str]:
    """Codes (batch, units, positions) summed over +-POOL_RADIUS positions; and this with ``CENTRE_WEIGHT``."""
    def number(value: ArrayLike) -> str:
        return nodes.constant(value, np.float32)

    shorter = rows
    for radius in range(1, POOL_RADIUS):
        shorter = nodes("Add", shorter, _moving_sum(nodes, rows, radius))
    pooled = _moving_sum(nodes, rows, POOL_RADIUS)
    return pooled, nodes("Add", pooled, nodes("Mul", shorter, number(CENTRE_WEIGHT)))


def _moving_sum(nodes: Nodes, rows: str, radius: int) -> str:
    width = 2 * radius + 1
    mean = nodes("AveragePool", rows, kernel_shape=[width], pads=[radius, radius], count_include_pad=1)
    return nodes("Mul", mean, nodes.constant(width, np.float32))


def denoise(top: Nodes, encoder: FoldedEncoder, denoiser: DenoiserSpec) -> None:
    """The output "denoised": (batch, height, width, channels) in [0, 1].

    The blurred image is kept; the rest is reconstructed on every shift of the stride's grid (in a Loop one shift in
    memory at a time, without a Loop all as one batch) at the noise level of the input ``sigma``; their mean is added,
    and clipped to [0, 1].
    """
    constant = top.constant
    shape = top("Shape", INPUT)
    height, width = (top("Gather", shape, constant(axis)) for axis in (1, 2))
    slow = _blur(top, INPUT, (height, width), denoiser.low_pass) if denoiser.low_pass else \
        top("ReduceMean", INPUT, constant([1, 2, 3]), keepdims=1)
    rest = top("Sub", INPUT, slow)
    shifts = encoder.strides[0] * encoder.strides[1]
    if encoder.loop:
        body = _shift_body(top, encoder, denoiser, rest, shape, (height, width))
        zero = top("Expand", constant(0.0, np.float32), shape)
        total = top("Loop", constant(shifts), constant(True, bool), zero, body=body)
    else:
        total = _shift_batch(top, encoder, denoiser, rest, shape, (height, width))
    clean = top("Add", slow, top("Div", total, constant(float(shifts), np.float32)))
    top("Clip", clean, constant(0.0, np.float32), constant(1.0, np.float32), name="denoised")


def _shift_body(top: Nodes, encoder: FoldedEncoder, denoiser: DenoiserSpec, image: str, shape: str,
                space: tuple[str, str]) -> onnx.GraphProto:
    """Loop body: the reconstruction of one shift, added to the sum of those before."""
    from onnx import TensorProto, helper

    nodes, constant = Nodes("shift/", outer=top), top.constant
    columns = encoder.strides[1]
    shift = (nodes("Div", "shift/number", constant(columns)), nodes("Mod", "shift/number", constant(columns)))
    piece = _shifted(nodes, encoder, image, space, shift)
    graph = Graph(encoder, (INPUT, SIGMA), False, nodes, piece, _effective_sigma(top, denoiser.sigma_power))
    graph.reconstruction(graph.iterate(), "shift/reconstruction")
    part = _unshifted(nodes, encoder, "shift/reconstruction", shape, shift)
    nodes("Add", "shift/sum", part, name="shift/sum_next")
    nodes("Identity", "shift/more", name="shift/more_next")
    axes = ["batch", "height", "width", encoder.channels]

    def tensor(name: str, kind: int = TensorProto.FLOAT, axes: list[str | int] = axes) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, axes)

    return helper.make_graph(
        nodes.nodes, "shifts",
        [tensor("shift/number", TensorProto.INT64, []), tensor("shift/more", TensorProto.BOOL, []),
         tensor("shift/sum")],
        [tensor("shift/more_next", TensorProto.BOOL, []), tensor("shift/sum_next")], value_info=nodes.shapes)


def _shift_batch(top: Nodes, encoder: FoldedEncoder, denoiser: DenoiserSpec, image: str, shape: str,
                 space: tuple[str, str]) -> str:
    """The sum of the reconstructions of all shifts, which are one batch."""
    nodes, constant = Nodes("shift/", outer=top), top.constant
    shifts = [(constant(row), constant(column)) for row, column in all_shifts(encoder.strides).tolist()]
    pieces = [_shifted(nodes, encoder, image, space, shift) for shift in shifts]
    batch = nodes("Concat", *pieces, axis=0)
    sigma = nodes("Tile", _effective_sigma(nodes, denoiser.sigma_power), constant([len(shifts)]))
    graph = Graph(encoder, (INPUT, SIGMA), False, nodes, batch, sigma)
    graph.reconstruction(graph.iterate(), "shift/reconstruction")
    sizes_of_one = nodes("Slice", nodes("Shape", "shift/reconstruction"), constant([1]), constant([4]))
    split = nodes("Reshape", "shift/reconstruction", graph.concat(constant([len(shifts), -1]), sizes_of_one))
    total = ""
    for number, shift in enumerate(shifts):
        part = _unshifted(nodes, encoder, nodes("Gather", split, constant(number), axis=0), shape, shift)
        total = nodes("Add", total, part) if total else part
    top.nodes += nodes.nodes
    top.shapes += nodes.shapes
    return total


def _shifted(nodes: Nodes, encoder: FoldedEncoder, image: str, space: tuple[str, str], shift: tuple[str, str]) -> str:
    """One shift of an image, padded."""
    for axis, (size, k, s, at) in enumerate(zip(space, encoder.kernel_size, encoder.strides, shift, strict=True)):
        image = nodes("Gather", image, _shift_index(nodes, size, k, s, at), axis=axis + 1)
    return image


def _unshifted(nodes: Nodes, encoder: FoldedEncoder, array: str, shape: str, shift: tuple[str, str]) -> str:
    """The image's extent in an array of one shift."""
    constant = nodes.constant
    starts = [nodes("Add", at, constant(k - s)) for at, k, s in
              zip(shift, encoder.kernel_size, encoder.strides, strict=True)]
    start = nodes("Concat", *(nodes("Unsqueeze", v, constant([0])) for v in starts), axis=0)
    extent = nodes("Slice", shape, constant([1]), constant([3]))
    return nodes("Slice", array, start, nodes("Add", start, extent), constant([1, 2]))


def _effective_sigma(nodes: Nodes, power: float) -> str:
    """``core.spec.effective_sigma`` of the input sigma."""
    if not power:
        return SIGMA
    ratio = nodes("Div", SIGMA, nodes.constant(REFERENCE_SIGMA, np.float32))
    return nodes("Mul", SIGMA, nodes("Pow", ratio, nodes.constant(power, np.float32)))


def _shift_index(nodes: Nodes, size: str, kernel: int, stride: int, at: str) -> str:
    """Pixels of one axis that a padded shift takes, edges reflected: see ``core.cycle_spinning``."""
    constant = nodes.constant
    span = nodes("Max", nodes("Add", size, constant(kernel - stride - 1)), constant(0))
    length = nodes("Add", nodes("Mul", _ceil(nodes, span, stride), constant(stride)), constant(kernel))
    first = nodes("Sub", constant(stride - kernel), at)
    index = nodes("Range", first, nodes("Add", first, length), constant(1))
    # Period 2 (n - 1): 0 1 2 3 2 1 | 0 1 ...
    period = nodes("Max", nodes("Mul", nodes("Sub", size, constant(1)), constant(2)), constant(1))
    index = nodes("Mod", index, period)
    return nodes("Min", index, nodes("Sub", period, index))


def _ceil(nodes: Nodes, number: str, divisor: int) -> str:
    return nodes("Div", nodes("Add", number, nodes.constant(divisor - 1)), nodes.constant(divisor))


def _blur(nodes: Nodes, image: str, space: tuple[str, str], width: float) -> str:
    """Gaussian blur of each channel, edges mirrored with the edge pixel repeated: ``scipy.ndimage.gaussian_filter``."""
    constant = nodes.constant
    radius = int(4 * width + 0.5)
    weight = np.exp(-0.5 * (np.arange(-radius, radius + 1) / width) ** 2)
    weight /= weight.sum()
    shape = nodes("Shape", image)
    for axis, size in enumerate(space, start=1):
        period = nodes("Mul", size, constant(2))
        index = nodes("Range", constant(-radius), nodes("Add", size, constant(radius)), constant(1))
        index = nodes("Mod", index, period)
        index = nodes("Min", index, nodes("Sub", nodes("Sub", period, constant(1)), index))
        image = nodes("Gather", image, index, axis=axis)
    channels = nodes("Transpose", image, perm=[0, 3, 1, 2])
    rows = nodes("Shape", channels)
    planes = nodes("Reshape", channels, nodes("Concat", constant([-1, 1]), nodes(
        "Slice", rows, constant([2]), constant([4])), axis=0))  # each channel as an image
    for kernel in ((len(weight), 1), (1, len(weight))):
        planes = nodes("Conv", planes, constant(weight.reshape(1, 1, *kernel), np.float32), kernel_shape=list(kernel))
    back = nodes("Concat", *(nodes("Slice", shape, constant([i]), constant([i + 1])) for i in (0, 3, 1, 2)), axis=0)
    return nodes("Transpose", nodes("Reshape", planes, back), perm=[0, 2, 3, 1])
