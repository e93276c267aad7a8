"""Text of the command line becomes numbers and sizes."""

from argparse import ArgumentTypeError

import pytest

from keras_crsae.cli import option_types


@pytest.mark.parametrize("convert, text, value", [
    (option_types.number_not_negative, "0.0", 0.0), (option_types.number_not_negative, "2", 2.0),
    (option_types.positive_number_or("estimate"), "estimate", "estimate"), (option_types.size, "8", 8),
    (option_types.size, "7x5", (7, 5)), (option_types.first_lambda, "donoho", "donoho"),
    (option_types.first_lambda, "2/sigma", ("over sigma", 2.0)), (option_types.noise_level, "10-60", "10-60"),
    (option_types.addresses, "a:1,b:2", ["a:1", "b:2"])])
def test_a_value_is_read(convert, text, value):
    assert convert(text) == value


@pytest.mark.parametrize("convert, text, words", [
    (option_types.number_not_negative, "-1", "above 0"),
    (option_types.positive_number_or("estimate"), "guess", "'estimate' or a number"),
    (option_types.size, "3x3x3", "7x5"), (option_types.first_lambda, "2/x", "2/sigma"),
    (option_types.noise_level, "60-10", "10-60"), (option_types.noise_level, "300", "up to 255"),
    (option_types.addresses, "a:1", "two different"), (option_types.addresses, "a:1,b", "HOST:PORT"),
    (option_types.addresses, "a:1,b:99999", "HOST:PORT")])
def test_another_text_is_refused_with_what_was_expected(convert, text, words):
    with pytest.raises(ArgumentTypeError, match=f"expected.*{words}"):
        convert(text)
