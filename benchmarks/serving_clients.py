"""Clients of a server, good and bad ones, and what they saw; ``benchmarks.serving`` lets them loose."""

import gzip
import http.client
import json
import random
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

LENGTH = "Inference-Header-Content-Length"
#: Share of the requests that are bad.
BAD = 0.35
#: Seconds without an answer after which a client gives a request up.
PATIENCE = 60.0


@dataclass(frozen=True)
class Case:
    """A good request: a model, a signal, and its outputs as this process computes them."""

    model: str
    signal: np.ndarray
    outputs: dict
    tolerance: float


def cases(files, lengths=((300, 1000, 3000), (24, 40)), seed=0):
    """A few good requests for each file: signals of ``lengths[0]`` samples, images of ``lengths[1]`` pixels a side."""
    from crsae_onnx import SparseEncoder

    made, rng = [], np.random.default_rng(seed)
    for file in files:
        encoder = SparseEncoder(file, threads=1)
        encoder.level.active = False
        info = encoder.info
        for length in lengths[info["rank"] - 1]:
            given = (3 * rng.standard_normal((1, *(length,) * info["rank"], info["channels"]))).astype(np.float32)
            names = [o for o in info["outputs"] if o in ("code", "reconstruction", "denoised")]
            outputs = encoder.run(names, given)
            while not all(array.any() for array in outputs.values()):  # louder, until there are codes to compare
                given = given * np.float32(4)
                outputs = encoder.run(names, given)
            largest = max(float(np.abs(array).max()) for array in outputs.values())
            made.append(Case(info.get("name") or Path(file).stem, given, outputs, 1e-5 * max(largest, 1.0)))
    return made


def text_request(case, **more):
    """A request in JSON."""
    return json.dumps({"inputs": [{"name": "signal", "shape": list(case.signal.shape), "datatype": "FP32",
                                   "data": case.signal.ravel().tolist()}],
                       "outputs": [{"name": name} for name in case.outputs], **more}).encode()


def binary_request(case):
    """(body, length of its JSON) of a request in bytes, which asks for bytes."""
    text = json.dumps({"inputs": [{"name": "signal", "shape": list(case.signal.shape), "datatype": "FP32",
                                   "parameters": {"binary_data_size": case.signal.nbytes}}],
                       "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in case.outputs]})
    return text.encode() + case.signal.tobytes(), len(text)


def mutated(body, chance):
    """A body with one to three changes: a byte, a part lost, a part doubled, foreign bytes."""
    body = bytearray(body)
    for _ in range(chance.randint(1, 3)):
        at, length = chance.randrange(len(body) + 1), chance.randint(1, 30)
        change = chance.randrange(4)
        if change == 0 and at < len(body):
            body[at] = chance.randrange(256)
        elif change == 1:
            del body[at:at + length]
        elif change == 2:
            body[at:at] = body[at:at + length]
        else:
            body[at:at] = chance.choice([b"NaN", b"null", b"1e999", b"-", b"[", b"}", b'"', b"9" * 40, b"\0" * 9])
        body = body or bytearray(b"{")
    return bytes(body)


def arrays_of(body, length):
    """{output: array} of an answer; ``length`` of its JSON, None where all is JSON."""
    text = json.loads(body[:length])
    made, at = {}, length
    for output in text["outputs"]:
        if "data" in output:
            values = np.array(output["data"], np.float32)
        else:
            size = output["parameters"]["binary_data_size"]
            values, at = np.frombuffer(body[at:at + size], "<f4"), at + size
        made[output["name"]] = values.reshape(output["shape"])
    return made


@cache
def bomb():
    """64 MiB of zeros, compressed."""
    return gzip.compress(bytes(2**26))


@dataclass
class Report:
    """What clients saw."""

    seconds: float = 0.0
    good: int = 0
    bad: int = 0
    statuses: Counter = field(default_factory=Counter)
    wrong: list = field(default_factory=list)  #: descriptions of what should not have been
    latencies: list = field(default_factory=list)  #: seconds of good answers
    memory: list = field(default_factory=list)  #: (seconds, bytes) of the server

    def growth(self):
        """Largest of the last fifth over the largest of the second fifth, less 1."""
        ends = [[b for t, b in self.memory if low * self.seconds <= t <= high * self.seconds]
                for low, high in ((0.2, 0.4), (0.8, 1.01))]
        return max(ends[1]) / max(ends[0]) - 1 if all(ends) else 0.0

    def summary(self):
        """Figures as plain data."""
        times = np.sort(self.latencies) if self.latencies else np.zeros(1)
        return {"seconds": round(self.seconds, 1), "good": self.good, "bad": self.bad, "wrong": len(self.wrong),
                "statuses": dict(sorted(self.statuses.items())), "p50_ms": 1e3 * float(np.quantile(times, 0.5)),
                "p99_ms": 1e3 * float(np.quantile(times, 0.99)), "longest_ms": 1e3 * float(times[-1]),
                "memory_mib": [round(b / 2**20, 1) for _, b in (self.memory[:1] + self.memory[-1:])],
                "growth": round(self.growth(), 4)}


class Client:
    """One client of a server: a connection that is kept, and a seed.

    Args:
        port: of the server, on this machine.
        cases: good requests.
        report: what is seen goes into it.
        seed: of the client's choices.
    """

    def __init__(self, port, cases, report, seed):
        self.port, self.cases, self.report, self.chance = port, cases, report, random.Random(seed)
        self.connection = None

    def ask(self, model, body, headers, attempts=3):
        """(status, headers, body) of an answer; None as status where the connection was closed every time."""
        for _ in range(attempts):  # a server may close a connection that is idle
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            try:
                self.connection.request("POST", f"/v2/models/{model}/infer", body, headers)
                answer = self.connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (ConnectionError, http.client.HTTPException):
                self.close()
        return None, {}, b""

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def good(self):
        """A good request, whose answer must be right."""
        case, kind = self.chance.choice(self.cases), self.chance.choice(["text", "bytes", "gzip"])
        body, headers = text_request(case), {}
        if kind != "text":
            body, length = binary_request(case)
            headers[LENGTH] = str(length)
        if kind == "gzip":
            body = gzip.compress(body, 1)
            headers |= {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
        start = time.perf_counter()
        status, received, answer = self.ask(case.model, body, headers)
        took = time.perf_counter() - start
        self.report.statuses[str(status)] += 1
        if status == 429:  # busy, and it says so
            return
        self.report.good += 1
        if status != 200:
            self.report.wrong.append(f"a good request ({kind}) was answered with {status}: {answer[:200]!r}")
            return
        self.report.latencies.append(took)
        answer = gzip.decompress(answer) if received.get("Content-Encoding") == "gzip" else answer
        length = received.get(LENGTH)
        made = arrays_of(answer, None if length is None else int(length))
        off = [n for n, a in case.outputs.items() if n not in made or made[n].shape != a.shape
               or not np.abs(made[n] - a).max() <= case.tolerance]
        if off:
            self.report.wrong.append(f"{case.model} {case.signal.shape} ({kind}): {off} differ")

    def bad_request(self):
        """(model, body, headers, whether it may be valid after all) of a bad request."""
        case, chance = self.chance.choice(self.cases), self.chance
        body, length = binary_request(case)
        headers, text = {LENGTH: str(length)}, text_request(case)
        shape = json.dumps(list(case.signal.shape)).encode()
        return chance.choice([
            lambda: (case.model, mutated(body, chance), headers, True),
            lambda: (case.model, mutated(body, chance), headers, True),
            lambda: (case.model, mutated(text, chance), {}, True),
            lambda: (case.model, text[:chance.randrange(len(text))], {}, False),
            lambda: (case.model, text.replace(shape, shape.replace(b"[1,", b"[2,")), {}, False),
            lambda: (case.model, text.replace(b'"data": [', b'"data": [NaN, '), {}, False),
            lambda: (case.model, body, {LENGTH: str(chance.randrange(length))}, False),
            lambda: (case.model, body, {LENGTH: "many"}, False),
            lambda: (case.model, body, {**headers, "Content-Encoding": "gzip"}, False),
            lambda: (case.model, body, {**headers, "Content-Encoding": "br"}, False),
            lambda: (case.model, bomb(), {"Content-Encoding": "gzip"}, False),
            lambda: ("nobody", text, {}, False)])()

    def bad(self):
        """A bad request, which must be refused with a reason."""
        model, body, headers, may_be_valid = self.bad_request()
        status, _, answer = self.ask(model, body, headers)
        self.report.statuses[str(status)] += 1
        self.report.bad += 1
        if status == 429 or (status == 200 and may_be_valid):
            return
        if status not in (400, 404, 413, 415) or len(json.loads(answer).get("error", "")) < 10:
            self.report.wrong.append(f"a bad request was answered with {status}: {answer[:200]!r}, sent {body[:300]!r}")

    def drop(self):
        """A request of which half is sent, or whose answer nobody reads."""
        body, length = binary_request(self.chance.choice(self.cases))
        head = f"POST /v2/models/{self.cases[0].model}/infer HTTP/1.1\r\nHost: x\r\n{LENGTH}: {length}\r\n" \
               f"Content-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as plain:
            plain.sendall(head + body[:self.chance.choice([0, len(body) // 2, len(body)])])
        self.report.bad += 1

    def run(self, until):
        """Requests until a time of ``time.perf_counter``."""
        while time.perf_counter() < until:
            luck = self.chance.random()
            (self.good if luck > BAD else self.drop if luck < 0.1 * BAD else self.bad)()
        self.close()
