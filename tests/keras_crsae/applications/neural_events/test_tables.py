"""Figures of a result as text."""

from keras_crsae.applications.neural_events.tables import held_out_table, kernel_table


def test_tables_have_a_row_for_each_kernel_and_candidate(fitted):
    assert kernel_table(fitted)["events"] == [str(len(fitted.events))]
    table = held_out_table(fitted)
    assert table["length (ms)"] == ["40", "100"] and table["chosen"] == ["", "yes"]
    assert all(text.startswith("+") for text in table["above PSTH"])
