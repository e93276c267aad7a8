"""Exceptions that both packages raise, and one-line texts of the exceptions of others (standard library alone)."""

from __future__ import annotations


class FileError(ValueError):
    """An input file that is missing, damaged or of another kind, or an output file that may not be written."""


class SignalError(ValueError):
    """A signal that cannot be encoded: wrong type, shape, length or values."""


def one_line(error: object, longest: int = 200) -> str:
    """Text of an exception on one line, cut after ``longest`` characters; its type where it has no text.

    Example:
        >>> from crsae_onnx.core.errors import one_line
        >>> one_line(ValueError("two\\nlines")), one_line(EOFError())
        ('two lines', 'EOFError')
    """
    return " ".join(str(error).split())[:longest] or type(error).__name__
