"""Requests that wait together are run together: exact rows, limits, failures and stops of single ones."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from crsae_onnx.serving.batching import Batcher, Stop, StoppedError, stop_of_all


class Doubler:
    """Computes 2 x, notes how many rows each run had; the first run waits until ``release`` is set."""

    def __init__(self, hold=False):
        self.rows, self.stops, self.release = [], [], threading.Event()
        self.entered = threading.Event()
        if not hold:
            self.release.set()

    def __call__(self, arrays, stop):
        self.rows.append(len(arrays["x"]))
        self.stops.append(stop)
        self.entered.set()
        assert self.release.wait(10)
        if (arrays["x"] < 0).any():
            raise ValueError("negative")
        return {"y": 2 * arrays["x"]}


def ask(pool, batcher, compute, rows, key="k", stop=None, value=None):
    feed = {"x": np.random.default_rng(rows).random((rows, 3)) if value is None else np.full((rows, 3), value)}
    return feed, pool.submit(batcher.run, key, feed, compute, stop)


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def waiting(batcher, key="k"):
    line = batcher._lines.get(key)
    return 0 if line is None or line.open is None else line.open.rows


def behind_a_run(batcher, compute, pool, *requests):
    """Send requests one by one while a first one is being run; then let it end. Returns [(feed, future)]."""
    first = ask(pool, batcher, compute, 1)
    assert compute.entered.wait(10)
    made = [first]
    for request in requests:
        before = waiting(batcher)
        made.append(ask(pool, batcher, compute, **request))
        until(lambda before=before: waiting(batcher) != before)
    compute.release.set()
    return made


def test_what_comes_while_another_runs_is_run_together_and_each_gets_its_rows():
    batcher, compute = Batcher(most=8), Doubler(hold=True)
    with ThreadPoolExecutor(8) as pool:
        made = behind_a_run(batcher, compute, pool, *[dict(rows=n) for n in (1, 2, 3, 1, 3)])
        for feed, future in made:
            assert np.array_equal(future.result(10)["y"], 2 * feed["x"])
    assert sorted(compute.rows) == [1, 3, 7]  # 1 + 2 + 3 + 1 = 7 of at most 8; the last 3 wait for the next
    assert not batcher._lines  # nothing is kept of what was answered


@pytest.mark.parametrize("most, key", [(1, "k"), (8, None)])
def test_other_keys_and_a_limit_of_one_are_run_apart(most, key):
    batcher, compute = Batcher(most=most, parallel=8), Doubler()
    with ThreadPoolExecutor(4) as pool:
        made = [ask(pool, batcher, compute, 1, key=key or i) for i in range(20)]
        assert all(np.array_equal(future.result(10)["y"], 2 * feed["x"]) for feed, future in made)
    assert compute.rows == [1] * 20


def test_a_request_waits_for_one_that_is_being_read_but_never_alone():
    batcher, compute = Batcher(delay=30.0), Doubler()
    batcher.run("k", {"x": np.ones((1, 3))}, compute)  # would take half a minute
    with ThreadPoolExecutor(2) as pool:
        with batcher.coming():
            first = ask(pool, batcher, compute, 1)[1]
            until(lambda: waiting(batcher) == 1)
            assert not first.done()
        ask(pool, batcher, compute, 2)[1].result(10)
        first.result(10)
    assert compute.rows == [1, 3]


def test_no_wait_is_longer_than_the_delay():
    batcher, compute = Batcher(delay=0.01), Doubler()
    with batcher.coming():  # something that is never sent
        batcher.run("k", {"x": np.ones((1, 3))}, compute)
    assert compute.rows == [1]


def test_what_is_wrong_with_one_is_not_the_others():
    batcher, compute = Batcher(), Doubler(hold=True)
    with ThreadPoolExecutor(8) as pool:
        _, good, bad, other = behind_a_run(batcher, compute, pool, dict(rows=2), dict(rows=1, value=-1.0), dict(rows=1))
        assert np.array_equal(good[1].result(10)["y"], 2 * good[0]["x"])
        assert np.array_equal(other[1].result(10)["y"], 2 * other[0]["x"])
        with pytest.raises(ValueError, match="negative"):
            bad[1].result(10)
    assert compute.rows == [1, 4, 2, 1, 1]


def test_what_nobody_waits_for_is_not_run():
    batcher, compute, stop = Batcher(), Doubler(hold=True), Stop()
    with ThreadPoolExecutor(8) as pool:
        first = ask(pool, batcher, compute, 1)
        assert compute.entered.wait(10)
        stopped = ask(pool, batcher, compute, 1, stop=stop)[1]
        until(lambda: waiting(batcher) == 1)
        wanted = ask(pool, batcher, compute, 2)
        until(lambda: waiting(batcher) == 3)
        stop()
        compute.release.set()
        assert len(first[1].result(10)["y"]) == 1 and len(wanted[1].result(10)["y"]) == 2
        with pytest.raises(StoppedError):
            stopped.result(10)
    assert compute.rows == [1, 2]


def test_a_joint_run_stops_once_nobody_waits_for_any_of_it():
    stops, seen = [Stop(), Stop()], []
    joint = stop_of_all(stops)
    joint.watch(lambda: seen.append(1))
    stops[0]()
    assert not joint.wanted and not seen
    stops[1]()
    assert joint.wanted and seen == [1]
    joint.watch(lambda: seen.append(2))  # it is too late to wait
    assert seen == [1, 2] and stop_of_all(stops).wanted


def test_many_threads_get_their_own_results():
    batcher, compute = Batcher(most=5, delay=0.002, parallel=2), Doubler()

    def client(seed):
        rng = np.random.default_rng(seed)
        for _ in range(50):
            feed = {"x": rng.random((int(rng.integers(1, 5)), 3))}
            with batcher.coming():
                key = int(rng.integers(2))
            if not np.array_equal(batcher.run(key, feed, compute)["y"], 2 * feed["x"]):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(client, range(8)))
    assert max(compute.rows) <= 5 and not batcher._lines


@pytest.mark.parametrize("options", [dict(most=0), dict(most=2.5), dict(delay=-1), dict(delay=float("inf")),
                                     dict(parallel=0)])
def test_invalid_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Batcher(**options)
