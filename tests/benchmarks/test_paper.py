"""The paper's claims: Gabor fits are right, cells are told apart, and what was run is not run again."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.paper import __main__ as paper
from benchmarks.paper import biases, cells
from benchmarks.paper.gabor import fit, gabor


@pytest.mark.parametrize("parameters", [
    (5.5, 5.0, 0.6, 5.0, 3.0, 4.0, 0.3, 1.0), (4.0, 7.0, 2.0, 8.0, 2.0, 2.5, 1.5, 0.4),
    (6.0, 6.0, 1.2, 3.5, 2.5, 1.5, 4.0, 2.0)])
def test_gabor_functions_are_found_again(parameters):
    made, explained = fit(gabor((12, 12), parameters))
    assert explained > 0.99
    target = gabor((12, 12), parameters)
    np.testing.assert_allclose(gabor((12, 12), made), target / np.linalg.norm(target), atol=0.02)


def test_noise_and_checks_are_no_gabor_functions(rng):
    assert max(fit(rng.standard_normal((8, 8)))[1] for _ in range(3)) < 0.6
    rows, columns = np.mgrid[:8, :8]
    assert fit(np.cos(np.pi * (rows + 0.5) * 3 / 8) * np.cos(np.pi * (columns + 0.5) * 3 / 8))[1] < 0.8


def test_cells_have_names_of_their_own():
    every = [*paper.claim_b(False), *paper.claim_c(False), *paper.claim_d()]
    assert len({cell.key for cell in every}) == len(set(every))
    seeded = [c for c in paper.claim_b(False) if c.seed > 0]
    assert {(c.learning, c.sigma) for c in seeded} == {(how, s) for how in paper.SEEDED for s in (25, 50)}


def test_a_run_that_is_stopped_has_done_what_every_claim_needs_before_the_grid():
    wanted = {"a": [cells.Cell("em", 25)], "b": paper.claim_b(False), "c": paper.claim_c(False), "d": paper.claim_d()}
    order = paper.in_turn(wanted, "abcd")
    assert set(order) == {cell for claim in wanted.values() for cell in claim} and len(order) == len(set(order))
    needed = {*paper.claim_b(True), *wanted["a"], *wanted["c"], *wanted["d"]}
    assert set(order[:len(needed)]) == needed
    assert set(paper.in_turn(wanted, "d")) == set(wanted["d"])


def test_no_cell_starts_after_its_time(monkeypatch):
    monkeypatch.setattr(paper, "run", lambda *_: {"psnr": 28.0, "train_seconds": 1.0})
    assert paper._run_all([cells.Cell("em", 25)], None, None, -1.0) == {}
    assert len(paper._run_all([cells.Cell("em", 25)], None, None, 1.0)) == 1


def test_a_cell_that_was_run_is_read_from_its_file(tmp_path, monkeypatch):
    cell, setting = cells.Cell("em", 25), cells.Setting(steps=1, test_images=1)

    def never(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(cells, "_train", never)
    (tmp_path / f"{cell.key}.json").write_text(json.dumps({"setting": asdict(setting), "psnr": 28.0}))
    assert cells.run(cell, setting, tmp_path)["psnr"] == 28.0
    with pytest.raises(AssertionError, match="trained again"):  # another setting is another result
        cells.run(cell, cells.Setting(steps=2, test_images=1), tmp_path)


def test_only_cells_that_were_run_are_shown():
    one, other = cells.Cell("em", 25), cells.Cell("em", 25, seed=1)
    made = {"psnr": 28.0, "psnr_clean_max": 28.0, "ssim": 0.8}
    arguments = SimpleNamespace(threads=1, short=True)
    (table, *_) = paper._learning([one, other, cells.Cell("fixed", 50)], {one: made}, None, arguments)
    assert table["headers"][3:] == ("sigma 25",) and table["rows"] == [["tied", "one a filter", "em", "28.00"]]
    assert paper._iterations([one], {}, None, arguments)[0]["rows"] == []
    assert paper._value({one: {"psnr": 28.0}}, [one, other]) == "28.00"
    assert paper._value({one: {"psnr": 28.0}, other: {"psnr": 29.0}}, [one, other]) == "28.50 +- 0.71 (2 seeds)"


def test_a_warm_cell_begins_with_the_filters_of_the_one_before(tmp_path, monkeypatch):
    given, setting = [], cells.Setting(steps=1, test_images=1, training_images=1)

    class Made:
        dictionary_variables, lambda_reg = [], np.ones(1)
        training_record = {"history": [{"loss": 1.0, "sparsity": 0.1}]}

        class decoder:
            unit_kernel = staticmethod(lambda: np.full((2, 2, 1, 1), 0.5))

    monkeypatch.setattr(cells, "_train", lambda cell, setting, first: given.append((cell.learning, first)) or Made)
    monkeypatch.setattr(cells, "train_folder", lambda: "train400")
    monkeypatch.setattr(cells, "_score", lambda model, sigma, limit, images="set68": {
        "a": {"psnr": 1.0 if images == "set68" else 2.0, "psnr_clean_max": 1.0, "ssim": 0.5}})
    cell = cells.Cell("em", 50, start="fixed")
    assert cell.key != cells.Cell("em", 50).key
    made = cells.run(cell, setting, tmp_path)
    assert [how for how, _ in given] == ["fixed", "em"] and given[0][1] is None
    np.testing.assert_array_equal(given[1][1], Made.decoder.unit_kernel())
    assert made["psnr"] == 1.0 and made["train400"] == 2.0


def test_ways_to_learn_the_biases_are_compared_seed_by_seed():
    def made(score):
        return {"psnr": score, "lambda": [0.1, 0.5, 1.0]}

    results = {cells.Cell("bias", 20, seed=seed): made(27.0 + seed) for seed in (0, 1)}
    results[cells.Cell("em", 20, seed=1)] = made(28.5)
    free, em = biases.table_rows(20, True, results, (0, 1))
    assert free[2:6] == ("free bias", "27.50", "1.00", "")
    assert em[3] == "28.50" and em[5] == "+0.50 (+0.50 to +0.50)" and em[-1] == 1
