"""Exceptions are ValueErrors, and others' texts fit on one line."""

from crsae_onnx.core.errors import FileError, SignalError, one_line


def test_our_errors_are_value_errors():
    assert issubclass(FileError, ValueError) and issubclass(SignalError, ValueError)


def test_a_text_is_one_line_of_limited_length():
    assert one_line(ValueError("a\n  b\tc")) == "a b c"
    assert len(one_line(ValueError("x" * 999))) == 200 and len(one_line(ValueError("x" * 999), longest=5)) == 5
    assert one_line(EOFError()) == "EOFError"
