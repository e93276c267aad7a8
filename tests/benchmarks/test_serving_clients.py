"""Clients of a server: what its clients send, and what counts as a failure; tests/export/serving runs it."""

import random
import re

import numpy as np
import pytest

from benchmarks import serving_clients as serving
from benchmarks.serving import rows_of

CASE = serving.Case("m", np.zeros((1, 8, 1), np.float32), {"code": np.zeros((1, 4, 2), np.float32)}, 1e-5)


class Scripted(serving.Client):
    """A client whose server always answers the same."""

    def __init__(self, answer):
        super().__init__(0, [CASE], serving.Report(), seed=0)
        self.answer = answer

    def ask(self, model, body, headers, attempts=3):
        return self.answer


def test_mutations_change_bodies_and_repeat_with_their_seed():
    made = [[serving.mutated(b"0123456789" * 9, chance) for _ in range(50)]
            for chance in (random.Random(1), random.Random(1))]
    assert made[0] == made[1] and sum(body != b"0123456789" * 9 for body in made[0]) > 45 and all(made[0])


@pytest.mark.parametrize("status, body, wrong", [
    (200, b'{"outputs": [{"name": "code", "shape": [1, 4, 2], "data": [0, 0, 0, 0, 0, 0, 0, 0]}]}', None),
    (200, b'{"outputs": [{"name": "code", "shape": [1, 4, 2], "data": [0, 0, 0, 0, 0, 0, 0, 1]}]}', "differ"),
    (200, b'{"outputs": []}', "differ"), (429, b"", None), (400, b"no", "answered with 400"),
    (None, b"", "answered with None")])
def test_a_good_request_must_be_answered_rightly_or_told_that_the_server_is_busy(status, body, wrong):
    client = Scripted((status, {}, body))
    client.good()
    assert (client.report.wrong == []) if wrong is None else re.search(wrong, client.report.wrong[0])
    assert len(client.report.latencies) == (status == 200)


@pytest.mark.parametrize("status, body, fine", [
    (400, b'{"error": "a reason in words"}', True), (400, b'{"error": ""}', False), (500, b"{}", False),
    (None, b"", False)])
def test_a_bad_request_must_be_refused_with_a_reason(status, body, fine):
    client = Scripted((status, {}, body))
    for _ in range(30):
        client.bad()
    assert client.report.bad == 30 and (client.report.wrong == []) == fine


def test_memory_that_grows_after_the_beginning_is_seen():
    report = serving.Report(seconds=100.0)
    report.memory = [(t, 100 + 50 * (t < 10) + 20 * (t > 90)) for t in range(100)]
    assert report.growth() == pytest.approx(0.2)
    report.memory = report.memory[:3]  # too short to say
    assert report.growth() == 0.0
    report.latencies = [0.001] * 99 + [0.1]
    figures = report.summary()
    assert figures["p50_ms"] == pytest.approx(1.0) and figures["longest_ms"] == pytest.approx(100.0)
    assert len(rows_of(figures)) == 10
