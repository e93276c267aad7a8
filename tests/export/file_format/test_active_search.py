"""What a file says of a search for active parts, or why it has none."""

import json
from dataclasses import replace

import numpy as np
import pytest
from crsae_onnx.core.measurement_spec import MeasurementSpec
from crsae_onnx.core.spec import EncoderSpec
from crsae_onnx.file_format.active_search import active_search, search_facts

KERNEL = (np.ones((4, 1, 2)) / 2).astype("float32")
SPEC = EncoderSpec(KERNEL, KERNEL, (1,), 0.1, [1.0], 1.0, np.zeros(9))


@pytest.mark.parametrize("changes", [{}, {"decoder_kernel": 2 * KERNEL}, {"tolerance": 0.01, "active": True}], ids=str)
def test_filters_and_tolerance_come_back(changes):
    found = active_search(json.loads(json.dumps(search_facts(replace(SPEC, **changes)))), "file.onnx")
    np.testing.assert_array_equal(found.kernel, KERNEL)
    np.testing.assert_array_equal(found.decoder_kernel, changes.get("decoder_kernel", KERNEL))
    assert found.tolerance == changes.get("tolerance")


def test_the_tolerance_of_a_graph_is_no_tolerance_of_the_search():
    assert active_search(search_facts(replace(SPEC, tolerance=0.01)), "file.onnx").tolerance is None


@pytest.mark.parametrize("changes, reason", [
    ({"strides": (2,)}, "codes of every sample"), ({"likelihood": "poisson"}, "likelihood 'poisson'"),
    ({"code_prior": "other"}, "the model's is 'other'"), ({"adjoint_kernel": KERNEL}, "filters of norm 1"),
    ({"kernel": 2 * KERNEL}, "filters of norm 1"),
    ({"ridge": np.array([0.0, 1.0]), "code_prior": "soft"}, "some filters of the model are dense"),
    ({"measurement": MeasurementSpec("subsample", factor=(2,), offset=(0,))}, "windows are of the signal itself"),
    ({"kernel": KERNEL[None], "decoder_kernel": KERNEL[None], "strides": (1, 1), "block": None}, "images")], ids=str)
def test_the_reason_is_said_where_there_is_no_search(changes, reason):
    facts = search_facts(replace(SPEC, **changes))
    with pytest.raises(ValueError, match=f"file.onnx has none: .*{reason}.*active=False"):
        active_search(facts, "file.onnx")


def test_a_file_without_a_word_of_it_is_older():
    with pytest.raises(ValueError, match="Convert the model again"):
        active_search({}, "file.onnx")
