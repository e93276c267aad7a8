"""Providers and options of sessions, as far as a machine without a GPU can tell; the operators of the graph."""

import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.runtime import sessions

import keras_crsae as kc

HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()
CPU = "CPUExecutionProvider"

F, N, B = "float", "int64", "bool"
#: Operators of the standard domain that onnxruntime's CUDA provider implements at opset 18, with the types of their
#: first input among float, int64 and bool: from docs/OperatorKernels.md of onnxruntime, "Operators implemented by
#: CUDAExecutionProvider" (October 2026). Shape arithmetic (int64) onnxruntime keeps on the CPU on purpose.
CUDA_OPERATORS = {
    "Abs": {F, N}, "Add": {F, N}, "And": {B}, "AveragePool": {F}, "BatchNormalization": {F}, "Cast": {F, N, B},
    "Clip": {F, N}, "Concat": {F, N, B}, "Conv": {F}, "DepthToSpace": {F}, "Div": {F, N}, "Equal": {F, N, B},
    "Expand": {F, N, B}, "Gather": {F, N, B}, "GatherND": {F, N, B}, "Greater": {F, N}, "GreaterOrEqual": {F, N},
    "Identity": {F, N, B}, "Less": {F, N}, "Loop": {N}, "MatMul": {F}, "Max": {F, N}, "MaxPool": {F}, "Min": {F, N},
    "Mod": {F, N}, "Mul": {F, N}, "Neg": {F, N}, "NonZero": {F, N, B}, "Pad": {F, B}, "Range": {F, N},
    "ReduceMax": {F, N}, "ReduceMean": {F}, "ReduceSumSquare": {F}, "Relu": {F}, "Reshape": {F, N, B},
    "Shape": {F, N, B}, "Slice": {F, N, B}, "Split": {F, N, B}, "Sqrt": {F}, "Squeeze": {F, N, B}, "Sub": {F, N},
    "TopK": {F, N}, "Transpose": {F, N, B}, "Unsqueeze": {F, N, B}, "Where": {B},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = kc.CRsAE(2, 7, iterations=12, lambda_init=0.7, seed=0)
    model.build((None, None, 1))
    return model, convert(model, tmp_path_factory.mktemp("onnx") / "e.onnx")


def nodes(graph):
    """All nodes, those of loop bodies too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes(attribute.g)


def unfit_for_cuda(proto):
    """(operator, type) pairs of a file that the CUDA provider lacks; FLOAT16 counts as float, as its table has it."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    names = {onnx.TensorProto.FLOAT: F, onnx.TensorProto.FLOAT16: F, onnx.TensorProto.INT64: N,
             onnx.TensorProto.BOOL: B}
    found, counted = set(), 0

    def look(graph, types):
        nonlocal counted
        types = dict(types)
        types.update({t.name: t.data_type for t in graph.initializer})
        types.update({v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)})
        for node in graph.node:
            kind = names[types[node.input[0]]]
            counted += 1
            if kind not in CUDA_OPERATORS.get(node.op_type, ()):
                found.add((node.op_type, kind))
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    look(attribute.g, types)

    look(inferred.graph, {})
    assert counted == len(list(nodes(proto.graph))) > 20
    return found


CONFIGS = {
    "signals": (dict(filters=3, kernel_size=9, iterations=25, strides=2, tolerance=1e-3), 2),
    "two-sided": (dict(filters=3, kernel_size=9, iterations=20, shrinkage="soft", tied=False), 1),
    "images": (dict(filters=4, kernel_size=5, rank=2, iterations=12, strides=(2, 1), shrinkage="soft"), 3),
    "plain images": (dict(filters=4, kernel_size=5, rank=2, iterations=12, block_size=1), 1)}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_cuda_provider_has_every_operator(name, tmp_path):
    options, channels = CONFIGS[name]
    model = kc.CRsAE(**options, lambda_init=0.7, seed=0)
    model.build((None,) * (model.rank + 1) + (channels,))
    path = convert(model, tmp_path / "e.onnx", inputs=("signal", "mask", "sigma"))
    assert unfit_for_cuda(onnx.load(path)) == set()


def test_an_operator_that_cuda_lacks_would_be_noticed(exported):
    proto = onnx.load(exported[1])
    next(n for n in proto.graph.node if n.op_type == "Conv").op_type = "Tan"
    assert unfit_for_cuda(proto) == {("Tan", F)}


def test_the_running_provider_is_said(exported):
    encoder = SparseEncoder(exported[1], providers=[CPU])
    assert encoder.provider == CPU and f"on {CPU}" in repr(encoder)
    assert SparseEncoder(exported[1], providers=CPU).provider == CPU


@pytest.mark.filterwarnings("ignore:Specified provider")  # onnxruntime knows better than the list below
def test_cuda_is_chosen_where_offered_and_its_absence_explained(exported, monkeypatch):
    """A wheel with CUDA on a machine without: onnxruntime lists the provider, then runs on the CPU."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["TensorrtExecutionProvider", sessions.CUDA, CPU])
    if HAS_CUDA:
        pytest.skip("This onnxruntime has CUDA; the fall-back is tested where it has not.")
    with pytest.warns(RuntimeWarning, match=f"runs on {CPU}, not on {sessions.CUDA}: .*providers_cuda") as caught:
        encoder = SparseEncoder(exported[1])
    assert sum(w.category is RuntimeWarning for w in caught) == 1 and encoder.provider == CPU
    assert encoder.encode(np.ones((1, 30, 1))).shape == (1, 24, 2)


def test_cuda_computes_in_float32_unless_an_option_says_otherwise():
    """TF32, onnxruntime's default, rounds to 10 bits: 1e-3, where the contract tolerates 1e-4."""
    offered = [sessions.CUDA, CPU]
    for given in (None, sessions.CUDA, [sessions.CUDA, CPU]):
        assert sessions.resolve_providers(offered, given)[0] == (sessions.CUDA, sessions.CUDA_OPTIONS)
    assert sessions.CUDA_OPTIONS["use_tf32"] == "0"
    own = {"use_tf32": "1", "device_id": 1, "cudnn_conv_algo_search": "EXHAUSTIVE"}
    assert sessions.resolve_providers(offered, [(sessions.CUDA, own), CPU]) == [(sessions.CUDA, own), CPU]
    assert sessions.resolve_providers([CPU], None) == [CPU]
    (_, half), _ = sessions.resolve_providers(offered, None, "float16")
    assert half == {"use_tf32": "0", "cudnn_conv_algo_search": "EXHAUSTIVE"}


@pytest.mark.parametrize("options", [dict(threads=1), dict(arena=False), dict(optimization="none"), dict(spinning=True),
                                     dict(optimization="basic", threads=2)])
def test_options_change_no_result(exported, options, rng):
    signal = 3 * rng.standard_normal((2, 61, 1))
    code = SparseEncoder(exported[1]).encode(signal)
    np.testing.assert_allclose(SparseEncoder(exported[1], **options).encode(signal), code, atol=1e-5 * code.max())


@pytest.mark.parametrize("options, words", [(dict(threads=0), "threads"), (dict(threads="all"), "threads"),
                                            (dict(optimization="best"), "optimization"), (dict(providers=[]), CPU)])
def test_unfit_options_are_refused(exported, options, words):
    with pytest.raises(ValueError, match=words):
        SparseEncoder(exported[1], **options)


@pytest.fixture()
def created(monkeypatch):
    """The sessions that are made meanwhile."""
    made, create = [], sessions.create_session

    def listed(*given):
        made.append(create(*given))
        return made[-1]

    monkeypatch.setattr(sessions, "create_session", listed)
    return made


def test_threads_reach_the_session(exported, created):
    SparseEncoder(exported[1], threads=1, arena=False)
    options = created[-1].get_session_options()
    assert options.intra_op_num_threads == 1 and options.enable_cpu_mem_arena is False
    for spinning in (False, True):
        SparseEncoder(exported[1], spinning=spinning)
        options = created[-1].get_session_options()
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == str(int(spinning))


def test_bound_runs_give_what_plain_runs_give(exported, rng, created):
    """The binding that a GPU session uses, here on the CPU's memory."""
    SparseEncoder(exported[1], providers=[CPU])
    feed = {"signal": (3 * rng.standard_normal((2, 61, 1))).astype("float32")}
    names = ["reconstruction", "code"]
    bound = sessions.run_bound(ort, created[-1], names, feed, ort.RunOptions(), "cpu")
    for made, plain in zip(bound, created[-1].run(names, feed), strict=True):
        np.testing.assert_array_equal(made, plain)


def test_what_an_output_does_not_need_is_not_computed(tmp_path):
    """One file with both outputs encodes as one with the code alone: same numbers, no decoder run."""
    model = kc.CRsAE(2, 7, iterations=12, lambda_init=0.7, seed=0)
    model.build((None, None, 1))
    encoder = SparseEncoder(convert(model, tmp_path / "e.onnx", loop=True))
    made = {}
    options = ort.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    session = ort.InferenceSession(encoder.path.read_bytes(), options, providers=[CPU])
    feed = {"signal": np.ones((1, 40, 1), "float32")}
    made["code"] = sessions.runner(ort, session)(["code"], feed)[0]
    ran = Path(session.end_profiling()).read_text()
    last = [n for n in onnx.load(encoder.path).graph.node if n.op_type == "Conv"][-1]
    assert f'"{last.name}_kernel_time"' not in ran and "Loop" in ran
    np.testing.assert_array_equal(made["code"], encoder.encode(feed["signal"]))


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_batch_in_parts_gives_the_whole(on_cpu, size):
    """On a GPU every change of shape costs a new plan of the convolutions: parts there have one size."""
    sizes = []

    def run(names, feed, options):
        sizes.append(len(feed["signal"]))
        return [feed["signal"] + 1, feed["sigma"]]

    split = sessions.BatchSplitter(lambda: run, run, on_cpu, threads=1)
    feed = {"signal": np.arange(21.0).reshape(7, 3), "sigma": np.arange(7.0)}
    signal, sigma = split(["a", "b"], feed, size)
    np.testing.assert_array_equal(signal, feed["signal"] + 1)
    np.testing.assert_array_equal(sigma, feed["sigma"])
    assert len(sizes) == -(-7 // size) and max(sizes) <= size
    assert on_cpu or len(set(sizes)) == 1


def test_parts_run_at_a_time_on_a_session_that_is_created_once():
    created, busy, most, lock = [], 0, 0, threading.Lock()
    barrier = threading.Barrier(3, timeout=20)

    def run(names, feed, options):
        nonlocal busy, most
        with lock:
            busy, most = busy + 1, max(most, busy + 1)
        barrier.wait()
        with lock:
            busy -= 1
        return [feed["signal"]]

    split = sessions.BatchSplitter(lambda: created.append(1) or run, None, True, threads=3)
    for _ in range(2):
        (result,) = split(["a"], {"signal": np.arange(6.0)}, 2)
        np.testing.assert_array_equal(result, np.arange(6.0))
    assert created == [1] and most == 3
