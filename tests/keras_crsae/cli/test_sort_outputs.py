"""What ``keras-crsae sort`` writes for other programs."""

import sys
from argparse import ArgumentParser

import pytest

from keras_crsae.applications import spikeinterface
from keras_crsae.cli.sort_outputs import OUTPUTS, add_output_options, check_outputs, write_outputs


@pytest.fixture
def parse():
    parser = ArgumentParser()
    add_output_options(parser)
    parser.add_argument("--overwrite", action="store_true")
    return lambda *words: parser.parse_args(words)


@pytest.fixture
def calls(monkeypatch):
    """The functions that write, replaced by ones that note their path and make it."""
    seen = []
    for name, at in (("as_analyzer", 2), ("write_phy", 2), ("write_nwb", 1), ("write_curation", 1)):
        def write(*args, name=name, at=at, overwrite):
            seen.append((name, args[at].name, overwrite))
            args[at].touch()
        monkeypatch.setitem(spikeinterface.__dict__, name, write)
    return seen


def test_each_option_writes_its_file_and_no_option_writes_none(parse, calls, tmp_path):
    assert write_outputs(parse(), None, tmp_path, None) == [] == calls
    names = write_outputs(parse(*(f"--{name}" for name in OUTPUTS), "--overwrite"), "result", tmp_path, "recording")
    assert names == ["analyzer", "phy", "sorting.nwb", "curation.json"]
    assert calls == [("as_analyzer", "analyzer", True), ("write_phy", "phy", True), ("write_nwb", "sorting.nwb", True),
                     ("write_curation", "curation.json", True)]


def test_what_another_sorting_left_stays_with_a_warning(parse, calls, tmp_path):
    (tmp_path / "phy").mkdir()
    with pytest.warns(UserWarning, match="phy is of an earlier sorting. Write it anew with --phy"):
        assert write_outputs(parse("--curation"), None, tmp_path, None) == ["curation.json"]
    assert (tmp_path / "phy").is_dir()


@pytest.mark.parametrize("option, module, extra", [("--nwb", "pynwb", "nwb"), ("--phy", "pandas", "analyzer"),
                                                   ("--analyzer", "spikeinterface.core", "spikes")])
def test_a_missing_package_is_named_before_work(parse, monkeypatch, option, module, extra):
    check_outputs(parse())
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=rf"{option} cannot be used: .*keras-crsae\[{extra}\]"):
        check_outputs(parse(option))
