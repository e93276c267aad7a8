"""What a code prior declares is true of its penalty: prox, polar, sign, bias form; signs by filter and groups."""

import numpy as np
import pytest
from keras import ops

import keras_crsae as kc
from keras_crsae.problem import CodePrior, Exponential, GroupSparse, Laplace, SignedByFilter, code_priors

#: Priors of single values that are the same for every filter; the others have tests of their own below.
NAMES = [n for n in code_priors.names() if code_priors.registry.class_of(n).__module__.startswith("keras_crsae")
         and n not in ("signed_by_filter", "group_sparse")]


@pytest.fixture(params=NAMES)
def prior(request):
    return code_priors.get(request.param)


def test_the_prox_minimises_distance_and_penalty(prior):
    v, grid = np.linspace(-3, 3, 13), np.linspace(-5, 5, 20001)
    penalty = np.asarray(prior.penalty(ops.convert_to_tensor(grid), 0.8))
    best = [grid[np.argmin(0.5 * (grid - x) ** 2 + penalty)] for x in v]
    np.testing.assert_allclose(prior.prox(ops.convert_to_tensor(v), 0.8), best, atol=1e-3)


def test_the_change_is_the_prox_less_the_point(prior, rng):
    w, rise = rng.standard_normal((2, 2, 50, 3))
    expected = np.asarray(prior.prox(w + rise, 0.4)) - w
    np.testing.assert_allclose(prior.change(*map(ops.convert_to_tensor, (rise, -w)), 0.4), expected, atol=1e-12)


def test_the_dual_excess_is_what_moves_a_zero(prior, rng):
    x = rng.standard_normal((2, 50, 3))
    moved = np.asarray(prior.prox(x, 0.4))
    np.testing.assert_allclose(np.abs(moved), np.maximum(np.asarray(prior.dual_excess(x)) - 0.4, 0), atol=1e-12)


def test_the_penalty_is_homogeneous_and_infinite_for_excluded_codes(prior, rng):
    x = ops.convert_to_tensor(rng.standard_normal((2, 50, 3)))
    code = prior.prox(x, 0.2)
    np.testing.assert_allclose(prior.penalty(3.0 * code, 0.5), 3 * np.asarray(prior.penalty(code, 0.5)))
    np.testing.assert_allclose(prior.penalty(code, 0.5), 0.5 * np.asarray(prior.magnitude(code)))
    allowed = np.isfinite(prior.penalty(x, 1.0))
    assert allowed.all() == prior.signed and (np.asarray(x)[allowed] != 0).any()


def test_an_infinite_threshold_gives_zero(prior, rng):
    assert not np.asarray(prior.prox(rng.standard_normal((1, 9, 2)), np.inf)).any()


def test_the_bias_form_is_declared_where_it_holds(prior, rng):
    x = rng.standard_normal((2, 30, 3))
    assert prior.bias_form == np.array_equal(prior.prox(x, 0.3), np.maximum(x - 0.3, 0))


def test_what_is_not_declared_is_the_cautious_answer():
    plain = CodePrior()
    assert plain.dual_excess(np.ones(3)) is None and plain.onnx is None and not plain.bias_form
    with pytest.raises(NotImplementedError):
        plain.prox(1.0, 1.0)


def test_signs_by_filter_are_laplace_exponential_and_its_mirror_image(rng):
    prior, x = SignedByFilter([1, -1, 0]), rng.standard_normal((2, 7, 3))
    folded = ops.reshape(x[:, :6], (2, 2, 9))  # three positions of a block and their filters on the last axis
    np.testing.assert_array_equal(prior.prox(folded, 0.3), ops.reshape(prior.prox(x[:, :6], 0.3), (2, 2, 9)))
    for name in ("prox", "penalty"):
        found = np.asarray(getattr(prior, name)(x, 0.3))
        one, both = (np.asarray(getattr(p, name)(x, 0.3)) for p in (Exponential(), Laplace()))
        turned = np.asarray(getattr(Exponential(), name)(-x, 0.3)) * (-1 if name == "prox" else 1)
        np.testing.assert_allclose(found, np.stack([one[..., 0], turned[..., 1], both[..., 2]], axis=-1), atol=1e-15)
    excess = np.asarray(prior.dual_excess(x))
    np.testing.assert_array_equal(excess, np.stack([x[..., 0], -x[..., 1], np.abs(x[..., 2])], axis=-1))
    np.testing.assert_array_equal(SignedByFilter([1, -1]).prox(x[..., :2], 0.3), prior.prox(x, 0.3)[..., :2])
    assert not np.asarray(prior.prox(x, np.inf)).any()


@pytest.mark.parametrize("signs, signed, onnx", [([1, 1], False, "nonnegative_soft"), ([0, 0], True, "soft"),
                                                 ([-1, -1], False, "signed_by_filter"),
                                                 ([1, 0], True, "signed_by_filter")])
def test_signs_say_what_the_codes_are(signs, signed, onnx):
    prior = SignedByFilter(signs)
    assert (prior.signed, prior.onnx) == (signed, onnx)
    assert code_priors.get(code_priors.serialize(prior)).signs == tuple(signs)


@pytest.mark.parametrize("wrong", [[2], 1, [], ["+"], [[1]]], ids=str)
def test_signs_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="one number a filter: 1, -1, or 0"):
        SignedByFilter(wrong)


def test_a_prior_that_does_not_fit_the_dictionary_is_refused():
    with pytest.raises(ValueError, match="one sign a filter. Received: 2 signs, 3 filters"):
        kc.CRsAE(3, 5, code_prior=SignedByFilter([1, -1]))
    with pytest.raises(ValueError, match=r"an axis of their own.*kernel_size=\(1, K\).*rank 1"):
        kc.CRsAE(3, 5, code_prior=GroupSparse())
    with pytest.raises(ValueError, match="one sign a filter"):
        kc.CRsAE(3, (1, 5), code_prior=GroupSparse(SignedByFilter([1, -1])))


@pytest.mark.parametrize("options", [dict(share=0), dict(share=1.5), dict(axes=()), dict(axes=(0,)), dict(axes=(3,)),
                                     dict(within=GroupSparse())], ids=str)
def test_groups_that_are_none_are_refused(options):
    with pytest.raises(ValueError, match="share|axes"):
        GroupSparse(**options)


def groups(rng, within, axes):
    """A code of two signals on 4 rows of 3 positions, and the indices of the members of each group."""
    x = rng.standard_normal((2, 4, 3, 2))
    index = np.arange(x.size).reshape(x.shape)
    moved = np.moveaxis(index, axes, range(-len(axes), 0))
    return x, moved.reshape(-1, np.prod([x.shape[a] for a in axes]))


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("within, lower", [("soft", -np.inf), ("nonnegative_soft", 0.0)])
def test_soft_then_group_is_the_prox_of_the_sum(within, lower, share, axes, rng):
    """Against a general convex solver, group by group."""
    from scipy.optimize import minimize

    prior, threshold = GroupSparse(within, share=share, axes=axes), 0.4
    x, members = groups(rng, within, axes)
    found = np.asarray(prior.prox(x, threshold)).ravel()
    penalty = np.asarray(prior.penalty(found.reshape(x.shape), threshold)).ravel()
    dead = 0
    for group in members:
        start, size = x.ravel()[group], len(group)

        def value(parts, start=start, size=size):  # z = positive part - negative part
            up, down = parts.reshape(2, size)
            z = up - down
            return 0.5 * np.square(z - start).sum() + threshold * (
                (1 - share) * (up + down).sum() + share * np.sqrt(size) * np.sqrt(np.square(z).sum() + 1e-14))

        bounds = [(0, None)] * size + [(0, None if lower < 0 else 0)] * size
        best = min((minimize(value, np.concatenate([np.maximum(first, 0), np.maximum(-first, 0) * (lower < 0)]),
                             method="L-BFGS-B", bounds=bounds, options=dict(ftol=1e-15, gtol=1e-10, maxiter=5000))
                    for first in (start, 1e-3 * start)), key=lambda r: r.fun)
        z = found[group]
        parts = np.concatenate([np.maximum(z, 0), np.maximum(-z, 0)])
        assert value(parts) <= best.fun + 1e-6
        np.testing.assert_allclose(z, best.x[:size] - best.x[size:], atol=5e-3)
        np.testing.assert_allclose(penalty[group].sum(), value(parts) - 0.5 * np.square(z - start).sum(), atol=1e-6)
        dead += not z.any()
    assert 0 < dead < len(members) or len(members) < 5


@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("within", ["soft", "nonnegative_soft"])
def test_a_group_dies_where_its_excess_says(within, share, rng):
    prior = GroupSparse(within, share=share)
    x = rng.standard_normal((2, 5, 40, 3))
    excess = np.asarray(prior.dual_excess(x))
    assert (np.ptp(excess, axis=1) < 1e-12).all() and (excess > 0).mean() > 0.9
    alive = excess > 0
    for factor, expected in ((1.0001, np.zeros_like(alive)), (0.999, alive)):
        moved = np.asarray(prior.prox(x, factor * excess))
        np.testing.assert_array_equal(moved.any(axis=1), expected[:, 0])


def test_a_group_of_one_value_and_an_infinite_threshold(rng):
    x = rng.standard_normal((2, 1, 9, 3)).astype("float32")
    np.testing.assert_allclose(GroupSparse("soft", share=0.4).prox(x, 0.3), Laplace().prox(x, 0.3), atol=1e-6)
    np.testing.assert_allclose(GroupSparse("soft", share=0.4).dual_excess(x), np.abs(x), rtol=1e-5)
    for share in (0.4, 1.0):
        assert not np.asarray(GroupSparse(share=share).prox(x, np.inf)).any()


def test_the_parts_of_a_group_add_up_and_the_prior_is_saved(rng):
    prior, code = GroupSparse("soft", share=0.3), rng.standard_normal((1, 4, 5, 2))
    whole = 0.7 * np.abs(code).sum() + 0.3 * 2 * np.sqrt(np.square(code).sum(axis=1)).sum()
    for found in (prior.magnitude(code), prior.penalty(code, 1.0)):
        assert np.asarray(found).sum() == pytest.approx(whole)
    again = code_priors.get(code_priors.serialize(GroupSparse(SignedByFilter([1, 0]), 0.3, (2,))))
    assert again.within.signs == (1, 0) and (again.share, again.group_axes) == (0.3, (2,))
    assert code_priors.serialize(GroupSparse()) == "group_sparse"
