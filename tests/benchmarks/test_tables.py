"""The tables of benchmarks/README.md are those of the JSON files beside it."""

from benchmarks import tables


def test_the_page_holds_the_tables_of_the_results():
    text = (tables.FOLDER / "README.md").read_text()
    assert text == tables.page(text, tables.stored_results())


def test_a_table_keeps_title_rows_and_machine():
    stored = {"question": "solvers", "options": {"threads": 1, "windows": 3},
              "machine": {"date": "2026-01-02", "cpu": "a CPU", "cores": 2, "threads": 1, "load_at_start": [0.5, 0, 0],
                          "versions": {"numpy": "2.0"}},
              "sections": [{"title": "time to something", "headers": ["a", "b"], "rows": [["1", "2"], ["3", "4"]]}]}
    assert tables.section(stored).splitlines() == [
        "### Solvers to the same drop: `benchmarks.solvers --threads 1 --windows 3`", "",
        "2026-01-02, a CPU, 2 cores, 1 thread(s), load 0.5 at the start; numpy 2.0.", "",
        "Ten 1-s windows of `spikes/single_white.npz`.", "",
        "Time to something.", "", "| a | b |", "| --- | --- |", "| 1 | 2 |", "| 3 | 4 |"]
