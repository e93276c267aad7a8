"""Pooling: the head on pooled codes is the spread head on the codes themselves."""

import numpy as np
import pytest

from keras_crsae.models.pooling import as_pooling


@pytest.mark.parametrize("pooling, positions", [(None, (7,)), ("mean", (7,)), (3, (7,)), (None, (4, 5)),
                                                ("mean", (4, 5)), ((2, 3), (4, 5)), (2, (4, 5))])
def test_the_spread_head_sees_what_the_head_sees(pooling, positions, rng):
    made, filters, classes = as_pooling(pooling, len(positions)), 3, 4
    code = rng.standard_normal((2, *positions, filters)).astype("float32")
    kernel = rng.standard_normal((made.features(positions, filters), classes))
    spread = made.spread(kernel, positions, filters).reshape(-1, classes)
    np.testing.assert_allclose(np.asarray(made.pool(code)) @ kernel, code.reshape(2, -1) @ spread, atol=1e-5)


@pytest.mark.parametrize("pooling, message", [("max", "`pooling` must be"), (0, "pooling"), ((2, 2), "pooling")])
def test_other_poolings_are_refused(pooling, message):
    with pytest.raises(ValueError, match=message):
        as_pooling(pooling, rank=1)


def test_regions_larger_than_the_code_are_refused():
    with pytest.raises(ValueError, match="larger than the code"):
        as_pooling(9, rank=1).features((8,), 3)
