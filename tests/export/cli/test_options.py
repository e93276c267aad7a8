"""``crsae-onnx run`` and ``keras-crsae sort`` and ``encode`` take the same options for a recording, from one place."""

import argparse

from crsae_onnx.cli import parser as run_parser
from crsae_onnx.cli.options import add_progress_option, add_recording_options

from keras_crsae.cli import parser as keras_parser

RECORDING = {"--fs", "--channels", "--dtype", "--key"}
SPIKEINTERFACE = {"--stream", "--segment"}


def options(parser: argparse.ArgumentParser, command: str) -> dict:
    """Option -> (type, choices, default, first word of the help) of a command."""
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {name: (action.type, tuple(action.choices or ()), action.default, action.metavar)
            for action in commands.choices[command]._actions for name in action.option_strings}


def test_every_command_that_reads_a_recording_has_them_with_the_same_meaning():
    run = options(run_parser.parser(), "run")
    for command in ("sort", "encode"):
        other = options(keras_parser.parser(), command)
        assert set(other) >= RECORDING | SPIKEINTERFACE
        for name in (*RECORDING, "--progress", "--no-progress"):
            assert run[name] == other[name], name
    assert not set(run) & SPIKEINTERFACE  # read through SpikeInterface, which exported encoders do without


def test_progress_is_shown_unless_it_is_refused():
    parser = argparse.ArgumentParser()
    add_progress_option(parser)
    assert [parser.parse_args(words).progress for words in ([], ["--progress"], ["--no-progress"])] == [True, True,
                                                                                                        False]


def test_options_of_a_recording_are_unset_unless_they_are_given():
    parser = argparse.ArgumentParser()
    add_recording_options(parser, "needed", spikeinterface=True)
    assert set(vars(parser.parse_args([])).values()) == {None}
    args = parser.parse_args(["--fs", "3e4", "--channels", "4", "--dtype", "uint16", "--key", "y", "--stream", "ap",
                              "--segment", "0"])
    assert vars(args) == {"fs": 30000.0, "channels": 4, "dtype": "uint16", "key": "y", "stream": "ap", "segment": 0}
