"""EncoderSpec: what it derives, what it refuses; the names and axes of a file."""

import dataclasses

import numpy as np
import pytest
from crsae_onnx.core.spec import EncoderSpec, axes, select_names, sizes, tensors
from crsae_onnx.core.spec_parts import DenoiserSpec, LayerSpec


def spec(**changes):
    kernel = np.arange(18.0).reshape(3, 2, 3)
    values = dict(kernel=kernel, decoder_kernel=-kernel, strides=(2,), step_size=0.25, lambda_reg=[1.0, 2.0, 3.0],
                  sigma=0.5, momentum=np.zeros(7))
    return EncoderSpec(**{**values, **changes})


def test_sizes_and_weights_follow_from_the_arrays():
    made = spec()
    assert (made.rank, made.kernel_size, made.channels, made.filters, made.iterations) == (1, (3,), 2, 3, 7)
    assert made.block == (1,) and made.kernel.dtype == np.float32
    np.testing.assert_allclose(made.penalty_weight, [0.25, 0.5, 0.75])  # lambda sigma^2
    np.testing.assert_allclose(made.threshold, made.penalty_weight * made.step_size)
    np.testing.assert_array_equal(spec(lambda_reg=[4.0]).lambda_reg, [4.0] * 3)  # shared


def layer(**changes):
    values = dict(kernel=np.ones((3, 2, 3)), adjoint_kernel=np.ones((3, 2, 3)), slope=np.ones(3), offset=np.zeros(3))
    return LayerSpec(**{**values, **changes})


def test_a_spec_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec().sigma = 2.0


@pytest.mark.parametrize("changes, words", [
    (dict(decoder_kernel=np.zeros((3, 2, 4))), "decoder_kernel"), (dict(adjoint_kernel=np.zeros((4, 2, 3))), "adjoint"),
    (dict(strides=(1, 1)), "one stride"), (dict(block=(2, 2)), "block"), (dict(lambda_reg=[1.0, 2.0]), "lambda_reg"),
    (dict(momentum=0.0), "momentum"), (dict(sigma=np.nan), "sigma is not finite"),
    (dict(kernel=np.full((3, 2, 3), np.inf)), "kernel is not finite"), (dict(step_size=np.inf), "step_size is not"),
    (dict(layers=(layer(),)), "each of 7"), (dict(layers=6 * (layer(),) + (layer(slope=np.ones(2)),)), "6..slope"),
    (dict(layers=7 * (layer(offset=np.full(3, np.nan)),)), "offset of iteration 0 is not finite")])
def test_values_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        spec(**changes)


def test_the_hash_follows_what_is_computed_with_alone():
    first = spec().weights_sha256()
    assert len(first) == 64 and spec(tolerance=1e-3, block=(4,), config={"a": 1}).weights_sha256() == first
    others = [spec(sigma=0.6), spec(lambda_reg=[1.0, 2.0, 4.0]), spec(step_size=0.3), spec(kernel=np.ones((3, 2, 3))),
              spec(decoder_kernel=np.ones((3, 2, 3))), spec(adjoint_kernel=np.ones((3, 2, 3))),
              spec(layers=7 * (layer(),)), spec(layers=6 * (layer(),) + (layer(offset=np.ones(3)),))]
    assert len({first, *(other.weights_sha256() for other in others)}) == 9


def test_preprocessing_is_the_denoisers():
    assert spec().preprocessing() == []
    steps = spec(denoiser=DenoiserSpec(1.5, 0.2)).preprocessing()
    assert len(steps) == 3 and "blur of 1.5 pixels" in steps[0] and "(level / 0.1) ** 0.2" in steps[1]


def test_names_axes_and_sizes_of_tensors():
    assert axes("signal", 2) == ("batch", "height", "width", "channels") and axes("sigma", 1) == ("batch",)
    assert axes("code", 1) == ("batch", "time_positions", "filters") and axes("spike_index", 1) == ("spikes", 2)
    assert tensors(("code", "spikes")) == ["code", "spike_index", "spike_unit", "spike_amplitude"]
    facts = {"rank": 1, "channels": 2, "filters": 3}
    assert sizes("signal", facts) == [-1, -1, 2] and sizes("code", facts, None) == ["batch", "time_positions", 3]


def test_selected_names_are_distinct_and_ordered():
    assert select_names(["b", "a", "b"], ("a", "b", "c"), "outputs") == ("a", "b")
    assert select_names("c", ("a", "b", "c"), "outputs") == ("c",)
    for wrong in ((), ("d",)):
        with pytest.raises(ValueError, match="`outputs`"):
            select_names(wrong, ("a", "b", "c"), "outputs")
