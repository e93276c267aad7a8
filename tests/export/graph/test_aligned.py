"""Iterations in onnxruntime's blocked layout compute what the plain ones do, and stay in that layout."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from crsae_onnx.graph import pipelines
from crsae_onnx.graph.aligned import EPSILON, VARIANCE, turns
from crsae_onnx.graph.folding import LANES, aligned_block, fold_encoder

from tests.export.graph.test_encoder import encode, random_spec, synthesis


def built(spec, outputs=("code", "reconstruction")):
    model = pipelines.build(fold_encoder(spec, aligned=True), outputs, ("signal",))
    onnx.checker.check_model(model, full_check=True)
    return model


def wide_spec(rng, **changes):
    """Filters long enough for blocks of whole vectors."""
    return random_spec(rng, **{"kernel_size": 45, "channels": 1, "block": (16,), "step_size": 0.1, **changes})


@pytest.mark.parametrize("changes", [
    {}, dict(kernel_size=60, strides=2), dict(channels=4, filters=8), dict(channels=16, filters=16, block=None),
    dict(momentum=np.zeros(9)), dict(momentum=np.array([0.4, 0.0, 0.7, 0.7])), dict(iterations=1),
    dict(iterations=60)])
def test_code_and_reconstruction_are_those_of_the_iteration(changes, rng):
    spec = wide_spec(rng, **changes)
    session = ort.InferenceSession(built(spec).SerializeToString(), providers=["CPUExecutionProvider"])
    for more in (0, 15, 16, 62):  # codes that end with a block, after one position of it, before its last
        time = spec.kernel_size[0] + more
        signal = 9 * rng.standard_normal((2, time, spec.channels))
        code, reconstruction = session.run(["code", "reconstruction"], {"signal": signal.astype(np.float32)})
        expected = encode(spec, signal)
        decoded = synthesis(expected, spec.decoder_kernel, spec.strides[0])[:, :time]
        np.testing.assert_allclose(code, expected, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(reconstruction, decoded, atol=1e-5 * np.abs(decoded).max())
    assert 0 < np.count_nonzero(code) < code.size


def test_an_adjoint_of_its_own_is_used(rng):
    kernel = wide_spec(rng).kernel
    spec = wide_spec(rng, kernel=kernel, adjoint_kernel=kernel + 0.1 * rng.standard_normal(kernel.shape))
    signal = 9 * rng.standard_normal((1, 80, 1))
    session = ort.InferenceSession(built(spec).SerializeToString(), providers=["CPUExecutionProvider"])
    code, expected = session.run(["code"], {"signal": signal.astype(np.float32)})[0], encode(spec, signal)
    np.testing.assert_allclose(code, expected, atol=1e-5 * np.abs(expected).max())


def test_a_code_that_rests_stays_where_it_is_and_the_last_is_the_code_itself():
    momentum = np.float32(np.arange(200) / (np.arange(200) + 3))
    made = turns(momentum)
    assert len(made) == 200 and made[-1].scale == 1.0
    assert all(2.0**-42 < turn.scale < 2.0**42 for turn in made)
    for last, turn, following, factor in zip(made, made[1:], made[2:], momentum[1:], strict=False):
        # w of a code that is 1 twice is 1, to the last digit of double precision.
        w = following.scale * (turn.growth / turn.scale - turn.pull / last.scale)
        assert abs(w - 1) < 1e-12 and turn.pull == np.float32(turn.pull)
        assert abs(following.scale * turn.pull / last.scale - factor) < 1e-5


def test_the_normalisation_multiplies_by_its_scale_alone():
    assert np.sqrt(VARIANCE + np.float32(EPSILON)) == np.float32(1.0)


def test_onnxruntime_stays_in_its_blocked_layout(rng, tmp_path):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(built(wide_spec(rng), ("code",)).SerializeToString(), options,
                         providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    if "ReorderInput" not in kinds:
        pytest.skip("onnxruntime has no blocked layout on this processor")
    assert kinds.count("ReorderInput") == 2 and kinds.count("ReorderOutput") == 1  # signal and open positions; code
    assert not {"FusedConv", "BatchNormalization", "Relu", "Add"} & set(kinds[kinds.index("ReorderInput"):])


@pytest.mark.parametrize("changes, block", [
    ({}, 16), (dict(kernel_size=60, strides=2), 16), (dict(strides=2), None),
    (dict(channels=16, filters=16, block=None), 1), (dict(channels=4, filters=8), 16),
    (dict(kernel_size=5, block=(4,)), None), (dict(code_prior="soft"), None), (dict(likelihood="poisson"), None)])
def test_blocks_hold_whole_vectors_or_there_is_none(changes, block, rng):
    spec = wide_spec(rng, **changes)
    assert aligned_block(spec) == block
    assert block is None or block * spec.channels * spec.strides[0] % LANES == block * spec.filters % LANES == 0
    assert fold_encoder(spec, aligned=True).loop is (block is None)
