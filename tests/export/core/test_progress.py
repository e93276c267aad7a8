"""Progress: one line drawn again on a terminal; elsewhere a line a step with the seconds since the start."""

import io
import itertools
import re
import time

import pytest
from crsae_onnx.core.progress import ProgressBar, progress_bar, progress_counter

STEPS = (("find units", 0.0), ("find units, round 1", 0.5), ("find units, round 2", 0.8), ("train", 0.0),
         ("train", 1.0))


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def drawn(file, steps=STEPS, seconds=0.0, **options):
    """What a bar writes when each call takes ``seconds``."""
    clock = Clock()
    with ProgressBar(file=file, clock=clock, **options) as bar:
        for step, fraction in steps:
            bar(step, fraction)
            clock.seconds += seconds
    return file.getvalue()


def test_a_terminal_shows_one_line_a_step_with_its_detail_and_ends_it_as_done():
    lines = drawn(Terminal(), seconds=1.0).split("\n")
    assert len(lines) == 3 and lines[2] == ""
    first, second = (line.split("\r") for line in lines[:2])
    assert first[1].startswith("find units ") and "  0% |" in first[1]  # at once, before any work
    assert "100% |" + "#" * 30 + "| 3 s round 2" in first[-1] and "100% |" in second[-1]


def test_a_line_is_never_longer_than_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = drawn(Terminal(), [("encode, " + "a" * 100, 0.5)], seconds=1.0)
    assert max(len(re.sub("\x1b\\[K", "", line)) for line in re.split("[\r\n]", text)) == 59


def test_seconds_go_on_while_a_step_says_nothing(monkeypatch):
    monkeypatch.setattr("crsae_onnx.core.progress._SECONDS_BETWEEN_TICKS", 0.01)
    file, clock = Terminal(), Clock()
    with ProgressBar(file=file, clock=clock) as bar:
        bar("train", 0.0)
        clock.seconds = 7.0
        deadline = time.monotonic() + 30
        while "| 7 s" not in file.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "  0% |" + " " * 30 + "| 7 s" in file.getvalue()


def test_elsewhere_each_step_is_a_line_with_the_seconds_since_the_start():
    assert drawn(io.StringIO(), seconds=4.0).splitlines() == [
        "[0 s] find units", "[12 s] train", "[20 s] done"]


def test_a_long_step_gets_a_line_before_ten_seconds_have_passed_and_says_what_is_left():
    lines = drawn(io.StringIO(), [(f"encode, {i} of 200 windows", i / 200) for i in range(201)], 0.5).splitlines()
    assert lines[0] == "[0 s] encode, 0 of 200 windows"
    assert lines[1] == "[9 s] encode 9%, 18 of 200 windows, about 1.5 min left"
    assert lines[2] == "[18 s] encode 18%, 36 of 200 windows, about 82 s left"
    seconds = [int(re.match(r"\[(\d+) s\]", line)[1]) for line in lines]
    assert max(b - a for a, b in itertools.pairwise(seconds)) <= 10


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (150, "2.5 min"), (9000, "2.5 h")])
def test_times_are_said_as_a_person_says_them(seconds, text):
    clock = Clock()
    with ProgressBar(file=(file := io.StringIO()), clock=clock) as bar:
        bar("train", 0.0)
        clock.seconds = 10 * seconds + 20
        bar("train", clock.seconds / (clock.seconds + seconds))
    assert f"about {text} left" in file.getvalue()


def test_known_steps_are_numbered():
    steps = ("inspect", "find units", "train")
    assert drawn(io.StringIO(), steps=STEPS, seconds=1.0).splitlines()[0] == "[0 s] find units"
    clock = Clock()
    for file, texts in ((io.StringIO(), ("[0 s] 2/3 find units", "[0 s] another")),
                        (Terminal(), ("2/3 find units ", "another "))):
        with ProgressBar(file=file, clock=clock, steps=steps) as bar:
            bar("find units", 0.0)
            bar("another", 0.0)
        assert all(text in file.getvalue() for text in texts)


def test_a_file_gets_lines_while_a_step_says_nothing(monkeypatch):
    monkeypatch.setattr("crsae_onnx.core.progress._SECONDS_BETWEEN_TICKS", 0.01)
    file, clock = io.StringIO(), Clock()
    with ProgressBar(file=file, clock=clock) as bar:
        bar("start TensorFlow", 0.0)
        clock.seconds = 9.5
        deadline = time.monotonic() + 30
        while file.getvalue().count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert file.getvalue().splitlines()[1].endswith(" s] start TensorFlow")


def test_a_notebook_draws_over_its_line_without_escape_sequences():
    class Notebook(io.StringIO):
        pass

    Notebook.__module__ = "ipykernel.iostream"
    text = drawn(Notebook(), [("train, many words that follow", 0.2), ("train", 1.0)], seconds=1.0)
    assert "\x1b" not in text and text.startswith("\rtrain ")
    first, second = text.rstrip("\n").split("\r")[1:3]
    assert len(second) >= len(first.rstrip()), "what is longer is drawn over"


def test_nothing_is_written_where_it_is_not_shown():
    assert drawn(Terminal(), shown=False) == drawn(io.StringIO(), shown=False) == ""


def test_work_that_fails_is_not_called_done():
    for file in (Terminal(), io.StringIO()):
        with pytest.raises(KeyError), ProgressBar(file=file) as bar:
            bar("train", 0.5)
            raise KeyError
        assert "done" not in file.getvalue() and "100%" not in file.getvalue() and file.getvalue().endswith("\n")


def test_a_counter_calls_the_users_function_or_draws_or_is_silent(capsys):
    calls = []
    for option in (None, False, True, lambda *c: calls.append(c)):
        with progress_counter(option, "encode", "windows") as report:
            report(1, 2)
            report(2, 2)
        assert capsys.readouterr().err == ("[0 s] encode\n[0 s] done\n" if option is True else "")
    assert calls == [(1, 2), (2, 2)]


def test_a_bar_calls_the_users_function_or_draws_or_is_silent(capsys):
    calls = []
    for option in (None, False, True, lambda *c: calls.append(c)):
        with progress_bar(option) as report:
            report("train", 0.5)
        assert capsys.readouterr().err == ("[0 s] train 50%\n[0 s] done\n" if option is True else "")
    assert calls == [("train", 0.5)]


@pytest.mark.parametrize("option", [3, "bar", 1.0])
def test_other_options_are_refused(option):
    for context in (progress_counter(option, "encode", "windows"), progress_bar(option)):
        with pytest.raises(ValueError, match="`progress` must be None, True or callable"), context:
            pass
