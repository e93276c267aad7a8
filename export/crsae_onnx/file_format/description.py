"""An exported file as text, for ``crsae-onnx info``. Reads the file alone; onnxruntime is not needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from crsae_onnx.file_format import container
from crsae_onnx.file_format.facts import Facts

_UNIT, _WHITENED = "in the signal's unit", "in the whitened signal's unit"


def describe(path: str | os.PathLike[str]) -> tuple[Facts, str]:
    """(facts, text) of an exported file whose checksum is right.

    Args:
        path: ``.onnx`` file written by ``crsae_onnx.convert.convert``.

    Returns:
        The file's facts as a dict, and the same as a table of lines.

    Raises:
        ModelFileError: the file is missing, damaged, foreign or of a newer format.

    Example:
        >>> import keras_crsae as kc
        >>> from crsae_onnx.convert import convert
        >>> from crsae_onnx.file_format.description import describe
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
        >>> model.set_dictionary(kc.data.spike_templates(45, 3))
        >>> facts, text = describe(convert(model, "encoder.onnx"))
        >>> text.splitlines()[3]
        'dictionary      3 filters of 45, stride 1'
    """
    content, facts = container.read(path)
    rows = {**_file(path, len(content), facts), **_model(facts), **_signals(facts), **_origin(facts)}
    return facts, "\n".join(f"{name:15} {value}" for name, value in rows.items())


def _file(path: str | os.PathLike[str], size: int, facts: Facts) -> dict[str, object]:
    name = f"{facts['name']}, " if "name" in facts else ""
    return {"file": f"{name}{Path(path).name}, {size / 1024:.0f} KiB, checksum right",
            "format version": facts["format_version"], "weights": f"sha256 {facts['weights_sha256']}"}


def _model(facts: Facts) -> dict[str, object]:
    stop = f", stops at a relative change of {facts['tolerance']:g}" if facts["tolerance"] else ""
    stop += "" if facts.get("loop", True) else ", written out (no Loop)"
    stop += ", each with parameters of its own" if facts.get("layers") else ""
    unit = _WHITENED if facts.get("whitening_inside") else _UNIT
    active = ", these iterations; the model, active=True, goes on to the optimum, as run --active does" \
        if facts["active"] else ""
    return {"dictionary": f"{facts['filters']} filters of {_sizes(facts['kernel_size'])}, stride "
                          f"{_sizes(facts['strides'])}",
            "encoder": f"{facts['iterations']} iterations{' at most' if facts['tolerance'] else ''}{stop}",
            "code prior": facts["code_prior"], "likelihood": facts["likelihood"],
            "computes": f"every position{active}", "precision": facts["precision"],
            **(_noise(facts, unit) if facts.get("size_name") is None else _counts(facts))}


def _noise(facts: Facts, unit: str) -> dict[str, object]:
    return {"sigma": f"{facts['sigma']:.4g} ({unit})", "step size": f"{facts['step_size']:.4g}",
            "lambda": f"{_numbers(facts['lambda_reg'])} (rate of the code's prior, 1 / unit)",
            "penalty weight": f"{_numbers(facts['penalty_weight'])} (lambda sigma^2, {unit})"}


def _counts(facts: Facts) -> dict[str, object]:
    size = facts["size"]
    shown = f"{size:g}" if isinstance(size, int | float) else "one a sample, all with --json"
    steps = "found for each signal" if facts["steps"] == "searched" else f"{facts['step_size']:.4g}"
    return {facts["size_name"]: f"{shown} (counts are divided by it; 1 / {facts['size_name']} is the dispersion)",
            "baseline": f"{_numbers(facts['baseline'])} (eta of the zero code, one a channel)", "step size": steps,
            "lambda": f"{_numbers(facts['lambda_reg'])} (rate of the code's prior)",
            "penalty weight": f"{_numbers(facts['penalty_weight'])} (lambda / {facts['size_name']})"}


def _signals(facts: Facts) -> dict[str, object]:
    kind = "images" if facts["rank"] == 2 else "one-dimensional"
    rows: dict[str, object] = {"signals": f"rank {facts['rank']} ({kind}), {facts['channels']} channels, unit: "
                                          f"{facts['unit']}"}
    if "sampling_frequency" in facts:
        rows["sampling rate"] = f"{facts['sampling_frequency']:g} Hz"
    if "pixel_range" in facts:
        rows["pixel range"] = " to ".join(f"{v:g}" for v in facts["pixel_range"])
    rows["inputs"], rows["outputs"] = ", ".join(facts["inputs"]), ", ".join(facts["outputs"])
    rows["preprocessing"] = f"\n{'':15} ".join(facts["preprocessing"] or ["none beyond the unit"])
    if "spikes" in facts:
        rows["spikes"] = "carries a reader: run --spikes"
        rows["whitening"] = "inside the graph: give the recording as it is" if facts.get("whitening_inside") else \
            "before the graph: a recording that is not whitened gives meaningless codes (run --spikes whitens it)"
    return rows


def _origin(facts: Facts) -> dict[str, object]:
    rows: dict[str, object] = {key: facts[key] for key in ("data", "training") if key in facts}
    parity = facts.get("parity")
    rows["parity"] = "not recorded; run validate --record" if parity is None else (
        f"{parity['difference']:.1e} of the largest value from Keras, tolerated {parity['tolerance']:.0e} "
        f"({parity['comparisons']} comparisons, onnxruntime {parity['onnxruntime']} on {parity['provider']})")
    rows["made with"] = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return rows


def _sizes(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _numbers(values: Sequence[float], most: int = 8) -> str:
    """The values, or their range where there are many."""
    if len(values) <= most:
        return ", ".join(f"{v:.4g}" for v in values)
    return f"{min(values):.4g} to {max(values):.4g}, {len(values)} values, all with --json"
