"""Whitening: against direct sums; the same numbers whatever stretch is asked for."""

import numpy as np
import pytest
from crsae_onnx.core.spikes.whitening import Whitening
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def recording():
    return np.random.default_rng(3).integers(-900, 900, size=(200, 3)).astype(np.int16)


@pytest.fixture(scope="module")
def whitening():
    rng = np.random.default_rng(4)
    return Whitening(rng.normal(size=(9, 3)), rng.normal(size=(3, 3)), [10.0, -5.0, 0.0], lead=2, common_reference=True)


def twin(whitening, recording):
    values = recording.astype(np.float64) - whitening.offset
    values -= np.median(values, axis=1, keepdims=True)
    padded = np.pad(values, ((20, 20), (0, 0)))
    out = np.zeros_like(values)
    for t in range(len(values)):
        for j in range(len(whitening.taps)):
            out[t] += whitening.taps[j] * padded[20 + t + whitening.lead - j]
    return out @ whitening.mixing


def test_equals_direct_sums(whitening, recording):
    expected = twin(whitening, recording)
    np.testing.assert_allclose(whitening(recording, 0, 200), expected, atol=1e-5 * np.abs(expected).max())


@given(start=st.integers(-30, 220), length=st.integers(1, 90))
@settings(deadline=None, max_examples=40)
def test_any_stretch_equals_the_whole(start, length):
    rng = np.random.default_rng(5)
    recording, whitening = rng.normal(size=(200, 2)), Whitening(rng.normal(size=(5, 2)), np.eye(2), np.zeros(2), lead=1)
    whole = whitening(recording, -60, 360)
    np.testing.assert_allclose(whitening(recording, start, start + length), whole[start + 60:start + 60 + length],
                               atol=1e-5)


def test_gaps_count_as_silence(whitening, recording):
    gap, silent = recording.astype(np.float64), recording.astype(np.float64)
    gap[50:60], silent[50:60] = np.nan, whitening.offset
    assert np.isfinite(whitening(gap, 0, 200)).all()
    np.testing.assert_allclose(whitening(gap, 0, 40), whitening(silent, 0, 40), atol=1e-4)


def test_state_restores(whitening, recording):
    again = Whitening(**whitening.state())
    np.testing.assert_array_equal(again(recording, 3, 77), whitening(recording, 3, 77))


@pytest.fixture(scope="module", params=[(1, False, 5, 0), (3, True, 5, 0), (4, True, 0, 30), (2, False, 40, 0),
                                        (2, False, 5, 20)])
def blanked(request):
    """(whitening, recording float32 of 500 samples): constants, straight lines, gaps, on some channels or on all."""
    channels, reference, samples, fall = request.param
    rng = np.random.default_rng(6)
    whitening = Whitening(rng.normal(size=(9, channels)), rng.normal(size=(channels, channels)),
                          10 * rng.normal(size=channels), 2, reference, samples, 0.01, fall)
    recording = (3 * rng.normal(size=(500, channels)) + whitening.offset).astype(np.float32)
    recording[0:30, 0], recording[100:150, 0], recording[200:204], recording[300:350] = 3, 70, 5, 0
    recording[400:460, -1], recording[480:] = np.linspace(0, 9, 60), 1
    recording[250:260, channels // 2] = np.nan
    return whitening, recording


def test_blanks_count_as_silence(blanked):
    whitening, recording = blanked
    holds = whitening.holds_noise(recording, 0, 500)
    assert not holds[250:260, whitening.channels // 2].any() and holds[200:204].all()
    if whitening.blank_samples == 5:
        assert not holds[100:150, 0].any() and not holds[400:460, -1].any()
        assert not holds[np.r_[0:30, 300:350, 480:500], 0].any()
    if whitening.fall_samples:
        return
    if whitening.blank_samples == 5:
        assert not whitening(recording, 310, 340).any()
    plain = whitening.subtract_reference(recording, 0, 500)
    assert not plain[~holds].any() and plain[holds].any()


def test_gaps_are_bridged_before_a_band_pass():
    whitening = Whitening(np.ones((1, 1)), np.eye(1), [10.0], blank_samples=5, fall_samples=20)
    recording = 20 + np.random.default_rng(7).normal(size=(300, 1))
    recording[50:60], recording[150:250], recording[280] = np.nan, 0, np.inf
    plain = whitening.subtract_reference(recording, -5, 300)[5:]
    np.testing.assert_allclose(plain[49:61, 0], np.linspace(*recording[[49, 60], 0] - 10, 12))
    np.testing.assert_allclose(plain[150 + 9, 0], (recording[149, 0] - 10) / 2)  # half-way down
    steps = np.diff(plain[:, 0])
    assert not plain[170:230].any() and (steps[149:169] < 0).all() and (steps[231:249] > 0).all()
    assert plain[280] == 0, "infinity counts as zero"


def test_any_stretch_of_a_blanked_recording_equals_the_whole(blanked):
    whitening, recording = blanked
    whole = whitening(recording, -60, 560)
    for start, stop in ((0, 20), (90, 160), (120, 130), (205, 330), (470, 560)):
        np.testing.assert_allclose(whitening(recording, start, stop), whole[start + 60:stop + 60], atol=1e-4)
        past, future = whitening.context
        low, high = max(0, start - past), min(500, stop + future)
        np.testing.assert_allclose(whitening(recording[low:high], start - low, stop - low),
                                   whole[start + 60:stop + 60], atol=1e-4, err_msg="within the context")


@pytest.mark.parametrize("length", [3, 20, 300, 500])
def test_the_graph_whitens_as_numpy_does(blanked, length):
    onnxruntime, helper = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx.helper")
    from crsae_onnx.core.spec import OPSET
    from crsae_onnx.graph.nodes import Nodes
    from crsae_onnx.graph.pipelines import whiten

    whitening, recording = blanked
    nodes = Nodes()
    out = whiten(nodes, "signal", whitening)
    graph = helper.make_graph(
        nodes.nodes, "whitening", [helper.make_tensor_value_info("signal", 1, ["batch", "time", whitening.channels])],
        [helper.make_tensor_value_info(out, 1, None)], nodes.used_constants())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = whitening(recording[:length], 0, length)
    received = session.run(None, {"signal": recording[None, :length]})[0][0]
    np.testing.assert_allclose(received, expected, atol=1e-5 * np.abs(expected).max())
