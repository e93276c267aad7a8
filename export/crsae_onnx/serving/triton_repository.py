"""Model repositories in the layout of NVIDIA Triton, which KServe's Triton runtime reads too (standard library)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.spec import BASELINE, SIGMA, is_index, sizes, tensors
from crsae_onnx.core.validation import as_int
from crsae_onnx.file_format import container

_Content = TypeVar("_Content")
_OURS = "Written by `crsae-onnx serve-repo`"
_README = """# Model repository

Written by `crsae-onnx serve-repo`, for NVIDIA Triton Inference Server. Models: {names}.

Triton in a container, on ports 8000 (HTTP), 8001 (gRPC) and 8002 (metrics); leave `--gpus` out without a GPU, and take
a release whose CUDA fits the driver in place of YY.MM. NVIDIA_TF32_OVERRIDE=0 keeps float32 convolutions from being
rounded to 10 bits on GPUs since Ampere:

```text
docker run --rm --gpus=all -e NVIDIA_TF32_OVERRIDE=0 -p 8000:8000 -p 8001:8001 -p 8002:8002 -v "$PWD":/models \\
    nvcr.io/nvidia/tritonserver:YY.MM-py3 tritonserver --model-repository=/models
curl localhost:8000/v2/models/{first}/config
```

KServe reads the same folder from a volume or bucket:

```text
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {service}
spec:
  predictor:
    model:
      modelFormat:
        name: triton
      protocolVersion: v2
      storageUri: pvc://VOLUME/FOLDER
```

Requests follow the Open Inference Protocol. Inputs are float32; a signal shorter than a filter, or of another number of
channels, is refused by the server. Numbers that are not finite are not: check them before.
"""


def write_repository(folder: str | os.PathLike[str], files: Sequence[str | os.PathLike[str]], max_batch: int = 8,
                     delay: int = 1000, device: str = "auto", instances: int = 1,
                     threads: int | None = None) -> dict[str, int]:
    """Write exported files as a model repository.

    Each file becomes ``folder/NAME/VERSION/model.onnx`` with ``folder/NAME/config.pbtxt``: batching by the server, one
    warm-up request, the versions of earlier calls kept beside the new one. NAME is the "name" of the file's facts, or
    else its file name. A file that is there already, byte by byte, adds no version.

    Args:
        folder: of the repository; created if missing.
        files: exported ``.onnx`` files.
        max_batch: signals that the server may put into one run.
        delay: microseconds that a request may wait for others; 0: no batching by the server. Files that stop early
            (``tolerance``) are never batched: their loop stops for all signals of a batch at once. Files with the
            output "spikes", a list over the whole batch, are not either.
        device: "auto", "cpu" or "gpu".
        instances: sessions of each model.
        threads: threads of one run on the CPU; None: onnxruntime's choice.

    Returns:
        {name: version} of the files.

    Raises:
        ModelFileError: a file is missing, damaged or foreign.
        ValueError: an invalid option; two files of one name.

    Example:
        >>> import keras_crsae as kc
        >>> from crsae_onnx.convert import convert
        >>> from crsae_onnx.serving.triton_repository import write_repository
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
        >>> model.set_dictionary(kc.data.spike_templates(45, 3))
        >>> write_repository("models", [convert(model, "encoder.onnx")])
        {'encoder': 1}
    """
    max_batch, delay = as_int(max_batch, "max_batch"), as_int(delay, "delay", minimum=0)
    instances, threads = as_int(instances, "instances"), None if threads is None else as_int(threads, "threads")
    if device not in _KINDS:
        raise ValueError(f"`device` must be one of {tuple(_KINDS)}. Received: {device!r}")
    read = by_name(files, container.read, lambda content: content[1])
    folder, versions = Path(folder), {}
    for name, (content, facts) in read.items():
        versions[name] = _write_version(folder / name, content)
        text = config(name, facts, max_batch=max_batch, delay=delay, device=device, instances=instances,
                      threads=threads)
        container.write(folder / name / "config.pbtxt", text.encode())
    _write_readme(folder, next(iter(read)))
    return versions


def _write_readme(folder: Path, first: str) -> None:
    """How to serve the repository; ``first``: a model for the examples."""
    names = sorted(path.parent.name for path in folder.glob("*/config.pbtxt"))
    readme = folder / "README.md"
    if not readme.exists() or _OURS in readme.read_text(errors="replace"):  # a page that somebody else wrote stays
        service = re.sub(r"[^a-z0-9]+", "-", first.lower()).strip("-")
        if not service[:1].isalpha():  # Kubernetes wants a letter first
            service = f"model-{service}".rstrip("-")
        readme.write_text(_README.format(names=", ".join(names), first=first, service=service))


def _write_version(folder: Path, content: bytes) -> int:
    """Number of the version that holds ``content``; a new one unless the latest does."""
    folder.mkdir(parents=True, exist_ok=True)
    known = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    if known and (folder / str(known[-1]) / "model.onnx").is_file() \
            and (folder / str(known[-1]) / "model.onnx").read_bytes() == content:
        return known[-1]
    version = known[-1] + 1 if known else 1
    # A polling server must not see half a version: it appears with one rename.
    with atomic_write(folder / str(version)) as temporary:
        temporary.mkdir()
        (temporary / "model.onnx").write_bytes(content)
    return version


_KINDS = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU"}


def config(name: str, facts: dict[str, Any], max_batch: int = 8, delay: int = 1000, device: str = "auto",
           instances: int = 1, threads: int | None = None) -> str:
    """Text of ``config.pbtxt`` (Triton's ModelConfig).

    Example:
        >>> import keras_crsae as kc
        >>> from crsae_onnx.convert import convert
        >>> from crsae_onnx.file_format import container
        >>> from crsae_onnx.serving.triton_repository import config
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
        >>> model.set_dictionary(kc.data.spike_templates(45, 3))
        >>> config("encoder", container.read(convert(model, "encoder.onnx"))[1]).splitlines()[0]
        'name: "encoder"'
    """
    batched = "spikes" not in facts["outputs"]
    parts = [f'name: "{name}"', 'platform: "onnxruntime_onnx"', f"max_batch_size: {max_batch if batched else 0}"]
    parts += [_tensor("input", tensor, facts, batched) for tensor in facts["inputs"]]
    parts += [_tensor("output", tensor, facts, batched) for tensor in tensors(facts["outputs"])]
    parts.append(f"instance_group [ {{ count: {instances} kind: {_KINDS[device]} }} ]")
    if batched and delay and not facts["tolerance"]:
        parts.append(f"dynamic_batching {{ max_queue_delay_microseconds: {delay} }}")
    if threads is not None:
        parts.append(f'parameters {{ key: "intra_op_thread_count" value: {{ string_value: "{threads}" }} }}')
    # Later versions stay beside earlier ones on the disk; the server answers with the latest.
    parts.append("version_policy: { latest: { num_versions: 1 } }")
    parts.append(_warm_up(facts, batched))
    return "\n".join(parts) + "\n"


def _dims(tensor: str, facts: dict[str, Any], batched: bool) -> list[int]:
    return sizes(tensor, facts)[1 if batched else 0:]


def _tensor(side: str, tensor: str, facts: dict[str, Any], batched: bool) -> str:
    kind = "TYPE_INT64" if is_index(tensor) else "TYPE_FP32"
    dims = _dims(tensor, facts, batched)
    shape = f"dims: [ {', '.join(map(str, dims))} ]" if dims else "dims: [ 1 ] reshape: { shape: [ ] }"
    return f'{side} [ {{ name: "{tensor}" data_type: {kind} {shape} }} ]'


def _warm_up(facts: dict[str, Any], batched: bool) -> str:
    """One request of the smallest size: the first caller does not wait for what onnxruntime does once."""
    inputs = []
    for tensor in facts["inputs"]:
        least = [8 * k for k in facts["kernel_size"]]
        dims = [1] if tensor == SIGMA else [*(least if tensor != BASELINE else ()), facts["channels"]]
        dims = dims if batched else [1, *(dims if tensor != SIGMA else [])]
        inputs.append(f'inputs {{ key: "{tensor}" value: {{ data_type: TYPE_FP32 dims: [ '
                      f"{', '.join(map(str, dims))} ] zero_data: true }} }}")
    return "\n".join(['model_warmup [ {\n  name: "first request"\n  batch_size: 1',
                      *(f"  {line}" for line in inputs), "} ]"])


def by_name(files: Iterable[str | os.PathLike[str]], read: Callable[[Any], _Content],
            facts_of: Callable[[_Content], dict[str, Any]]) -> dict[str, _Content]:
    """{name of the model: ``read(file)``}; each file is read once.

    The name is the "name" of the file's facts, or else its file name.

    Raises:
        ValueError: no file; two files of one name.
    """
    models: dict[str, _Content] = {}
    for file in files:
        content = read(file)
        name = model_name(facts_of(content).get("name") or Path(file).stem)
        if name in models:
            raise ValueError(f"Two files would be the model {name!r}. Give one of them another name when converting: "
                             "about={'name': ...}.")
        models[name] = content
    if not models:
        raise ValueError("No file was given. Expected at least one exported .onnx file.")
    return models


def model_name(name: object) -> str:
    """A name that is a folder's and a part of an address."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", str(name)).strip("-.") or "model"
