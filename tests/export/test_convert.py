"""Export: parity at awkward shapes, self-description, refusals."""

import json
import time

import numpy as np
import onnx
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.file_format.description import describe
from crsae_onnx.validate import validate

import keras_crsae as kc
from tests.export import operator_support

ALL_INPUTS = ("signal", "mask", "sigma")
CONFIGS = {
    "one-sided": (dict(filters=3, kernel_size=9, iterations=25), 1),
    "two-sided": (dict(filters=3, kernel_size=9, iterations=20, shrinkage="soft"), 1),
    "strided": (dict(filters=3, kernel_size=9, iterations=12, strides=4), 1),
    "multichannel": (dict(filters=2, kernel_size=7, iterations=9), 3),
    "plain": (dict(filters=2, kernel_size=7, iterations=11, block_size=1, shrinkage="soft"), 2),
    "untied": (dict(filters=2, kernel_size=7, iterations=10, tied=False, lambda_shared=True), 1),
    "images": (dict(filters=4, kernel_size=5, rank=2, iterations=12), 1),
    "strided images": (dict(filters=4, kernel_size=(5, 3), rank=2, strides=(2, 1), iterations=12,
                            shrinkage="soft"), 2),
}


def built(options, channels=1):
    model = kc.CRsAE(**options, lambda_init=0.7, seed=0)
    model.build((None,) * (model.rank + 1) + (channels,))
    if not model.tied:
        model.decoder.kernel.assign(-model.decoder.kernel.value)
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = built(CONFIGS["one-sided"][0])
    return model, convert(model, tmp_path_factory.mktemp("onnx") / "encoder.onnx", loop=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_onnxruntime_equals_keras_at_ten_shapes(name, tmp_path):
    options, channels = CONFIGS[name]
    model = built(options, channels)
    path = convert(model, tmp_path / "encoder.onnx")
    shapes = [(1 + i % 3, *(s + 3 * i + a for a, s in enumerate((model.kernel_size[0],) * model.rank)), channels)
              for i in range(1, 11)]
    report = validate(model, path, shapes=shapes)
    assert len(report) == 20 and report.difference <= 1e-5


@pytest.mark.parametrize("name", ["one-sided", "two-sided", "strided", "strided images"])
def test_mask_and_sigma_act_as_in_keras(name, tmp_path):
    options, channels = CONFIGS[name]
    model = built(options, channels)
    path = convert(model, tmp_path / "encoder.onnx", inputs=ALL_INPUTS)
    report = validate(model, path)
    assert [row["given"] for row in report[:4]] == [[], [], ["mask", "sigma"], ["mask", "sigma"]]
    assert report.difference <= 1e-5


@pytest.mark.parametrize("iterations", [1, 9, 10, 23])
def test_iterations_that_fill_no_loop_body_are_all_run(iterations, tmp_path):
    model = built(dict(filters=2, kernel_size=5, iterations=iterations))
    report = validate(model, convert(model, tmp_path / "e.onnx", loop=True), shapes=[(1, 47, 1)])
    assert report.difference <= 1e-5


def test_tolerance_stops_the_loop_where_keras_stops(tmp_path):
    options = dict(filters=2, kernel_size=7, iterations=400)
    full, early = built(options), built(dict(options, tolerance=1e-2))
    path = convert(early, tmp_path / "own.onnx")
    assert validate(early, path).difference <= 1e-5
    # The same stop by argument, on a model that has none.
    other = convert(full, tmp_path / "argument.onnx", tolerance=1e-2, outputs="code")
    assert SparseEncoder(other).info["tolerance"] == 1e-2
    assert validate(full, other).difference <= 1e-5
    signal = 3 * np.random.default_rng(0).standard_normal((1, 200, 1)).astype(np.float32)
    stopped, code = SparseEncoder(path).encode(signal), full.encode(signal)
    assert 1e-5 < np.abs(stopped - code).max() / np.abs(code).max() < 0.5


def test_file_describes_itself_and_names_its_axes(exported, tmp_path):
    model, path = exported
    info = SparseEncoder(path).info
    assert info["filters"] == 3 and info["kernel_size"] == [9] and info["iterations"] == 25
    np.testing.assert_allclose(info["penalty_weight"], 0.7, rtol=1e-6)  # lambda sigma^2, sigma = 1
    np.testing.assert_allclose(info["threshold"], 0.7 * float(model.step_size), rtol=1e-6)
    assert info["versions"]["onnx"] == onnx.__version__ and info["config"]["filters"] == 3
    proto = onnx.load(path)
    assert proto.opset_import[0].version >= 18
    assert axes(proto) == {"signal": ["batch", "time", 1], "code": ["batch", "time_positions", 3],
                           "reconstruction": ["batch", "time", 1]}
    images = built(*CONFIGS["strided images"])
    assert axes(onnx.load(convert(images, tmp_path / "i.onnx", outputs=["code"], inputs=ALL_INPUTS))) == {
        "signal": ["batch", "height", "width", 2], "mask": ["batch", "height", "width", 2], "sigma": ["batch"],
        "code": ["batch", "height_positions", "width_positions", 4]}


def axes(proto):
    return {t.name: [d.dim_param or d.dim_value for d in t.type.tensor_type.shape.dim]
            for t in (*proto.graph.input, *proto.graph.output)}


def test_loop_body_holds_ten_iterations_and_no_shape_arithmetic(exported):
    loops = [n for n in onnx.load(exported[1]).graph.node if n.op_type == "Loop"]
    assert len(loops) == 1
    kinds = [n.op_type for n in loops[0].attribute[0].g.node]
    assert kinds.count("Conv") == 20
    assert not {"Transpose", "Cast", "Shape", "Reshape", "Slice", "Concat"} & set(kinds)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_iterations_written_out_compute_what_the_loop_computes(name, precision, tmp_path, rng):
    options, channels = CONFIGS[name]
    model = built(options, channels)
    written, looped = (SparseEncoder(convert(model, tmp_path / f"{loop}.onnx", inputs=ALL_INPUTS, precision=precision,
                                             loop=loop)) for loop in (False, True))
    assert "loop" not in looped.info and written.info["loop"] is False
    for extra in (0, 7, 31):
        shape = (2, *(k + extra + axis for axis, k in enumerate(model.kernel_size)), channels)
        signal = 3 * rng.standard_normal(shape)
        given = {"mask": rng.random(shape) < 0.8, "sigma": np.array([0.8, 1.3])} if extra else {}
        for output in ("code", "reconstruction"):
            expected, made = (e.run([output], signal, **given)[output] for e in (looped, written))
            assert np.abs(made - expected).max() <= (1e-5 if precision == "float32" else 1e-3) * np.abs(expected).max()


@pytest.mark.parametrize("options, arguments, expected", [
    (dict(iterations=20), {}, False), (dict(iterations=21), {}, True), (dict(iterations=10), dict(loop=True), True),
    (dict(iterations=30), dict(loop=False), False), (dict(iterations=20), dict(tolerance=1e-2), True),
    (dict(iterations=20, tolerance=1e-2), {}, True), (dict(kernel_size=45, iterations=60), {}, False),
    (dict(kernel_size=45, iterations=401), {}, True),
    (dict(kernel_size=45, iterations=60), dict(inputs=ALL_INPUTS), True),
    (dict(kernel_size=45, iterations=60, tolerance=1e-2), {}, True)])
def test_few_iterations_are_written_out(options, arguments, expected, tmp_path):
    model = built(dict(filters=2, **{"kernel_size": 5, **options}))
    path = convert(model, tmp_path / "e.onnx", **arguments)
    assert ("Loop" in {node.op_type for node in onnx.load(path).graph.node}) is expected
    assert ("written out" in describe(path)[1]) is not expected


@pytest.mark.parametrize("name, arguments", [
    *((name, dict(inputs=ALL_INPUTS)) for name in CONFIGS),
    ("strided images", dict(outputs="denoised", inputs=("signal", "sigma")))])
def test_written_out_for_one_size_only_plain_operators_are_left(name, arguments, tmp_path):
    import onnxruntime as ort

    path = convert(built(*CONFIGS[name]), tmp_path / "e.onnx", loop=False, **arguments)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "one_size.onnx")
    for axis, size in (("batch", 2), ("time", 61), ("height", 33), ("width", 31)):
        options.add_free_dimension_override_by_name(axis, size)
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert {node.op_type for node in onnx.load(tmp_path / "one_size.onnx").graph.node} <= operator_support.PLAIN
    graph = onnx.load(path).graph
    kinds = {node.op_type for node in graph.node}
    assert kinds <= operator_support.TENSORRT and not kinds & operator_support.NOT_IN_CUDA_GRAPHS
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        number = operator_support.TENSORRT_CONSTANT_INPUTS.get(node.op_type, len(node.input))
        assert set(node.input[number:number + 1]) <= constants, node.name


def test_plain_operators_run_everywhere():
    assert operator_support.PLAIN <= operator_support.TENSORRT & operator_support.WEBGPU
    assert not operator_support.PLAIN & operator_support.NOT_IN_CUDA_GRAPHS


def test_onnxruntime_fuses_each_convolution_with_its_sum(exported, tmp_path):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(str(exported[1]), options, providers=["CPUExecutionProvider"])
    loop = next(n for n in onnx.load(tmp_path / "optimised.onnx").graph.node if n.op_type == "Loop")
    kinds = [n.op_type for n in loop.attribute[0].g.node]
    assert kinds.count("FusedConv") == 20 and "Conv" not in kinds and "Relu" not in kinds


def test_four_hundred_iterations_convert_and_load_in_seconds_of_processor_time(tmp_path):
    model = built(dict(filters=3, kernel_size=45, iterations=400))
    start = time.process_time()
    path = convert(model, tmp_path / "e.onnx")
    SparseEncoder(path)
    assert time.process_time() - start < 20
    assert path.stat().st_size < 1e6


def test_code_alone_leaves_the_decoder_out(tmp_path):
    model = built(CONFIGS["untied"][0])
    both, code = (convert(model, tmp_path / f"{i}.onnx", outputs=o).stat().st_size
                  for i, o in enumerate((("code", "reconstruction"), ("code",))))
    assert code < both
    encoder = SparseEncoder(tmp_path / "1.onnx")
    assert encoder.encode(np.ones((1, 30, 1))).shape == (1, 24, 2)
    with pytest.raises(ValueError, match="without 'reconstruction'"):
        encoder.reconstruct(np.ones((1, 30, 1)))


def test_existing_file_is_kept_unless_overwritten(exported, tmp_path):
    model, path = exported
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite"):
        convert(model, path)
    assert path.read_bytes() == before
    target = tmp_path / "e.onnx"
    target.write_text("old")
    assert SparseEncoder(convert(model, target, overwrite=True)).info["filters"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["e.onnx"]


@pytest.mark.parametrize("options, error, words", [
    (dict(outputs=("kode",)), ValueError, "outputs"), (dict(outputs=()), ValueError, "outputs"),
    (dict(inputs=("mask",)), ValueError, "must contain 'signal'"), (dict(inputs=("noise",)), ValueError, "inputs"),
    (dict(tolerance=0.0), ValueError, "tolerance"), (dict(tolerance="low"), ValueError, "tolerance"),
    (dict(loop="never"), ValueError, "loop"), (dict(loop=False, tolerance=1e-2), ValueError, "in a Loop alone"),
    (dict(path="nowhere/e.onnx"), FileNotFoundError, "folder")])
def test_unfit_arguments_are_refused_and_nothing_is_written(exported, tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        convert(exported[0], **{"path": tmp_path / "e.onnx", **options})
    assert not list(tmp_path.iterdir())


def test_unfit_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no weights"):
        convert(kc.CRsAE(2, 7), tmp_path / "e.onnx")
    with pytest.raises(ValueError, match="CRsAE"):
        convert("model.keras", tmp_path / "e.onnx")
    broken = built(CONFIGS["one-sided"][0])
    broken.sigma.assign(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        convert(broken, tmp_path / "e.onnx")


def test_metadata_is_plain_json(exported):
    stored = {p.key: p.value for p in onnx.load(exported[1]).metadata_props}
    assert json.loads(stored["crsae"])["format_version"] == 1
