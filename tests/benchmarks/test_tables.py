"""Pages with figures are those of the stored results."""

import pytest

from benchmarks import tables


@pytest.fixture(scope="module")
def results():
    return tables.stored_results()


def stored(rows, cpu="a CPU"):
    return {"question": "solvers", "options": {"threads": 1, "windows": 3},
            "machine": {"date": "2026-01-02", "cpu": cpu, "cores": 2, "threads": 1, "load_at_start": [0.5, 0, 0],
                        "versions": {"numpy": "2.0"}},
            "sections": [{"title": "time to something", "headers": ["a", "b"], "rows": rows}]}


def test_every_page_is_up_to_date(results):
    for path, text in tables.documents(results).items():
        assert path.read_text() == text, f"{path.relative_to(tables.ROOT)}: run python -m benchmarks.tables"


def test_every_stored_result_stands_on_a_page(results):
    assert set(results) == {path.stem for path in tables.RESULTS.glob("*.json") if not path.stem.endswith("-short")}
    pages = {path.name for path in tables.PAGES_FOLDER.glob("*.md")}
    assert pages == {"index.md", *(f"{name}.md" for name in tables.PAGES)}


def test_no_page_prints_a_row_that_was_not_run(results):
    assert not [path for path, text in tables.documents(results).items() if "| not run" in text]


def test_the_first_page_is_short_and_holds_every_figure(results):
    text = (tables.ROOT / "benchmarks" / "README.md").read_text()
    assert len(text.splitlines()) <= 150 and len(tables.FIGURES) <= 20
    assert tables.figures(results, tables.ROOT / "benchmarks").count("\n") == len(tables.FIGURES) + 1


def test_a_figure_is_its_cell_and_its_ratio(results):
    rows = [["ours", "50 ms"], ["theirs", "1.5 s"]]
    figure = tables.Figure("How fast?", "encoder", ("one", "time", ("ours",), "b"), ("one", "time", ("theirs",), "b"),
                           "another")
    assert tables.figure_row(figure, {"one": stored(rows)}, tables.ROOT) == [
        "[How fast?](docs/benchmarks/encoder.md)", "50 ms", "1.5 s (another)", "30", "2 cores, 2026-01-02",
        "`benchmarks.solvers`"]
    with pytest.raises(KeyError, match="no row .*'nobody'"):
        tables.cell({"one": stored(rows)}, "one", "time", ("nobody",), "b")


def test_a_page_keeps_titles_rows_and_machine():
    described = tables.Page("How fast?", (tables.Source("one", "Here", "A note."), tables.Source("two")), "On a desk.")
    text = tables.page(described, {"one": stored([["1", "2"]]), "two": stored([["3", "4"]])})
    assert text.count("a CPU, 2 cores; numpy 2.0.") == 1
    for line in ("# How fast?", "On a desk.", "## Here", "A note.", "### Time to something", "| a | b |", "| 1 | 2 |",
                 "`python -m benchmarks.solvers --threads 1 --windows 3`, 2026-01-02, 1 thread(s), load 0.5 at the "
                 "start.", "| 3 | 4 |"):
        assert line in text.splitlines()
    other = {"one": stored([["1", "2"]]), "two": stored([["3", "4"]], cpu="another")}
    assert tables.page(described, other).count("; numpy 2.0.") == 2
    with pytest.raises(SystemExit, match="lacks the marks"):
        tables.with_figures("no marks", "table")
