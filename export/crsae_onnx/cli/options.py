"""Options of several commands, defined once: how a recording's file is read, and whether progress is shown."""

from __future__ import annotations

import argparse

from crsae_onnx.cli.option_types import index, positive_int, positive_number
from crsae_onnx.core.raw_binary import DEFAULT_RAW_DTYPE, RAW_DTYPES


def add_recording_options(parser: argparse.ArgumentParser, frequency: str, channels: str = "raw files need it",
                          spikeinterface: bool = False) -> None:
    """Add --fs, --channels, --dtype and --key, and those of files that SpikeInterface reads.

    Args:
        parser: of the command.
        frequency: when the sampling frequency is needed, for the help.
        channels: the same of the number of channels.
        spikeinterface: add --stream and --segment.

    Example:
        >>> import argparse
        >>> from crsae_onnx.cli.options import add_recording_options
        >>> parser = argparse.ArgumentParser()
        >>> add_recording_options(parser, "needed for .npy")
        >>> parser.parse_args(["--fs", "30000"]).fs
        30000.0
    """
    group = parser.add_argument_group("recording", "What contradicts the file is refused.")
    group.add_argument("--fs", type=positive_number, metavar="HZ", help=f"sampling frequency ({frequency})")
    group.add_argument("--channels", type=positive_int, metavar="N", help=f"number of channels ({channels})")
    group.add_argument("--dtype", choices=RAW_DTYPES,
                       help=f"type of the samples of raw files, little-endian (default: {DEFAULT_RAW_DTYPE})")
    group.add_argument("--key", metavar="NAME", help="array of a .npz file that holds several")
    if spikeinterface:
        group.add_argument("--stream", metavar="NAME", help="signal of a file that holds several")
        group.add_argument("--segment", type=index, metavar="N",
                           help="segment of a recording that holds several, counted from 0")


def add_progress_option(parser: argparse.ArgumentParser) -> None:
    """Add --progress and --no-progress.

    Example:
        >>> import argparse
        >>> from crsae_onnx.cli.options import add_progress_option
        >>> parser = argparse.ArgumentParser()
        >>> add_progress_option(parser)
        >>> parser.parse_args([]).progress, parser.parse_args(["--no-progress"]).progress
        (True, False)
    """
    parser.add_argument("--progress", action=argparse.BooleanOptionalAction, default=True,
                        help="show the steps on standard error: a bar on a terminal, lines elsewhere (default: shown)")
