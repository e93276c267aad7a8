"""The Open Inference Protocol (version 2 over HTTP) on exported files, without a web framework.

Tensors are JSON, or bytes behind it (``binary_tensors``). Requests are validated here; ``RequestError`` carries the
HTTP status and message.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.parallel import cores
from crsae_onnx.core.spec import (
    BASELINE,
    EXPOSURE,
    INPUT,
    MASK,
    OPERATOR,
    SIGMA,
    SPIKE_TENSORS,
    TRIALS,
    is_index,
    sizes,
    tensors,
)
from crsae_onnx.runtime.feeds import Feed, Given
from crsae_onnx.runtime.sessions import run_options
from crsae_onnx.runtime.sparse_encoder import SparseEncoder
from crsae_onnx.serving.batching import Batcher, Stop
from crsae_onnx.serving.binary_tensors import (
    LENGTH_HEADER,
    TYPES,
    BinaryTensors,
    binary_outputs,
    parameter,
    split_body,
)
from crsae_onnx.serving.triton_repository import by_name

#: Defaults: largest request in bytes, largest signal in numbers.
LARGEST_BODY, LARGEST_SIGNAL = 2**25, 2**21
#: Default: most numbers of a code. The memory of a run, and the length of an answer as text, grow with it.
LARGEST_CODE = 2**23
#: Signals whose codes have more numbers are not run together. Eight together took .64 to .9 of the processor's time
#: below, and up to 1.25 times as much from twice this size on, where they fall out of its cache.
LARGEST_JOINED = 2**14


class RequestError(Exception):
    """An invalid request: nothing was computed.

    Attributes:
        status: HTTP status, 4xx.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Answer(NamedTuple):
    """An answer: JSON, and bytes behind it."""

    body: bytes
    json_length: int | None  #: of the JSON, where bytes follow it: the header ``Inference-Header-Content-Length``


class Models:
    """Exported files under the names and messages of the protocol.

    Args:
        files: exported ``.onnx`` files; each is a model named by its "name", or by its file.
        threads: onnxruntime threads of one run; None: the cores.
        largest_body: bytes of a request.
        largest_signal: numbers of a signal.
        largest_code: numbers of a code.
        max_batch: signals of one shape, of requests that wait at the same time, that one run takes; 1: each request has
            a run of its own. Files that stop early, or search for their steps, and lists of spikes are never joined.
        delay: seconds that a request may wait for others that are being read.
        on_run: called after a run with the model's name, the number of signals, and the seconds it took.

    Raises:
        ModelFileError: a file is missing, damaged or foreign.
        ValueError: no file; two files of one name; an invalid option.

    Example:
        >>> import json
        >>> import keras_crsae as kc
        >>> from crsae_onnx.convert import convert
        >>> from crsae_onnx.serving.protocol import Models
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
        >>> model.set_dictionary(kc.data.spike_templates(45, 3))
        >>> models = Models([convert(model, "encoder.onnx")])
        >>> models.metadata("encoder")["platform"]
        'onnxruntime_onnx'
        >>> body = {"inputs": [{"name": "signal", "shape": [1, 60, 1], "datatype": "FP32", "data": [0.0] * 60}]}
        >>> json.loads(models.infer("encoder", json.dumps(body).encode()).body)["outputs"][0]["shape"]
        [1, 16, 3]
    """

    def __init__(self, files: Sequence[str | os.PathLike[str]], threads: int | None = None,
                 largest_body: int = LARGEST_BODY, largest_signal: int = LARGEST_SIGNAL,
                 largest_code: int = LARGEST_CODE, max_batch: int = 8, delay: float = 0.001,
                 on_run: Callable[[str, int, float], object] | None = None) -> None:
        self.largest_body, self.largest_signal = int(largest_body), int(largest_signal)
        self.largest_code, self._on_run = int(largest_code), on_run
        self._batcher = Batcher(max_batch, delay, parallel=max(1, cores() // (threads or cores())))
        self._encoders = by_name(files, partial(SparseEncoder, threads=threads), lambda encoder: encoder.info)

    @property
    def names(self) -> list[str]:
        """Names of the models, sorted."""
        return sorted(self._encoders)

    def metadata(self, name: str) -> dict[str, Any]:
        """Inputs and outputs of a model, as the protocol lists them; what else the file says is under "parameters"."""
        info = self._encoder(name).info

        def tensor(name: str) -> dict[str, Any]:
            return {"name": name, "datatype": "INT64" if is_index(name) else "FP32", "shape": sizes(name, info)}

        described = ("unit", "sampling_frequency", "pixel_range", "sigma", "penalty_weight", "precision",
                     "weights_sha256", "preprocessing", "whitening_inside", "likelihood", "size_name", "size",
                     "baseline", "measurement")
        return {"name": name, "versions": ["1"], "platform": "onnxruntime_onnx",
                "inputs": [tensor(n) for n in info["inputs"]], "outputs": [tensor(n) for n in tensors(info["outputs"])],
                "parameters": {key: info[key] for key in described if key in info}}

    def infer(self, name: str, body: bytes, stop: Stop | None = None, json_length: str | int | None = None) -> Answer:
        """Answer to a request.

        Args:
            name: of the model.
            body: of the request, decompressed.
            stop: ends the run, from another thread.
            json_length: value of the header ``Inference-Header-Content-Length``, where bytes follow the JSON.

        Raises:
            RequestError: the request is invalid; nothing was computed.
            StoppedError: ``stop`` came before the run.
        """
        encoder = self._encoder(name)
        if len(body) > self.largest_body:
            raise RequestError(413, f"The request has {len(body):,} bytes; at most {self.largest_body:,} are read. "
                               "Send shorter signals.")
        try:
            with self._batcher.coming():
                text, rest = split_body(body, json_length)
                request, binary = _parse(text), BinaryTensors(rest)
                given = self._inputs(request.get("inputs"), encoder.info, binary)
                binary.check_end()
                wanted = _output_names(request.get("outputs"), tensors(encoder.info["outputs"]))
                as_bytes = binary_outputs(request, wanted)
                feed = self._prepare(encoder, given, wanted)
            arrays = self._run(name, wanted, feed, stop or Stop())
        except (SignalError, ValueError) as error:
            raise RequestError(400, str(error)) from error
        answer: dict[str, Any] = {"model_name": name, "model_version": "1"}
        if "id" in request:
            answer["id"] = request["id"]
        if (warning := encoder.level.message(given[INPUT])) is not None:
            answer["parameters"] = {"warning": warning}
        return _answer(answer, arrays, as_bytes)

    def _prepare(self, encoder: SparseEncoder, given: dict[str, np.ndarray], wanted: list[str]) -> Feed:
        """The inputs of a run that gives the outputs ``wanted``, checked."""
        if INPUT not in given:
            raise RequestError(400, f"The input {INPUT!r} is missing. Given: {sorted(given)}.")
        sigma, size = given.get(SIGMA), _code_size(given[INPUT].shape, encoder.info)
        if size > self.largest_code:
            raise RequestError(413, f"The code of this signal has {size:,} numbers; at most {self.largest_code:,} are "
                               "computed. Send shorter signals.")
        more = {name: given[name] for name in (TRIALS, EXPOSURE, BASELINE) if name in given}
        more |= {OPERATOR: np.ravel(given[OPERATOR])} if OPERATOR in given else {}
        return encoder.prepare(wanted, given[INPUT], Given(given.get(MASK), None if sigma is None else np.ravel(sigma),
                                                           **more))

    def _run(self, name: str, wanted: list[str], feed: Feed, stop: Stop) -> dict[str, np.ndarray]:
        """The outputs ``wanted``, together with others that wait for the same where results do not depend on that."""
        encoder = self._encoders[name]

        def compute(feed: Feed, stop: Stop) -> dict[str, np.ndarray]:
            options, start = run_options(), time.perf_counter()
            stop.watch(partial(setattr, options, "terminate", True))
            arrays = encoder.fetch(wanted, feed, options)
            if self._on_run is not None:
                self._on_run(name, len(feed[INPUT]), time.perf_counter() - start)
            return dict(zip(wanted, arrays, strict=True))

        if _may_be_joined(encoder.info, wanted, feed):
            arrays = self._batcher.run((name, *wanted, *((n, a.shape[1:]) for n, a in feed.items())), feed, compute,
                                       stop)
        else:
            arrays = compute(feed, stop)
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise RequestError(400, "The signal is so large that results overflow float32. Divide it by its unit.")
        return arrays

    def _encoder(self, name: str) -> SparseEncoder:
        if name not in self._encoders:
            raise RequestError(404, f"There is no model {name!r}. There are: {', '.join(self.names)}.")
        return self._encoders[name]

    def _inputs(self, inputs: Any, info: dict[str, Any], binary: BinaryTensors) -> dict[str, np.ndarray]:
        if not isinstance(inputs, list) or not inputs or not all(isinstance(v, dict) for v in inputs):
            raise RequestError(400, "Expected \"inputs\": a list of {name, shape, datatype, data}.")
        given = {}
        for tensor in inputs:
            name = tensor.get("name")
            if name not in info["inputs"] or name in given:
                raise RequestError(400, f"Inputs of this model are {info['inputs']}, each once. Received: "
                                   f"{name!r:.200}")
            given[name] = self._array(name, tensor, binary)
        return given

    def _array(self, name: str, tensor: dict[str, Any], binary: BinaryTensors) -> np.ndarray:
        shape, kind = tensor.get("shape"), tensor.get("datatype")
        if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**40 for n in shape) or len(shape) > 8:
            raise RequestError(400, f"{name}: expected \"shape\": a list of sizes. Received: {shape!r:.200}")
        if not isinstance(kind, str) or kind not in TYPES:
            raise RequestError(400, f"{name}: expected \"datatype\": one of {', '.join(TYPES)}. Received: "
                               f"{kind!r:.200}")
        count = math.prod(shape)
        if count > self.largest_signal:
            raise RequestError(413, f"{name} has {count:,} numbers; at most {self.largest_signal:,} are accepted. "
                               "Send shorter signals.")
        if (size := parameter(tensor, "binary_data_size", int, None)) is not None:
            if "data" in tensor:
                raise RequestError(400, f"{name}: give \"data\" or the parameter \"binary_data_size\", not both.")
            return binary.take(name, kind, shape, size)
        if "data" not in tensor:
            raise RequestError(400, f"{name}: expected \"data\", a list of numbers; or the parameter "
                               f"\"binary_data_size\", bytes behind the JSON, and the header {LENGTH_HEADER}.")
        try:
            # Flat, or nested as the shape says; both are allowed. Texts are no numbers, though NumPy would read them.
            array = np.asarray(tensor.get("data"))
            if array.dtype.kind == "O" and kind.startswith("FP"):  # null, or whole numbers beyond 64 bits
                array = array.astype(np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise RequestError(400, f"{name}: \"data\" must be a list of numbers ({error}).") from error
        if array.dtype.kind not in "fiub" or array.size != count or array.ndim not in (1, len(shape)):
            raise RequestError(400, f"{name}: \"data\" must hold {count} numbers for the shape {shape}. Received: "
                               f"{array.size} of type {array.dtype}.")
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is infinite, and refused with its place
            typed = array.reshape(shape).astype(TYPES[kind])
            if not kind.startswith("FP") and (typed != array.reshape(shape)).any():
                raise RequestError(400, f"{name}: \"data\" holds numbers that are no {kind}.")
        return typed


def _answer(answer: dict[str, Any], arrays: dict[str, np.ndarray], as_bytes: set[str]) -> Answer:
    """JSON of the arrays, those of ``as_bytes`` behind it."""
    outputs, behind = [], []
    for name, array in arrays.items():
        output: dict[str, Any] = {"name": name, "datatype": "INT64" if array.dtype == np.int64 else "FP32",
                                  "shape": list(array.shape)}
        if name in as_bytes:
            behind.append(array.astype(TYPES[output["datatype"]], copy=False).tobytes())
            output["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            output["data"] = array.ravel().tolist()
        outputs.append(output)
    text = json.dumps({**answer, "outputs": outputs}, allow_nan=False, separators=(",", ":")).encode()
    return Answer(b"".join([text, *behind]), len(text) if as_bytes else None)


def _may_be_joined(info: dict[str, Any], wanted: Sequence[str], feed: Feed) -> bool:
    """Whether other signals in the same run change no result, and a joint run can be faster.

    A tolerance stops all signals of a run at once; spikes are one list over the batch.
    """
    signal = feed[INPUT]
    each = info["tolerance"] is None and info.get("steps") != "searched" and not set(wanted) & set(SPIKE_TENSORS)
    shifts = math.prod(info["strides"]) if "denoised" in wanted else 1
    return each and shifts * _code_size((1, *signal.shape[1:]), info) <= LARGEST_JOINED


def _code_size(shape: Sequence[int], info: dict[str, Any]) -> int:
    """Numbers of the code of a signal, about; the encoder refuses a wrong layout later."""
    return math.prod(shape[:-1]) * info["filters"] // math.prod(info["strides"])


def _parse(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"The request is not JSON: {error}.") from error
    if not isinstance(request, dict):
        raise RequestError(400, f"The request must be a JSON object. Received: {type(request).__name__}.")
    if "id" in request and not isinstance(request["id"], str):
        raise RequestError(400, "\"id\" must be a text.")
    return request


def _output_names(outputs: Any, known: list[str]) -> list[str]:
    """Names of the outputs that a request lists; all where it lists none."""
    if outputs is None or outputs == []:
        return known
    entries = outputs if isinstance(outputs, list) else [None]
    names: list[Any] = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    if len(set(map(str, names))) != len(names) or any(n not in known for n in names):
        raise RequestError(400, f"Outputs of this model are {known}, each once. Received: {outputs!r:.200}")
    return names
