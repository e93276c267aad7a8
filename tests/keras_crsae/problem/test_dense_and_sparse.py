import numpy as np
import pytest

from keras_crsae.problem import CodePrior, Exponential, GroupSparse, Laplace, SignedByFilter
from keras_crsae.problem.dense_and_sparse import DenseAndSparse


class Halved(CodePrior):
    """A user's own prior: half of the l1 norm."""

    def prox(self, x, threshold):
        return Laplace().prox(x, 0.5 * threshold)

    def penalty(self, code, weight):
        return 0.5 * weight * abs(code)


SPARSE = [Laplace(), Exponential(), SignedByFilter([1, -1]), Halved()]


@pytest.mark.parametrize("sparse", SPARSE, ids=str)
@pytest.mark.parametrize("blocks", [1, 3])
def test_sparse_filters_keep_their_prox_and_dense_ones_are_scaled(rng, sparse, blocks):
    x, threshold = rng.standard_normal((2, 5, 3 * blocks)).astype("float32"), np.float32([0.3, 0.6, 0.5])
    code = np.asarray(DenseAndSparse(sparse, 2, 1, ridge=True).prox(x, np.tile(threshold, blocks)))
    code, x = code.reshape(2, 5, blocks, 3), x.reshape(2, 5, blocks, 3)
    np.testing.assert_allclose(code[..., :2], sparse.prox(x[..., :2], threshold[:2]), atol=1e-7)
    np.testing.assert_allclose(code[..., 2], x[..., 2] / 1.5, atol=1e-7)


@pytest.mark.parametrize("sparse", SPARSE, ids=str)
def test_dense_filters_of_weight_zero_are_left_alone_and_an_infinite_threshold_closes_them(rng, sparse):
    x, prior = rng.standard_normal((2, 5, 3)).astype("float32"), DenseAndSparse(sparse, 2, 1)
    np.testing.assert_array_equal(prior.prox(x, np.float32([1, 1, 0]))[..., 2], x[..., 2])
    assert not np.asarray(prior.prox(x, np.float32([1, 1, np.inf])))[..., 2].any()


@pytest.mark.parametrize("sparse", SPARSE, ids=str)
def test_the_prox_minimises_its_objective(rng, sparse):
    prior, weight = DenseAndSparse(sparse, 2, 1, ridge=True), np.float32([0.3, 0.4, 0.7])
    x = rng.standard_normal((4, 3)).astype("float32")

    def objective(z):
        return 0.5 * (z - x) ** 2 + np.asarray(prior.penalty(z, weight))

    best = np.asarray(prior.prox(x, weight))
    for change in (-0.05, 0.05):
        assert (objective(best + np.float32(change)) >= objective(best) - 1e-6).all()


def test_only_sparse_filters_have_a_dual_excess():
    prior = DenseAndSparse(Exponential(), 1, 1)
    assert np.asarray(prior.dual_excess(np.float32([[2.0, 5.0]]))).tolist() == [[2.0, 0.0]]
    assert DenseAndSparse(Halved(), 1, 1).dual_excess(np.ones((1, 2), "float32")) is None


def test_the_form_in_a_graph_holds_the_signs():
    assert [(p.onnx, p.signs) for p in (DenseAndSparse(s, 2, 1) for s in SPARSE)] == [
        ("soft", None), ("signed_by_filter", (1, 1, 0)), ("signed_by_filter", (1, -1, 0)), (None, None)]


def test_groups_and_other_numbers_of_filters_are_refused():
    with pytest.raises(ValueError, match="ties values to groups.*GroupSparse"):
        DenseAndSparse(GroupSparse(), 2, 1)
    with pytest.raises(ValueError, match="2 sparse and 1 dense filters. Received: 4"):
        DenseAndSparse(Laplace(), 2, 1).check(4, 1)
