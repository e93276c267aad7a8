"""The options of the command line."""

import pytest

from keras_crsae.cli import main
from keras_crsae.cli.commands import ACTIONS
from keras_crsae.cli.parser import parser


@pytest.mark.parametrize("option, value", [
    ("--sigma", "0"), ("--sigma", "nan"), ("--lambda", "-1"), ("--lambda", "2/x"), ("--low-pass", "-1"),
    ("--iterations", "0"), ("--filters", "2.5"),
    ("--kernel-size", "3x3x3"), ("--learning-rate", "inf"), ("--rank", "3"),
    ("--shrinkage", "hard")])
def test_invalid_values_of_options_are_one_line_of_error(capsys, option, value):
    with pytest.raises(SystemExit) as caught:
        main(["train", "y.npy", "--output", "m.keras", "--filters", "2", "--kernel-size", "21", option, value])
    err = capsys.readouterr().err
    assert caught.value.code == 2 and err.count("\n") == 1 and option in err and value in err


def test_every_action_is_a_command_with_its_help(capsys):
    for command in ACTIONS:
        with pytest.raises(SystemExit) as stop:
            parser().parse_args([command, "--help"])
        assert stop.value.code == 0 and f"keras-crsae {command}" in capsys.readouterr().out


def test_first_filters_are_called_as_in_adapt():
    args = parser().parse_args(["train", "y.npy", "--output", "m.keras", "--filters", "2", "--kernel-size", "9",
                                "--init", "energy"])
    assert args.init == "energy" and args.epochs == 10 and args.overwrite is False
