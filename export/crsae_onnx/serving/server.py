"""A server for exported files that speaks the Open Inference Protocol, on BentoML (extra: serve).

``crsae-onnx serve FILE...`` starts it; BentoML brings the processes, time-outs, a limit of requests at a time, /livez,
/readyz and /metrics (Prometheus), where the counts of this module stand beside its own. Settings come through the
environment, since BentoML's workers import this module.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import bentoml
from bentoml.metrics import Counter, Histogram
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crsae_onnx.core.validation import as_int
from crsae_onnx.core.version import package_version
from crsae_onnx.serving.batching import Stop
from crsae_onnx.serving.binary_tensors import EXTENSION, LENGTH_HEADER
from crsae_onnx.serving.content_encoding import LEAST_COMPRESSED, BodyReader, EncodingError, accepts_gzip, compress
from crsae_onnx.serving.protocol import LARGEST_BODY, LARGEST_SIGNAL, Models, RequestError

#: The environment variable with the settings, JSON: see ``settings``.
VARIABLE = "CRSAE_ONNX_SERVER"


#: Limits of the histograms' classes: seconds of a request and of a run, signals of a run.
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SIGNALS = (1, 2, 4, 8, 16, 32, 64)

_requests = Counter("crsae_requests", "Requests for results, by model and HTTP status.", ["model", "status"])
_request_seconds = Histogram("crsae_request_seconds", "Seconds from a request to its answer.", ["model"],
                             buckets=SECONDS)
_run_seconds = Histogram("crsae_run_seconds", "Seconds of a run in onnxruntime.", ["model"], buckets=SECONDS)
_run_signals = Histogram("crsae_run_signals", "Signals of a run: those of several requests, where they were joined.",
                         ["model"], buckets=SIGNALS)


def settings(files: Sequence[str | os.PathLike[str]], timeout: float = 30.0, concurrency: int = 16,
             threads: int | None = None, largest_body: int = LARGEST_BODY, largest_signal: int = LARGEST_SIGNAL,
             max_batch: int = 8, delay: int = 1000) -> str:
    """The settings as text, for the environment of the server.

    Args:
        files: exported ``.onnx`` files.
        timeout: seconds after which a request is given up (504).
        concurrency: requests at a time; more are refused (429).
        threads: onnxruntime threads of one run; None: the cores.
        largest_body: bytes of a request (413 beyond).
        largest_signal: numbers of a signal (413 beyond).
        max_batch: signals of one shape, of requests that wait at the same time, that one run takes.
        delay: microseconds that a request may wait for others that are being read.

    Raises:
        ValueError: a number that is not positive.
    """
    for name, value in (("timeout", timeout), ("concurrency", concurrency), ("threads", threads),
                        ("largest_body", largest_body), ("largest_signal", largest_signal)):
        if value is not None and not value > 0:
            raise ValueError(f"`{name}` must be positive. Received: {value!r}")
    return json.dumps({"files": [os.path.abspath(f) for f in files], "timeout": timeout, "concurrency": concurrency,
                       "threads": threads, "largest_body": largest_body, "largest_signal": largest_signal,
                       "max_batch": as_int(max_batch, "max_batch"), "delay": as_int(delay, "delay", minimum=0)})


def serve(text: str, host: str = "127.0.0.1", port: int = 3000) -> NoReturn:
    """Become the server: its process takes this one's place, so that signals reach it."""
    environment = {**os.environ, VARIABLE: text, "BENTOML_DO_NOT_TRACK": "True"}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "bentoml", "serve", "crsae_onnx.serving.server:Encoders",
                               "--host", host, "--port", str(port)], environment)


_settings = json.loads(os.environ.get(VARIABLE, "{}"))
_models: Models | None = None
_pool = ThreadPoolExecutor(_settings.get("concurrency", 16), thread_name_prefix="infer")


def _loaded() -> Models:
    """The models of this process."""
    global _models
    if _models is None:
        _models = Models(_settings["files"], _settings["threads"], _settings["largest_body"],
                         _settings["largest_signal"], max_batch=_settings["max_batch"],
                         delay=1e-6 * _settings["delay"], on_run=_count_run)
    return _models


def _count_run(name: str, signals: int, seconds: float) -> None:
    _run_signals.labels(model=name).observe(signals)
    _run_seconds.labels(model=name).observe(seconds)


async def _live(request: Request) -> JSONResponse:
    return JSONResponse({"live": True})


async def _ready(request: Request) -> JSONResponse:
    return JSONResponse({"ready": bool(_loaded().names)})


async def _server(request: Request) -> JSONResponse:
    return JSONResponse({"name": "crsae-onnx", "version": package_version(), "extensions": [EXTENSION],
                         "models": _loaded().names})


async def _metadata(request: Request) -> JSONResponse:
    return JSONResponse(_loaded().metadata(request.path_params["name"]))


async def _model_ready(request: Request) -> JSONResponse:
    _loaded().metadata(request.path_params["name"])
    return JSONResponse({"name": request.path_params["name"], "ready": True})


async def _infer(request: Request) -> Response:
    """The answer to a request, counted."""
    name, start, status = request.path_params["name"], time.perf_counter(), 500
    label = name if name in _loaded().names else "none"  # of as many values as there are models
    try:
        response = await _answer(request, name)
        status = response.status_code
        return response
    except RequestError as error:
        status = error.status
        raise
    except asyncio.CancelledError:  # the time is up, and the caller has its answer
        status = 504
        raise
    finally:
        _requests.labels(model=label, status=str(status)).inc()
        _request_seconds.labels(model=label).observe(time.perf_counter() - start)


async def _answer(request: Request, name: str) -> Response:
    models, stop = _loaded(), Stop()
    body = await _read(request, models.largest_body)
    headers = request.headers
    gzip = accepts_gzip(headers.get("accept-encoding"))

    def run() -> Response:
        answer = models.infer(name, body, stop, headers.get(LENGTH_HEADER))
        sent = {"Vary": "Accept-Encoding"}
        if answer.json_length is not None:
            sent[LENGTH_HEADER] = str(answer.json_length)
        content = answer.body
        if gzip and len(content) >= LEAST_COMPRESSED:
            content, sent["Content-Encoding"] = compress(content), "gzip"
        return Response(content, media_type="application/json" if answer.json_length is None else
                        "application/octet-stream", headers=sent)

    try:
        # onnxruntime leaves the interpreter's lock while it computes: other requests go on.
        return await asyncio.get_running_loop().run_in_executor(_pool, run)
    except asyncio.CancelledError:
        stop()
        raise


async def _read(request: Request, most: int) -> bytes:
    """The body, decompressed, or a RequestError as soon as it is known to be too long: none can fill the memory."""
    too_long = RequestError(413, f"The request is larger than {most:,} bytes. Send shorter signals.")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > most:
        raise too_long
    try:
        reader = BodyReader(request.headers.get("content-encoding"), most)
    except EncodingError as error:
        raise RequestError(415, str(error)) from error
    try:
        async for piece in request.stream():
            if not reader.feed(piece):
                raise too_long
        return reader.finish()
    except EncodingError as error:
        raise RequestError(400, str(error)) from error
    except ClientDisconnect as error:  # nobody reads this; it is counted
        raise RequestError(400, "The connection ended before the request did.") from error


def _invalid_request(request: Request, error: RequestError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=error.status)


def _failed(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": f"The server failed ({type(error).__name__}). The request was not answered."},
                        status_code=500)


def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    return JSONResponse({"error": f"{error.detail}: {request.method} {request.url.path}"},
                        status_code=error.status_code, headers=error.headers)


_app = Starlette(routes=[
    Route("/", _server), Route("/health/live", _live), Route("/health/ready", _ready),
    Route("/models/{name}", _metadata), Route("/models/{name}/ready", _model_ready),
    Route("/models/{name}/infer", _infer, methods=["POST"]),
    Route("/models/{name}/versions/1", _metadata), Route("/models/{name}/versions/1/ready", _model_ready),
    Route("/models/{name}/versions/1/infer", _infer, methods=["POST"])],
    exception_handlers={RequestError: _invalid_request, HTTPException: _http_error, Exception: _failed})

#: The address without a slash at its end, which clients ask for and do not follow to another one.
_root = Starlette(routes=[Route("/v2", _server)])


@bentoml.asgi_app(_app, path="/v2")
@bentoml.asgi_app(_root, path="/", name="root")
@bentoml.service(name="crsae_onnx", workers=1, traffic={"timeout": _settings.get("timeout", 30.0),
                                                         "max_concurrency": _settings.get("concurrency", 16)})
class Encoders:
    """The service: loads the models before it is ready."""

    def __init__(self) -> None:
        _loaded()
