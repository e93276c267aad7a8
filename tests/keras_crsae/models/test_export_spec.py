"""A model in plain numbers: what it says is what the model computes with."""

import json

import numpy as np
import pytest
from crsae_onnx.core.spec_parts import DenoiserSpec

import keras_crsae as kc
from keras_crsae.models.baselines import LCSC
from keras_crsae.solvers.fista import FISTA


def built(model, channels=1):
    model.build((None,) * (model.rank + 1) + (channels,))
    return model


def test_the_spec_holds_the_models_numbers():
    model = built(kc.CRsAE(3, 9, strides=2, iterations=12, sigma=0.5, lambda_init=[1.0, 2.0, 3.0], tolerance=1e-3,
                           tied=False, seed=0), channels=2)
    model.decoder.kernel.assign(-model.decoder.kernel.value)
    spec = model.export_spec()
    np.testing.assert_allclose(spec.kernel, model.dictionary.unit_kernel(), rtol=1e-6)
    np.testing.assert_allclose(spec.decoder_kernel, -spec.kernel, rtol=1e-6)
    assert (spec.rank, spec.strides, spec.iterations, spec.tolerance) == (1, (2,), 12, 1e-3)
    assert spec.adjoint_kernel is None and spec.denoiser is None and not spec.active
    np.testing.assert_allclose(spec.penalty_weight, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(spec.threshold, np.asarray(model.encoder.cell.threshold()), rtol=1e-6)
    np.testing.assert_allclose(spec.momentum, FISTA().momentum(12), rtol=1e-6)
    assert spec.code_prior == "nonnegative_soft" and spec.likelihood == "gaussian"
    assert json.loads(json.dumps(spec.config))["filters"] == 3 and spec.versions["keras"]


def test_a_denoiser_says_how_images_are_prepared():
    model = built(kc.Denoiser(6, 4, strides=2, iterations=3, low_pass=1.5, sigma_power=0.2, lambda_init=1.0))
    spec = model.export_spec()
    assert spec.denoiser == DenoiserSpec(1.5, 0.2) and spec.code_prior == "soft" and spec.rank == 2


def test_learned_coding_has_an_adjoint_of_its_own_and_no_momentum():
    model = built(LCSC(6, 4, strides=2, rank=2, iterations=3))
    spec = model.export_spec()
    np.testing.assert_allclose(spec.adjoint_kernel, model.analysis.kernel, rtol=1e-6)
    assert not spec.momentum.any() and spec.step_size == 1.0


def test_a_model_without_weights_and_one_that_diverged_are_refused():
    with pytest.raises(ValueError, match="no weights yet"):
        kc.CRsAE(2, 7).export_spec()
    model = built(kc.CRsAE(2, 7))
    model.lambda_reg.assign([1.0, np.nan])
    with pytest.raises(ValueError, match="lambda_reg is not finite"):
        model.export_spec()


def test_the_reference_is_the_model_itself_where_that_computes_as_the_file_does():
    model = built(kc.CRsAE(2, 7, iterations=5, seed=0))
    assert model.export_reference() is model
    assert model.export_reference(1e-2).encoder.tolerance == 1e-2


@pytest.mark.parametrize("options", [dict(active=True), dict(dtype="mixed_bfloat16"), dict(unroll=True)])
def test_else_it_is_a_copy_with_the_same_weights(options):
    model = built(kc.CRsAE(2, 7, iterations=30, lambda_init=0.7, seed=0, **options))
    copy = model.export_reference(1e-2)
    assert copy is not model and not copy.encoder.active and copy.compute_dtype == "float32"
    assert copy.encoder.tolerance == 1e-2
    for one, other in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
