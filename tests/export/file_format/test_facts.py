"""What a file says about itself."""

import json

import numpy as np
import pytest
from crsae_onnx.core.spec import ABOUT, EncoderSpec
from crsae_onnx.core.spec_parts import DenoiserSpec
from crsae_onnx.file_format.container import REQUIRED
from crsae_onnx.file_format.facts import check_about, encoder_facts


@pytest.fixture
def facts():
    filters = np.ones((5, 1, 2), np.float32)
    spec = EncoderSpec(filters, filters, (1,), step_size=0.25, lambda_reg=[2.0, 3.0], sigma=0.5, momentum=np.zeros(4),
                       denoiser=DenoiserSpec(0.0), active=True, config={"a": 1}, versions={"keras": "3"})
    return encoder_facts(spec, block=(4,), outputs=("code",), inputs=("signal",), tolerance=1e-3,
                         precision="float16", versions={"onnx": "1"})


def test_every_required_fact_is_there_and_all_are_plain_json(facts):
    assert set(REQUIRED) <= set(facts) and json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_penalty_weight_is_in_the_signals_unit_and_threshold_of_one_iteration(facts):
    np.testing.assert_allclose(facts["penalty_weight"], [0.5, 0.75])
    np.testing.assert_allclose(facts["threshold"], [0.125, 0.1875])
    assert facts["lambda_reg"] == [2.0, 3.0] and facts["sigma"] == 0.5 and facts["step_size"] == 0.25


def test_options_of_the_file_and_the_models_own_facts_stand_beside_each_other(facts):
    assert (facts["block"], facts["tolerance"], facts["precision"], facts["active"]) == ([4], 1e-3, "float16", True)
    assert facts["versions"] == {"keras": "3", "onnx": "1"} and facts["config"] == {"a": 1}
    assert facts["code_prior"] == "nonnegative_soft" and facts["likelihood"] == "gaussian"
    assert len(facts["preprocessing"]) == 3


def test_the_callers_facts_are_checked_key_by_key():
    assert check_about(None) == {} and check_about({"pixel_range": (0, 1.5)}) == {"pixel_range": [0, 1.5]}
    assert set(ABOUT) == {"name", "unit", "sampling_frequency", "pixel_range", "data", "training"}
    for about, words in (({"colour": "red"}, "accepts the keys"), ({"name": 3}, r"\['name'\]` must be a text"),
                         ({"sampling_frequency": True}, "a number of Hz"), ({"pixel_range": [0]}, "two numbers"),
                         ({"unit": object()}, "texts and numbers"), ({"pixel_range": [0, np.inf]}, "finite")):
        with pytest.raises(ValueError, match=words):
            check_about(about)
