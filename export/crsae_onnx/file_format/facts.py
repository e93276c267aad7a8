"""What an exported file says about itself: a dict of plain JSON, its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from crsae_onnx.core.spec import ABOUT, FORMAT_VERSION, OPSET, EncoderSpec
from crsae_onnx.core.windowing import receptive_field
from crsae_onnx.file_format.active_search import search_facts

Facts = dict[str, Any]


def encoder_facts(spec: EncoderSpec, *, block: Sequence[int], outputs: Sequence[str], inputs: Sequence[str],
                  tolerance: float | None, precision: str, versions: Mapping[str, str], loop: bool = True) -> Facts:
    """Facts of an exported encoder.

    Args:
        spec: the model.
        block: code positions an axis that the graph folds into channels.
        outputs, inputs: of the file.
        tolerance: relative change at which the iterations end; None: all are done.
        precision: of the convolutions.
        versions: of the software that wrote the file, beside the model's own.
        loop: whether the iterations are a Loop of the graph.

    Returns:
        Numbers in the signal's unit: ``sigma``, ``penalty_weight`` (lambda sigma^2, the weight of the code's l1 norm);
        in its inverse: ``lambda_reg``. ``threshold`` is penalty_weight * step_size, of one iteration.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spec import EncoderSpec
        >>> from crsae_onnx.file_format.facts import encoder_facts
        >>> filters = np.ones((5, 1, 2))
        >>> spec = EncoderSpec(filters, filters, (1,), step_size=0.1, lambda_reg=[2.0], sigma=0.5, momentum=[0.0])
        >>> encoder_facts(spec, block=(1,), outputs=("code",), inputs=("signal",), tolerance=None,
        ...               precision="float32", versions={})["penalty_weight"]
        [0.5, 0.5]
    """
    return {
        "format_version": FORMAT_VERSION, "opset": OPSET, "rank": spec.rank, "channels": spec.channels,
        "filters": spec.filters, "kernel_size": list(spec.kernel_size), "strides": list(spec.strides),
        "iterations": spec.iterations, "tolerance": tolerance, "code_prior": spec.code_prior,
        "likelihood": spec.likelihood, "active": spec.active, "block": list(block), "inputs": list(inputs),
        "outputs": list(outputs), "sigma": spec.sigma, "step_size": spec.step_size, "unit": "that of the training data",
        "precision": precision, "weights_sha256": spec.weights_sha256(), "preprocessing": spec.preprocessing(),
        "lambda_reg": spec.lambda_reg.tolist(), "penalty_weight": spec.penalty_weight.tolist(),
        "threshold": spec.threshold.tolist(), "config": dict(spec.config),
        "versions": {**spec.versions, **versions},
        **({} if spec.measurement is None else {"measurement": spec.measurement.facts()}),
        **_count_facts(spec), **search_facts(spec), **_filter_facts(spec), **({} if loop else {"loop": False}),
        **({"layers": len(spec.layers)} if spec.layers else {}),
    }


def _filter_facts(spec: EncoderSpec) -> Facts:
    """What differs from filter to filter beside lambda: signs of codes, and the penalty of dense ones."""
    return {name: value.tolist() for name, value in (("signs", spec.signs), ("ridge", spec.ridge))
            if value is not None}


def _count_facts(spec: EncoderSpec) -> Facts:
    """What divides counts, and their baseline."""
    if spec.size_name is None:
        return {}
    baseline = np.zeros(spec.channels) if spec.baseline is None else spec.baseline
    return {"unit": "counts", "size_name": spec.size_name, "size": np.asarray(spec.size).tolist(),
            "baseline": baseline.tolist(), "steps": "one size" if spec.search is None else "searched"}


def check_about(about: Mapping[str, Any] | None) -> Facts:
    """The caller's facts as plain JSON, or a ValueError.

    Args:
        about: None, or a dict with keys of ``core.spec.ABOUT``.

    Example:
        >>> from crsae_onnx.file_format.facts import check_about
        >>> check_about({"unit": "uV", "pixel_range": (0, 1)})
        {'unit': 'uV', 'pixel_range': [0, 1]}
    """
    about = {} if about is None else dict(about)
    unknown = sorted(set(about) - set(ABOUT))
    if unknown:
        raise ValueError(f"`about` accepts the keys {ABOUT}. Received: {unknown}")
    try:
        facts: Facts = json.loads(json.dumps(about, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"`about` must hold texts and numbers that are finite: {error}. Received: {about}") from error
    for key, value in facts.items():
        if key == "sampling_frequency":
            valid, expected = _is_number(value), "a number of Hz"
        elif key == "pixel_range":
            valid, expected = isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)), "two numbers"
        else:
            valid, expected = isinstance(value, str), "a text"
        if not valid:
            raise ValueError(f"`about[{key!r}]` must be {expected}. Received: {value!r}")
    return facts


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def file_receptive_field(facts: Mapping[str, Any]) -> int:
    """Code positions on each side that a code of a file of signals depends on, whitening inside the graph included.

    Example:
        >>> from crsae_onnx.file_format.facts import file_receptive_field
        >>> file_receptive_field({"iterations": 10, "kernel_size": [5], "strides": [2], "whitening_context": [7, 3]})
        24
    """
    (size,), (stride,) = facts["kernel_size"], facts["strides"]
    return receptive_field(facts["iterations"], size, stride, max(facts.get("whitening_context", (0,))))
