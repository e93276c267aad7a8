"""One model for a range beside models of one level: the table is the cards' figures, wherever it stands."""

import pytest

from benchmarks import zoo_card, zoo_compare
from keras_crsae import zoo


def facts(levels, **psnr):
    return {"sigma_in_grey_levels": levels, "steps": 3637,
            "metrics": {f"set68 at sigma {name[1:]}": {"psnr": value} for name, value in psnr.items()}}


def test_levels_that_both_models_were_measured_at_are_compared():
    made = zoo_compare.compare({
        "denoise-gray": facts([10, 60], s15=31.0, s25=28.4, s50=25.1), "denoise-gray-50": facts([50], s50=25.2),
        "denoise-gray-20": facts([20], s20=29.0), "denoise-gray-25": facts([25], s25=28.3),
        "denoise-color": facts([10, 60], s50=26.0), "spikes-single-channel": {"metrics": {}}})
    assert [(row["sigma"], row["range"], row["one"]) for row in made] == [("25", 28.4, 28.3), ("50", 25.1, 25.2)]
    assert made[0]["training"] == "3,637 steps"
    assert made[1]["training"] == "3,637 steps after crsae-gray-25's"


def test_a_page_without_marks_is_refused_and_another_keeps_its_text():
    rows = [{"sigma": "25", "range": 28.4, "one": 28.3, "name": "n", "training": "1 steps"}]
    text = zoo_compare.page(f"before {zoo_compare.BEGIN} old {zoo_compare.END} after", rows)
    assert text.startswith("before ") and text.endswith(" after") and "old" not in text and "+0.10" in text
    assert zoo_compare.page(text, rows) == text
    with pytest.raises(SystemExit, match="marks"):
        zoo_compare.page("no marks", rows)


def test_page_and_card_hold_the_figures_of_the_zoo():
    rows = zoo_compare.compare({name: zoo.metadata(name) for name in zoo.names()})
    text = zoo_compare.PAGE.read_text()
    assert zoo_compare.page(text, rows) == text
    assert zoo_card.one_level_table(rows) in zoo.path_of(zoo_compare.RANGE, zoo.CARD).read_text()


def test_one_model_for_all_levels_is_near_those_of_one_level_that_were_trained_as_it_was():
    rows = zoo_compare.compare({name: zoo.metadata(name) for name in zoo.names()})
    near = {row["sigma"]: row["range"] > row["one"] - 0.2 for row in rows}
    assert near["15"] and near["50"] and "25" in near  # denoise-gray-25 is a CDLNet, .5 dB better
