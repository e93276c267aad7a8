"""Arguments of calls as inputs of a file; what is refused in a call is tested in tests/export/test_counts.py."""

import numpy as np
import pytest
from crsae_onnx.core.errors import SignalError
from crsae_onnx.runtime.feeds import Feeds, Given, windows_of

PLAIN = {"rank": 1, "kernel_size": [5], "channels": 2, "sigma": 0.5}
COUNTS = {**PLAIN, "size_name": "trials", "size": 4.0, "baseline": [0.1, 0.2], "likelihood": "binomial"}


def test_what_is_not_given_takes_the_training_s_values():
    piece = np.ones((3, 9, 2), np.float32)
    feed = Feeds(PLAIN, ("signal", "mask", "sigma")).feed(piece)
    assert sorted(feed) == ["mask", "sigma", "signal"] and feed["mask"].all() and feed["sigma"].tolist() == [0.5] * 3
    feed = Feeds(COUNTS, ("signal", "trials", "baseline")).feed(piece)
    assert feed["trials"].shape == (3, 1, 1) and (feed["trials"] == 4).all()
    np.testing.assert_allclose(feed["baseline"], [[0.1, 0.2]] * 3, rtol=1e-6)


def test_sizes_and_baselines_get_the_batch_as_their_first_axis():
    feeds = Feeds(COUNTS, ("signal", "trials", "baseline"))
    made = feeds.numbers(Given(trials=[5, 6, 7], baseline=[1.0, 2.0]), (3, 9, 2))
    assert made.size.shape == (3, 1, 1) and made.baseline.shape == (3, 2)
    assert feeds.numbers(Given(trials=np.full((9, 1), 8)), (3, 9, 2)).size.shape == (3, 9, 1)
    with pytest.raises(SignalError, match="`baseline` must be"):
        feeds.numbers(Given(baseline=[1.0, 2.0, 3.0]), (3, 9, 2))


def test_windows_carry_a_size_of_each_signal_and_nothing_else():
    feeds, seen = Feeds(COUNTS, ("signal", "mask", "trials", "baseline")), []
    run, given = windows_of(feeds, Given(trials=[5, 6]), (2, 30, 2), lambda piece, given: seen.append(given) or piece)
    assert given.sigma.tolist() == [5, 6]
    run(np.full((1, 9, 2), 6.0, np.float32), sigma=given.sigma[1:])
    assert seen[0].size.tolist() == [[[6]]]
    with pytest.raises(ValueError, match="at most the number of trials"):
        run(np.full((1, 9, 2), 6.0, np.float32), sigma=given.sigma[:1])
    for wrong in (dict(trials=np.full((30, 1), 5)), dict(baseline=0.1)):
        with pytest.raises(ValueError, match="encoded in windows"):
            windows_of(feeds, Given(**wrong), (2, 30, 2), run)
    with pytest.raises(ValueError, match="0 for a whole signal"):
        windows_of(feeds, Given(trials=[0, 6]), (2, 30, 2), run)
