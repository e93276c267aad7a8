"""Text of the command line becomes numbers, or an error in one line."""

from argparse import ArgumentTypeError

import pytest
from crsae_onnx.cli.option_types import OneLineParser, index, positive_int, positive_number


@pytest.mark.parametrize("convert, text, value", [(positive_int, "12", 12), (index, "0", 0),
                                                  (positive_number, "2.5", 2.5)])
def test_a_value_is_read(convert, text, value):
    assert convert(text) == value


@pytest.mark.parametrize("convert, text, words", [
    (positive_int, "0", "above 0"), (positive_int, "2.5", "whole number"), (index, "-1", "from 0"),
    (positive_number, "inf", "above 0"), (positive_number, "x", "above 0")])
def test_another_text_is_refused_with_what_was_expected(convert, text, words):
    with pytest.raises(ArgumentTypeError, match=f"expected.*{words}"):
        convert(text)


def test_the_parser_refuses_in_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        OneLineParser(prog="p").parse_args(["--no-such"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "p: unrecognized arguments: --no-such. `p --help` lists the options.\n"
