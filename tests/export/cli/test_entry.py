"""Errors of the user's input are one line and exit status 2; others are not hidden."""

import pytest
from crsae_onnx.cli import entry
from crsae_onnx.cli.entry import main
from crsae_onnx.core.optional import MissingPackageError


def test_errors_of_the_input_are_one_line(capsys, tmp_path):
    assert main(["info", str(tmp_path / "none.onnx")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("crsae-onnx: No file at") and error.count("\n") == 1


@pytest.mark.parametrize("error, expected", [
    (ValueError("two\n  lines"), "crsae-onnx: two lines\n"), (OSError("disk full"), "crsae-onnx: disk full\n"),
    (MissingPackageError("Conversion needs the package onnx. Install it with: pip install 'keras-crsae[export]'"),
     "crsae-onnx: Conversion needs the package onnx. Install it with: pip install 'keras-crsae[export]'\n"),
    (ModuleNotFoundError("No module named 'keras'"),
     "crsae-onnx: No module named 'keras'. Install it with: pip install 'keras-crsae[export]'\n")])
def test_each_kind_of_error_has_its_line(monkeypatch, capsys, error, expected):
    def parser():
        def action(args):
            raise error

        return type("Parser", (), {"parse_args": lambda self, arguments: type("Args", (), {"action": action})})()

    monkeypatch.setattr(entry, "parser", parser)
    assert main([]) == 2
    assert capsys.readouterr().err == expected


def test_a_defect_is_not_hidden(monkeypatch):
    class Args:
        @staticmethod
        def action(args):
            raise ZeroDivisionError

    monkeypatch.setattr(entry, "parser", lambda: type("Parser", (), {"parse_args": lambda self, arguments: Args})())
    with pytest.raises(ZeroDivisionError):
        main([])
