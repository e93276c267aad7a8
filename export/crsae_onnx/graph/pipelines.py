"""The exported file: the encoder's graph, and around it what finds spikes in recordings and denoises images."""

import numpy as np

from crsae_onnx.core.spec import INPUT, OPSET, REFERENCE_SIGMA, SIGMA, SPIKE_TENSORS, is_index, sizes, tensors
from crsae_onnx.core.spikes.template_matching import POOL
from crsae_onnx.graph.encoder import Graph, as_images
from crsae_onnx.graph.nodes import Nodes

#: Larger than any signal: what is not below it is NaN or infinite.
_LARGEST = 3e38


def build(encoder, outputs, inputs, whitening=None, rule=None, low_pass=None, sigma_power=0.0):
    """ModelProto of an ``Encoder``.

    Args:
        encoder: ``graph.Encoder``.
        outputs: some of "code", "reconstruction", "spikes", "denoised".
        inputs: "signal" and, where wanted, "mask" and "sigma".
        whitening: None, or the ``Whitening`` that recordings go through first, inside the graph.
        rule: ``SpikeRule`` of the output "spikes".
        low_pass: width of the blur that the output "denoised" takes from images first; 0: their mean alone.
        sigma_power: of the ``Denoiser``, for the output "denoised".
    """
    from onnx import TensorProto, helper

    rank, images, top = len(encoder.strides), as_images(encoder), Nodes()
    signal = INPUT if whitening is None else whiten(top, INPUT, whitening)
    if set(outputs) - {"denoised"}:
        graph = Graph(images, inputs, rank == 1, top, signal)
        folded = graph.iterate()
        if "code" in outputs or "spikes" in outputs:
            name = "code" if "code" in outputs else "inner_code"
            graph.code(folded, name)
        if "spikes" in outputs:
            find_spikes(top, name, rule)
        if "reconstruction" in outputs:
            graph.reconstruction(folded, "reconstruction")
    if "denoised" in outputs:
        denoise(top, images, low_pass, sigma_power)

    def tensor(name):
        kind = TensorProto.INT64 if is_index(name) else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, sizes(name, facts, unknown=None))

    facts = {"rank": rank, "channels": encoder.channels, "filters": encoder.filters}
    body = helper.make_graph(top.nodes, "crsae", [tensor(n) for n in inputs], [tensor(n) for n in tensors(outputs)],
                             top.used_constants(), value_info=top.shapes)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(body, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets),
                             producer_name="keras-crsae")


def whiten(nodes, recording, whitening):
    """``Whitening`` of (batch, time, channels), zero beyond both ends; NaN and infinite samples count as zero."""
    def number(value):
        return nodes.constant(value, np.float32)

    channels, (past, future) = whitening.channels, whitening.reach
    values = nodes("Sub", recording, number(whitening.offset))
    values = nodes("Where", nodes("Less", nodes("Abs", values), number(_LARGEST)), values, number(0.0))
    if whitening.common_reference:
        values = nodes("Sub", values, _median(nodes, values, channels))
    taps = whitening.taps[::-1].T[:, None]  # correlation, one filter a channel
    values = nodes("Conv", nodes("Transpose", values, perm=[0, 2, 1]), number(taps), group=channels,
                   kernel_shape=[len(whitening.taps)], pads=[past, future])
    return nodes("MatMul", nodes("Transpose", values, perm=[0, 2, 1]), number(whitening.mixing))


def _median(nodes, values, channels):
    """(batch, time, 1): the median over channels."""
    constant = nodes.constant
    largest = nodes("TopK", values, constant([channels // 2 + 1]), count=2, axis=-1)[0]
    middle = nodes("Slice", largest, constant([(channels - 1) // 2]), constant([channels // 2 + 1]), constant([-1]))
    return nodes("ReduceMean", middle, constant([-1]), keepdims=1)


def find_spikes(nodes, code, rule):
    """``SpikeRule.find`` on (batch, positions, units), as the three outputs ``SPIKE_TENSORS``."""
    def number(value):
        return nodes.constant(value, np.float32)

    constant, reach = nodes.constant, int(rule.distance)
    rows = nodes("Transpose", code, perm=[0, 2, 1])
    width = 2 * POOL + 1
    pooled = nodes("AveragePool", rows, kernel_shape=[width], pads=[POOL, POOL], count_include_pad=1)
    pooled = nodes("Mul", pooled, number(width))
    most = nodes("MaxPool", pooled, kernel_shape=[2 * reach + 1], pads=[reach, reach])
    earlier = nodes("Pad", pooled, constant([0, 0, 1, 0, 0, -1]), number(-1.0))
    before = nodes("MaxPool", earlier, kernel_shape=[reach], pads=[reach - 1, 0])
    found = nodes("And", nodes("Greater", pooled, number(np.reshape(rule.threshold, (1, -1, 1)))),
                  nodes("And", nodes("Equal", pooled, most), nodes("Greater", pooled, before)))
    if rule.alone:
        width = 2 * rule.alone + 1
        highest = nodes("ReduceMax", pooled, constant([1]), keepdims=1)
        highest = nodes("MaxPool", highest, kernel_shape=[width], pads=[rule.alone, rule.alone])
        found = nodes("And", found, nodes("Equal", pooled, highest))
    where = nodes("NonZero", nodes("Transpose", found, perm=[0, 2, 1]))  # batch, position, unit
    batch, position, unit = (nodes("Gather", where, constant(i), axis=0) for i in range(3))
    heights = nodes("GatherND", nodes("Transpose", pooled, perm=[0, 2, 1]), nodes("Transpose", where, perm=[1, 0]))
    sample = nodes("Add", position, nodes("Gather", constant(rule.extremum), unit))
    index, told, amplitude = SPIKE_TENSORS
    nodes("Concat", *(nodes("Unsqueeze", part, constant([1])) for part in (batch, sample)), axis=1, name=index)
    nodes("Identity", unit, name=told)
    nodes("Mul", heights, nodes("Gather", number(rule.gain), unit), name=amplitude)


def denoise(top, encoder, low_pass, sigma_power=0.0):
    """The output "denoised": (batch, height, width, channels) in [0, 1], as ``applications.denoising.pipeline``.

    The slow part apart, the rest reconstructed on every shift of the stride's grid (a Loop, one shift in memory at a
    time) at the noise level of the input ``sigma``, the mean of all shifts, clipped to [0, 1].
    """
    from onnx import TensorProto, helper

    constant = top.constant
    shape = top("Shape", INPUT)
    height, width = (top("Gather", shape, constant(axis)) for axis in (1, 2))
    slow = _blurred(top, INPUT, (height, width), low_pass) if low_pass else \
        top("ReduceMean", INPUT, constant([1, 2, 3]), keepdims=1)
    rest = top("Sub", INPUT, slow)
    nodes = Nodes("shift/", outer=top)
    rows, columns = encoder.strides
    shift = (nodes("Div", "shift/number", constant(columns)), nodes("Mod", "shift/number", constant(columns)))
    piece = rest
    for axis, (size, k, s, at) in enumerate(zip((height, width), encoder.kernel_size, encoder.strides, shift,
                                                strict=True)):
        piece = nodes("Gather", piece, _shift_index(nodes, size, k, s, at), axis=axis + 1)
    graph = Graph(encoder, (INPUT, SIGMA), False, nodes, piece, _effective_sigma(top, sigma_power))
    graph.reconstruction(graph.iterate(), "shift/made")
    starts = [nodes("Add", at, constant(k - s)) for at, k, s in
              zip(shift, encoder.kernel_size, encoder.strides, strict=True)]
    starts = nodes("Concat", *(nodes("Unsqueeze", v, constant([0])) for v in starts), axis=0)
    space = nodes("Slice", shape, constant([1]), constant([3]))
    part = nodes("Slice", "shift/made", starts, nodes("Add", starts, space), constant([1, 2]))
    nodes("Add", "shift/sum", part, name="shift/sum_next")
    nodes("Identity", "shift/more", name="shift/more_next")
    image = ["batch", "height", "width", encoder.channels]

    def tensor(name, kind=TensorProto.FLOAT, axes=image):
        return helper.make_tensor_value_info(name, kind, axes)

    body = helper.make_graph(
        nodes.nodes, "shifts",
        [tensor("shift/number", TensorProto.INT64, []), tensor("shift/more", TensorProto.BOOL, []),
         tensor("shift/sum")],
        [tensor("shift/more_next", TensorProto.BOOL, []), tensor("shift/sum_next")], value_info=nodes.shapes)
    zero = top("Expand", constant(0.0, np.float32), shape)
    total = top("Loop", constant(rows * columns), constant(True, bool), zero, body=body)
    clean = top("Add", slow, top("Div", total, constant(float(rows * columns), np.float32)))
    top("Clip", clean, constant(0.0, np.float32), constant(1.0, np.float32), name="denoised")


def _effective_sigma(nodes, power):
    """``contract.effective_sigma`` of the input sigma."""
    if not power:
        return SIGMA
    ratio = nodes("Div", SIGMA, nodes.constant(REFERENCE_SIGMA, np.float32))
    return nodes("Mul", SIGMA, nodes("Pow", ratio, nodes.constant(power, np.float32)))


def _shift_index(nodes, size, kernel, stride, at):
    """Pixels of one axis that a padded shift is made of, edges reflected: see ``keras_crsae.models.cycle_spinning``."""
    constant = nodes.constant
    reach = nodes("Max", nodes("Add", size, constant(kernel - stride - 1)), constant(0))
    length = nodes("Add", nodes("Mul", _ceil(nodes, reach, stride), constant(stride)), constant(kernel))
    first = nodes("Sub", constant(stride - kernel), at)
    index = nodes("Range", first, nodes("Add", first, length), constant(1))
    # Period 2 (n - 1): 0 1 2 3 2 1 | 0 1 ...
    period = nodes("Max", nodes("Mul", nodes("Sub", size, constant(1)), constant(2)), constant(1))
    index = nodes("Mod", index, period)
    return nodes("Min", index, nodes("Sub", period, index))


def _ceil(nodes, number, divisor):
    return nodes("Div", nodes("Add", number, nodes.constant(divisor - 1)), nodes.constant(divisor))


def _blurred(nodes, image, space, width):
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
        "Slice", rows, constant([2]), constant([4])), axis=0))  # each channel an image of its own
    for kernel in ((len(weight), 1), (1, len(weight))):
        planes = nodes("Conv", planes, constant(weight.reshape(1, 1, *kernel), np.float32), kernel_shape=list(kernel))
    back = nodes("Concat", *(nodes("Slice", shape, constant([i]), constant([i + 1])) for i in (0, 3, 1, 2)), axis=0)
    return nodes("Transpose", nodes("Reshape", planes, back), perm=[0, 2, 3, 1])
