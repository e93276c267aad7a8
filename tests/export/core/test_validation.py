"""Numbers given as arguments: NumPy's are taken, booleans, texts and others are refused by name."""

import numpy as np
import pytest
from crsae_onnx.core.validation import as_int, as_positive, as_positive_int, as_rank, as_sizes


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
def test_every_integer_type_becomes_a_python_int(value):
    number = as_positive_int(value, "filters")
    assert number == 3 and type(number) is int


@pytest.mark.parametrize("value", [0, -1, 2.0, np.float32(2), True, np.True_, "3", None, [3], np.array([3, 4])])
def test_what_is_no_positive_int_is_refused_by_name(value):
    with pytest.raises(ValueError, match="`filters` must be a positive int. Received: filters="):
        as_positive_int(value, "filters")


def test_other_ranges():
    assert as_int(0, "epochs", minimum=0) == 0
    with pytest.raises(ValueError, match="`epochs` must be an int of at least 0. Received: epochs=-1"):
        as_int(-1, "epochs", minimum=0)
    assert as_int(16, "shifts", maximum=16) == 16
    for value in (0, 17, 2.0):
        with pytest.raises(ValueError, match="`shifts` must be an int from 1 to 16. Received: shifts="):
            as_int(value, "shifts", maximum=16)


@pytest.mark.parametrize("value, rank, sizes", [(5, 2, (5, 5)), ((5, 7), 2, (5, 7)), ([np.int64(4)], 1, (4,)),
                                                (np.array([2, 3]), 2, (2, 3))])
def test_sizes_are_one_int_for_all_axes_or_one_an_axis(value, rank, sizes):
    assert as_sizes(value, rank, "strides") == sizes


@pytest.mark.parametrize("value", [(1, 2, 3), (), 0, (2, 0), "ab", (2, 2.5)])
def test_other_sizes_are_refused(value):
    with pytest.raises(ValueError, match="`strides` must be a positive int"):
        as_sizes(value, 2, "strides")


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, True, "1", None, [1.0, 2.0]])
def test_what_is_no_positive_finite_number_is_refused(value):
    with pytest.raises(ValueError, match="`sigma` must be a positive finite number. Received: sigma="):
        as_positive(value, "sigma")


def test_a_positive_number_becomes_a_float():
    assert as_positive(np.float32(0.5), "sigma") == 0.5 and type(as_positive(2, "sigma")) is float


@pytest.mark.parametrize("rank, sizes, found", [(None, (9, 1), 1), (None, ((4, 4), 1), 2), (None, (8, [2, 2]), 2),
                                                (None, ((45,),), 1), (2, (9, 1), 2), (np.int64(1), ((9,),), 1)])
def test_the_rank_is_the_number_of_sizes_where_it_is_not_given(rank, sizes, found):
    assert as_rank(rank, *sizes) == found


@pytest.mark.parametrize("rank, sizes", [(3, (9,)), (0, (9,)), (True, (9,)), ("1", (9,)), (None, ((3, 3, 3),))])
def test_another_rank_is_refused(rank, sizes):
    with pytest.raises(ValueError, match="`rank` must be 1 .* or 2 .*Received: rank="):
        as_rank(rank, *sizes)
