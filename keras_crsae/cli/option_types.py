"""Values of options: text of the command line -> numbers and sizes, or an argparse error in one line."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

from crsae_onnx.cli.option_types import positive_int, positive_number


def number_not_negative(text: str) -> float:
    """A finite number, 0 or above."""
    return 0.0 if text.strip("0.") == "" and "0" in text else positive_number(text)


def positive_number_or(word: str, zero: bool = False) -> Callable[[str], float | str]:
    """Converter to a number above 0 (or from 0 on), or one word.

    Example:
        >>> from keras_crsae.cli.option_types import positive_number_or
        >>> positive_number_or("estimate")("estimate"), positive_number_or("estimate")("2")
        ('estimate', 2.0)
    """
    def convert(text: str) -> float | str:
        if text == word:
            return text
        try:
            return number_not_negative(text) if zero else positive_number(text)
        except ArgumentTypeError:
            least = "from 0 on" if zero else "above 0"
            raise ArgumentTypeError(f"expected {word!r} or a number {least}, not {text!r}") from None
    return convert


def first_lambda(text: str) -> float | str | tuple[str, float]:
    """"donoho", a number, or "X/sigma" as ("over sigma", X).

    Example:
        >>> from keras_crsae.cli.option_types import first_lambda
        >>> first_lambda("2/sigma")
        ('over sigma', 2.0)
    """
    number, slash, sigma = text.partition("/")
    if slash and sigma != "sigma":
        raise ArgumentTypeError(f"expected 'donoho', a number above 0 or one as in 2/sigma, not {text!r}")
    return ("over sigma", positive_number(number)) if slash else positive_number_or("donoho")(text)


def size(text: str) -> int | tuple[int, ...]:
    """One whole number, or two as in 7x5 (height x width).

    Example:
        >>> from keras_crsae.cli.option_types import size
        >>> size("8"), size("7x5")
        (8, (7, 5))
    """
    values = [positive_int(part) for part in text.split("x")]
    if len(values) > 2:
        raise ArgumentTypeError(f"expected a whole number or two as in 7x5, not {text!r}")
    return tuple(values) if len(values) > 1 else values[0]


def noise_level(text: str) -> str:
    """A noise level in gray levels of 255, or two as in 10-60; kept as text."""
    values = [positive_number(part) for part in text.split("-")]
    if len(values) > 2 or values != sorted(values) or values[-1] > 255:
        raise ArgumentTypeError(f"expected a noise level up to 255 or two as in 10-60, not {text!r}")
    return text


def count_range(text: str) -> float | tuple[float, float]:
    """Counts of white above 0, or two as in 1-8.

    Example:
        >>> from keras_crsae.cli.option_types import count_range
        >>> count_range("4"), count_range("1-8")
        (4.0, (1.0, 8.0))
    """
    values = [positive_number(part) for part in text.split("-")]
    if len(values) > 2 or values != sorted(values):
        raise ArgumentTypeError(f"expected a number of counts above 0 or two as in 1-8, not {text!r}")
    return (values[0], values[1]) if len(values) > 1 else values[0]


def addresses(text: str) -> list[str]:
    """["host:port", ...] of at least two machines."""
    found = text.split(",")
    parts = [address.rpartition(":") for address in found]
    if any(not host or not port.isdigit() or not 0 < int(port) < 65536 for host, _, port in parts):
        raise ArgumentTypeError(f"expected HOST:PORT,HOST:PORT, not {text!r}")
    if len(found) < 2 or len(set(found)) < len(found):
        raise ArgumentTypeError(f"expected at least two different machines, not {text!r}")
    return found
