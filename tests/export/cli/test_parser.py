"""The command line's options: defaults, choices, facts."""

import inspect

import pytest
from crsae_onnx.cli.loaders import outputs_and_spikes
from crsae_onnx.cli.parser import parser
from crsae_onnx.convert import convert
from crsae_onnx.core.spec import INPUT
from crsae_onnx.serving.triton_repository import write_repository


def test_defaults_are_those_of_the_functions():
    args = parser().parse_args(["convert", "m.keras", "e.onnx"])
    assert (args.outputs, tuple(args.inputs), args.min_peak) == (None, (INPUT,), None)
    assert outputs_and_spikes(args.model, args.outputs) == (None, None)
    for name, parameter in inspect.signature(convert).parameters.items():
        if name in ("tolerance", "overwrite", "precision", "loop"):
            assert getattr(args, name) == parameter.default
    args = parser().parse_args(["serve-repo", "folder", "e.onnx"])
    for name in ("max_batch", "delay", "device", "instances", "threads"):
        assert getattr(args, name) == inspect.signature(write_repository).parameters[name].default


@pytest.mark.parametrize("text, expected", [
    ("unit=uV", ("unit", "uV")), ("data=a=b", ("data", "a=b")), ("name=7", ("name", "7")),
    ("sampling_frequency=250", ("sampling_frequency", 250)), ("pixel_range=[0, 1]", ("pixel_range", [0, 1])),
    ("pixel_range=wide", ("pixel_range", "wide"))])
def test_facts_are_read_as_pairs(text, expected):
    assert parser().parse_args(["convert", "m", "e", "--about", text]).about == [expected]


@pytest.mark.parametrize("arguments", [
    [], ["convert", "m.keras"], ["convert", "m", "e", "--about", "no pair"], ["convert", "m", "e", "--outputs", "kode"],
    ["run", "e", "y", "z", "--dtype", "complex64"]])
def test_what_cannot_be_parsed_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(arguments)
    assert caught.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_every_command_has_its_action():
    for arguments in (["convert", "m", "e"], ["validate", "m", "e"], ["run", "e", "y", "z"], ["serve", "e"],
                      ["serve-repo", "f", "e"], ["info", "e"]):
        assert callable(parser().parse_args(arguments).action)
