"""Several passes at a time: in order, few at once, with errors that reach the caller."""

import threading
import time

import pytest
from crsae_onnx.core.parallel import cores, ordered_thread_map


def test_there_is_at_least_one_core():
    assert cores() >= 1


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_few_run_at_once(workers):
    lock, running, most, makers = threading.Lock(), 0, 0, set()

    def items():
        for i in range(20):
            makers.add(threading.get_ident())
            yield i

    def compute(i):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002 * (i % 3))
        with lock:
            running -= 1
        return i * i

    assert list(ordered_thread_map(compute, items(), workers)) == [i * i for i in range(20)]
    assert 1 <= most <= workers and makers == {threading.get_ident()}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_reaches_the_caller_and_ends_the_work(workers):
    done = []

    def compute(i):
        if i == 3:
            raise OSError("disk full")
        done.append(i)

    with pytest.raises(OSError, match="disk full"):
        list(ordered_thread_map(compute, iter(range(100)), workers))
    assert len(done) < 10


def test_a_caller_that_stops_reading_waits_for_what_runs_alone():
    done = []
    results = ordered_thread_map(lambda i: done.append(i) or i, iter(range(100)), 2)
    assert next(results) == 0
    results.close()
    assert len(done) < 10
