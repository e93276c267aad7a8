"""Progress: one line drawn again on a terminal, a line for each tenth in a file, nothing where nobody watches."""

import io

import pytest
from crsae_onnx.core.progress import ProgressBar, progress_counter

STEPS = (("find units", 0.0), ("find units, round 1", 0.5), ("find units, round 2", 1.0), ("train", 0.0),
         ("train", 1.0))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drawn(file, **options):
    with ProgressBar(file=file, **options) as bar:
        for step, fraction in STEPS:
            bar(step, fraction)
    return file.getvalue()


def test_a_terminal_shows_one_line_a_step_with_its_detail():
    text = drawn(Terminal())
    assert text.count("\n") == 2  # one end of line a step
    assert "100% |" + "#" * 30 + "|" in text and "round 2" in text and text.endswith("\n")


def test_a_file_gets_a_line_for_each_tenth():
    assert drawn(io.StringIO()).splitlines() == ["find units 0%", "find units 50%, round 1", "find units 100%, round 2",
                                                 "train 0%", "train 100%"]
    file = io.StringIO()
    with ProgressBar(file=file) as bar:
        for i in range(1001):
            bar("encode", i / 1000)
    assert len(file.getvalue().splitlines()) == 11


def test_nothing_is_written_where_nobody_watches_or_it_is_not_shown():
    assert drawn(io.StringIO(), shown=None) == "" and drawn(Terminal(), shown=False) == ""
    assert drawn(Terminal(), shown=None) != ""


def test_a_counter_calls_the_users_function_or_draws_or_is_silent(capsys):
    calls = []
    for option in (None, False, True, lambda *c: calls.append(c)):
        with progress_counter(option, "encode", "windows") as report:
            report(1, 2)
            report(2, 2)
        assert capsys.readouterr().err == ("encode 50%, 1 of 2 windows\nencode 100%, 2 of 2 windows\n"
                                           if option is True else "")
    assert calls == [(1, 2), (2, 2)]


@pytest.mark.parametrize("option", [3, "bar", 1.0])
def test_other_options_are_refused(option):
    with pytest.raises(ValueError, match="`progress` must be None, True or callable"), \
            progress_counter(option, "encode", "windows"):
        pass
