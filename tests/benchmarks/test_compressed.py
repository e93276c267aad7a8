"""Parts of the benchmark of compressed measurements."""

import numpy as np

from benchmarks import compressed


def test_matrices_have_columns_of_norm_one():
    found = compressed.gaussian_matrices(3, 5, 8, seed=0)
    assert found.shape == (3, 5, 8)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_batches_go_through_the_matrices_in_turn(monkeypatch):
    monkeypatch.setattr(compressed, "BATCH", 4)
    signals, matrices = np.random.default_rng(0).standard_normal((8, 6)), compressed.gaussian_matrices(2, 3, 6, 0)
    batches = list(compressed.dataset(signals, matrices, (3, 1), 0).take(4))
    assert [int(batch["operator"]) for batch in batches] == [0, 1, 0, 1]
    for batch in batches:
        of_all = (signals @ matrices[int(batch["operator"])].T).ravel()
        assert all(np.abs(of_all - value).min() < 1e-5 for value in np.ravel(batch["signal"]))
    one = next(iter(compressed.dataset(signals, matrices[:1], (3, 1), 0)))
    assert one.shape == (4, 3, 1)
