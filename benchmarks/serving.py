"""Does the server stay right, quick and small under clients of all kinds?

It is started as a user starts it, with files of the zoo: a spike sorter's, whose signals are recordings, and one of
images. Clients then send, at random, good requests (JSON, bytes, gzip; several shapes) and bad ones (mutated bytes,
texts cut short, wrong shapes, NaN, false lengths and encodings, connections that are dropped in the middle). Every good
answer is compared with what onnxruntime gives in this process.

    pip install '.[serve]'
    python -m benchmarks.serving --minutes 60
    python -m benchmarks.serving --short                   # half a minute

It fails where an answer is wrong, a bad request brings the server down or is answered with 5xx, or memory grows by more
than ``--growth`` from the end of the first fifth to the end.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from benchmarks import common
from benchmarks.serving_clients import PATIENCE, Client, Report, cases

ROOT = Path(__file__).parent.parent
FILES = tuple(ROOT / "models" / name / "encoder.onnx" for name in ("spikes-single-channel", "em-unsupervised-gray"))


def processes(root):
    """{number: fields of /proc/NUMBER/stat from the state on} of a process and all that it started (Linux)."""
    every = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            every[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
    family, more = {}, {root} & set(every)
    while more:
        family |= {number: every[number] for number in more}
        more = {number for number, fields in every.items() if int(fields[1]) in more}
    return family


def resident(root):
    """Resident bytes of a process and all that it started."""
    return sum(int(fields[21]) for fields in processes(root).values()) * os.sysconf("SC_PAGE_SIZE")


def soak(port, process, cases, seconds, clients, every=1.0):
    """Let clients send requests for some time. Returns a Report.

    Args:
        port: of the server.
        process: its first process.
        cases: good requests.
        seconds: how long.
        clients: at a time.
        every: seconds between two readings of the memory.
    """
    reports = [Report() for _ in range(clients)]
    total, start, ended = Report(), time.perf_counter(), threading.Event()

    def watch():
        while not ended.wait(every):
            total.memory.append((time.perf_counter() - start, resident(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(clients) as pool:
            works = [pool.submit(Client(port, cases, report, seed).run, start + seconds)
                     for seed, report in enumerate(reports)]
            for work in works:
                work.result()
    finally:
        ended.set()
        watcher.join()
    total.seconds = time.perf_counter() - start
    for report in reports:
        total.good, total.bad = total.good + report.good, total.bad + report.bad
        total.statuses += report.statuses
        total.wrong += report.wrong
        total.latencies += report.latencies
    return total


def started(folder, command):
    """(port, process) of a server that is ready: ``command`` with a free port, its files in ``folder``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "HOME": str(folder), "BENTOML_HOME": str(Path(folder) / "bentoml")}
    process = subprocess.Popen([*map(str, command), "--port", str(port)], cwd=folder, env=environment,
                               start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        try:
            if get(port, "/v2/health/ready")[0] == 200:
                return port, process
        except OSError:
            if process.poll() is not None:
                raise RuntimeError("The server ended. Is it installed? pip install '.[serve]'") from None
        time.sleep(0.25)
    os.killpg(process.pid, signal.SIGKILL)
    raise RuntimeError("The server was not ready after five minutes.")


def get(port, path):
    """(status, body) of an answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def metrics(port):
    """Lines of /metrics that are this project's, without the classes of histograms."""
    lines = get(port, "/metrics")[1].decode().splitlines()
    return [line for line in lines if line.startswith("crsae_") and "_bucket" not in line]


def rows_of(figures):
    """The table of a soak."""
    memory = " -> ".join(map(str, figures["memory_mib"]))
    return [["good requests", figures["good"]], ["bad requests", figures["bad"]], ["wrong answers", figures["wrong"]],
            ["requests a second", f"{(figures['good'] + figures['bad']) / figures['seconds']:.0f}"],
            ["refused as busy", figures["statuses"].get("429", 0)],
            ["median of good answers", f"{figures['p50_ms']:.1f} ms"], ["p99", f"{figures['p99_ms']:.1f} ms"],
            ["longest", f"{figures['longest_ms']:.0f} ms"], ["memory of the server", f"{memory} MiB"],
            ["its growth after the second fifth", f"{100 * figures['growth']:.1f} %"]]


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of the soak")
    parser.add_argument("--clients", type=int, default=8, help="at a time")
    parser.add_argument("--files", nargs="+", type=Path, default=FILES, help="exported files")
    parser.add_argument("--growth", type=float, default=0.05, help="of memory that is no leak")
    arguments = parser.parse_args()
    arguments.minutes = 0.5 if arguments.short else arguments.minutes
    common.limit_threads(arguments.threads)
    described, good = common.machine(arguments.threads), cases(arguments.files)
    with tempfile.TemporaryDirectory() as folder:
        files = [file.resolve() for file in arguments.files]
        port, process = started(folder, [sys.executable, "-m", "crsae_onnx.cli", "serve", *files])
        try:
            result = soak(port, process, good, 60 * arguments.minutes, arguments.clients)
            print("\n".join(metrics(port)))
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
    figures = result.summary()
    print("\n".join(result.wrong[:20]))
    title = f"{arguments.clients} clients for {figures['seconds'] / 60:.1f} minutes"
    section = common.report("serving", arguments, ["", ""], rows_of(figures), figures, title)
    if result.wrong or figures["growth"] > arguments.growth:
        raise SystemExit("The soak failed: wrong answers, or memory that grows. Nothing was written.")
    del arguments.files  # folders of this machine
    common.save("serving", arguments, described, [section])


if __name__ == "__main__":
    main()
