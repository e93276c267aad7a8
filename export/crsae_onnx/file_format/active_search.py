"""What a file says for ``SparseEncoder(path, active=True)``: the plain filters, or why there is no such search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.active_windows import SHRINKAGES
from crsae_onnx.core.json_arrays import from_plain, to_plain
from crsae_onnx.core.spec import EncoderSpec

#: The key of the facts.
KEY = "active_search"
_OLDER = "the file was written before there was such a search. Convert the model again"


class ActiveSearch(NamedTuple):
    """What a search needs beside the facts that every file holds."""

    kernel: NDArray[np.float32]  #: (kernel_size, channels, filters), of norm 1
    decoder_kernel: NDArray[np.float32]
    tolerance: float | None  #: of a model with ``active=True``: see ``ActiveSetParameters``


def search_facts(spec: EncoderSpec) -> dict[str, Any]:
    """The filters as JSON, or a text: why the active parts of such a model's signals are not searched for.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spec import EncoderSpec
        >>> from crsae_onnx.file_format.active_search import search_facts
        >>> kernel = np.ones((4, 4, 1, 2)) / 4
        >>> search_facts(EncoderSpec(kernel, kernel, (2, 2), 0.1, [1.0], 1.0, np.zeros(9)))
        {'active_search': 'images are active everywhere'}
    """
    reason = _refusal(spec)
    if reason is not None:
        return {KEY: reason}
    facts = {"kernel": to_plain(spec.kernel), "tolerance": spec.tolerance if spec.active else None}
    if not np.array_equal(spec.kernel, spec.decoder_kernel):
        facts["decoder_kernel"] = to_plain(spec.decoder_kernel)
    return {KEY: facts}


def _refusal(spec: EncoderSpec) -> str | None:
    if spec.rank != 1:
        return "images are active everywhere"
    if spec.strides != (1,):
        return f"it is for codes of every sample, and the model has strides {spec.strides}"
    if spec.size_name is not None:
        return f"its windows share one Gram matrix, which the likelihood {spec.likelihood!r} has not"
    if spec.ridge is not None:
        return "its penalty is that of sparse codes alone, and some filters of the model are dense"
    if spec.measurement is not None:
        return f"its windows are of the signal itself, and the model sees it through {spec.measurement.facts()}"
    if not (spec.lambda_reg > 0).all():
        return "the model has dense filters, which are active everywhere"
    if spec.code_prior not in SHRINKAGES:
        return f"it is written for the code priors {tuple(SHRINKAGES)}, and the model's is {spec.code_prior!r}"
    norms = np.sqrt(np.sum(np.square(spec.kernel, dtype=np.float64), axis=(0, 1)))
    if spec.layers or spec.adjoint_kernel is not None or not np.allclose(norms, 1, atol=1e-3):
        return "it needs filters of norm 1 that stand in D^T too"
    return None


def active_search(facts: Mapping[str, Any], name: str) -> ActiveSearch:
    """What ``search_facts`` wrote.

    Args:
        facts: of a file.
        name: of the file, for errors.

    Raises:
        ValueError: the file's model has no such search.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spec import EncoderSpec
        >>> from crsae_onnx.file_format.active_search import active_search, search_facts
        >>> kernel = np.ones((4, 1, 2)) / 2
        >>> facts = search_facts(EncoderSpec(kernel, kernel, (1,), 0.1, [1.0], 1.0, np.zeros(9)))
        >>> active_search(facts, "encoder.onnx").kernel.shape
        (4, 1, 2)
    """
    found = facts.get(KEY, _OLDER)
    if isinstance(found, str):
        raise ValueError(f"active=True searches for events in signals; {name} has none: {found}. Use active=False, "
                         "which every file has.")
    kernel = from_plain(found["kernel"])
    return ActiveSearch(kernel, from_plain(found.get("decoder_kernel", found["kernel"])), found["tolerance"])
