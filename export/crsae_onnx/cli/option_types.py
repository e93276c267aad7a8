"""Values of options: text of the command line -> numbers, or an argparse error in one line."""

from __future__ import annotations

import argparse
import math
from typing import Literal, NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Refuses in one line; argparse would print the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. `{self.prog} --help` lists the options.\n")


def positive_int(text: str) -> int:
    """A whole number above 0.

    Example:
        >>> from crsae_onnx.cli.option_types import positive_int
        >>> positive_int("12")
        12
    """
    value = int(text) if text.lstrip("+-").isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, not {text!r}")
    return value


def index(text: str) -> int:
    """A whole number from 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, not {text!r}")
    return int(text)


def positive_number(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text!r}")
    return value


def live_delay(text: str) -> float | Literal["least", "auto"]:
    """``"least"``, ``"auto"``, or a finite number above 0.

    Example:
        >>> from crsae_onnx.cli.option_types import live_delay
        >>> live_delay("least"), live_delay("0.008")
        ('least', 0.008)
    """
    if text == "least":
        return "least"
    return "auto" if text == "auto" else positive_number(text)
