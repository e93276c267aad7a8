"""A server for exported files that speaks the Open Inference Protocol, on BentoML (extra: serve).

``crsae-onnx serve FILE...`` starts it; BentoML brings the processes, time-outs, a limit of requests at a time, /metrics
(Prometheus), /livez and /readyz. Settings come through the environment, since BentoML's workers import this module.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import bentoml
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crsae_onnx.core.version import package_version
from crsae_onnx.runtime.sessions import run_options
from crsae_onnx.serving.binary_tensors import EXTENSION, LENGTH_HEADER
from crsae_onnx.serving.content_encoding import LEAST_COMPRESSED, BodyReader, EncodingError, accepts_gzip, compress
from crsae_onnx.serving.protocol import LARGEST_BODY, LARGEST_SIGNAL, Models, RequestError

#: The environment variable with the settings, JSON: see ``settings``.
VARIABLE = "CRSAE_ONNX_SERVER"


def settings(files: Sequence[str | os.PathLike[str]], timeout: float = 30.0, concurrency: int = 8,
             threads: int | None = None, largest_body: int = LARGEST_BODY,
             largest_signal: int = LARGEST_SIGNAL) -> str:
    """The settings as text, for the environment of the server.

    Args:
        files: exported ``.onnx`` files.
        timeout: seconds after which a request is given up (504).
        concurrency: requests at a time; more are refused (429).
        threads: onnxruntime threads of one run; None: the cores.
        largest_body: bytes of a request (413 beyond).
        largest_signal: numbers of a signal (413 beyond).

    Raises:
        ValueError: a number that is not positive.
    """
    for name, value in (("timeout", timeout), ("concurrency", concurrency), ("threads", threads),
                        ("largest_body", largest_body), ("largest_signal", largest_signal)):
        if value is not None and not value > 0:
            raise ValueError(f"`{name}` must be positive. Received: {value!r}")
    return json.dumps({"files": [os.path.abspath(f) for f in files], "timeout": timeout, "concurrency": concurrency,
                       "threads": threads, "largest_body": largest_body, "largest_signal": largest_signal})


def serve(text: str, host: str = "127.0.0.1", port: int = 3000) -> NoReturn:
    """Become the server: its process takes this one's place, so that signals reach it."""
    environment = {**os.environ, VARIABLE: text, "BENTOML_DO_NOT_TRACK": "True"}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "bentoml", "serve", "crsae_onnx.serving.server:Encoders",
                               "--host", host, "--port", str(port)], environment)


_settings = json.loads(os.environ.get(VARIABLE, "{}"))
_models: Models | None = None
_pool = ThreadPoolExecutor(_settings.get("concurrency", 8), thread_name_prefix="infer")


def _loaded() -> Models:
    """The models of this process."""
    global _models
    if _models is None:
        _models = Models(_settings["files"], _settings["threads"], _settings["largest_body"],
                         _settings["largest_signal"])
    return _models


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
    models = _loaded()
    body, options = await _read(request, models.largest_body), run_options()
    headers, name = request.headers, request.path_params["name"]
    gzip = accepts_gzip(headers.get("accept-encoding"))

    def run() -> Response:
        answer = models.infer(name, body, options, headers.get(LENGTH_HEADER))
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
    except asyncio.CancelledError:  # the time is up, and the caller has its answer
        options.terminate = True
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
                                                         "max_concurrency": _settings.get("concurrency", 8)})
class Encoders:
    """The service: loads the models before it is ready."""

    def __init__(self) -> None:
        _loaded()
