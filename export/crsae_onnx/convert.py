"""CRsAE -> ``.onnx``. The iterations become one ONNX Loop, or are written out where they are few.

Batch and every spatial axis stay dynamic.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crsae_onnx.core.optional import import_optional
from crsae_onnx.core.spec import (
    BASELINE,
    CODE_PRIORS,
    COUNT_OUTPUTS,
    INPUT,
    INPUTS,
    LOGITS,
    MASK,
    OPERATOR,
    OUTPUTS,
    PIPELINES,
    SIGMA,
    TOLERANCES,
    EncoderSpec,
    Exportable,
    select_names,
)
from crsae_onnx.core.spec_parts import DenoiserSpec
from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.core.spikes.peak_rule import PeakRule, peak_rule
from crsae_onnx.file_format import container
from crsae_onnx.file_format.facts import Facts, check_about, encoder_facts
from crsae_onnx.graph import pipelines
from crsae_onnx.graph.encoder import LIKELIHOODS
from crsae_onnx.graph.folding import fold_encoder
from crsae_onnx.graph.measured import build_measured

Spikes = SpikeReader | ArrayLike
#: Most iterations that ``convert(loop="auto")`` writes out.
MOST_WRITTEN_OUT = 20
#: Most of them in the form of ``graph.aligned``: 400 load in a third of a second, a Loop in a hundredth.
MOST_ALIGNED = 400


def convert(model: Exportable, path: str | os.PathLike[str], outputs: str | Sequence[str] | None = None,
            inputs: str | Sequence[str] = (INPUT,), tolerance: float | None = None, overwrite: bool = False,
            spikes: Spikes | None = None, about: Mapping[str, Any] | None = None, precision: str = "float32",
            loop: bool | str = "auto") -> Path:
    """Write a built ``CRsAE`` as an ONNX file.

    The file encodes as ``model.encode`` does, in float32 and at every position. A model with ``active=True`` goes on to
    the optimum in ``encode``: the file's graph takes its ``iterations`` towards that, and ``crsae-onnx info`` says so;
    ``SparseEncoder(path, active=True)`` goes on to it as well.

    Args:
        model: ``keras_crsae.CRsAE``, built, or any object with ``export_spec()``.
        path: file to write.
        outputs: some of "code" and "reconstruction" (both, where None is given); "spikes" (the code's local maxima, see
            ``crsae_onnx.core.spikes.peak_rule``: three tensors) needs ``spikes``; "denoised" (images in [0, 1],
            averaged over all shifts as by ``denoise``) needs the input "sigma". Of counts "code", "eta" (D z +
            baseline) and "mean" (the inverse link of eta: expected counts / size); None: "code" and "mean".
            Of a classifier "code" and "reconstruction", and "logits", (batch, classes), of signals of its size; None:
            "code" and "logits". Its certificates are computed (``certification.certify``), not exported.
        inputs: "signal", and optionally "mask" (0/1 of the signal's shape: the observed samples) and "sigma"
            ((batch,): the noise of each signal, in its unit). The signal of a model of counts is the counts; its file
            may take "trials" (binomial) or "exposure" (Poisson) in place of the model's: (batch, *space, channels), of
            the signal's sizes or 1, and "baseline", (batch, channels). The signal of a model with a measurement is its
            data; the input "operator", (batch,), which picks one of a stack of matrices, is there by itself.
        tolerance: end the iterations once the code's relative change in one of them is below it for every signal of the
            batch (compared every 10 iterations); None: the model's own.
        overwrite: replace an existing file.
        spikes: None, or the ``SpikeReader`` that reads spikes off this model's codes: the file then carries it, and
            ``crsae-onnx run --spikes`` needs nothing else but the output "code". With the output "spikes" the reader's
            whitening is inside the graph, whose signal then is the recording itself, and whose code is that of the
            whitened recording; instead of a reader the smallest code of a spike may be given, a number or one a filter.
            Without that output the code is that of a signal which was whitened before.
        about: None, or further facts for a user of the file, with keys among "name", "unit" (of signals),
            "sampling_frequency" (Hz), "pixel_range" (lowest, highest), "data" and "training" (texts).
        precision: "float32", or "float16" for GPUs: convolutions in half precision, all sums over iterations, inputs
            and outputs in float32. onnxruntime's CPU computes such a file through casts, slower.
        loop: True: the iterations are an ONNX Loop. False: they are written out one by one, and the file has no control
            flow, which CUDA graphs, WebGPU and many converters need; all shifts of "denoised" are then one batch.
            "auto": written out if they are at most 20 (``MOST_WRITTEN_OUT``) and end nowhere early, and "denoised" is
            no output; or if each has parameters of its own. Up to 400 (``MOST_ALIGNED``) are written out where that
            makes them faster on the CPU: of signals with non-negative codes and no input but "signal".

    Returns:
        The path.

    Raises:
        ValueError: a model that cannot be exported (unbuilt, not finite, an object without a form in a graph), an
            option out of range, a reader of another model.
        FileExistsError: the file exists and ``overwrite`` is False.
        FileNotFoundError: its folder does not exist.
        ModuleNotFoundError: the extra ``export`` is not installed.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx import SparseEncoder
        >>> import keras_crsae as kc
        >>> from crsae_onnx.convert import convert
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
        >>> model.set_dictionary(kc.data.spike_templates(45, 3))
        >>> path = convert(model, "encoder.onnx")
        >>> SparseEncoder(path).encode(np.zeros((1, 1000, 1))).shape
        (1, 956, 3)
    """
    path = Path(path)
    spec = _exportable_spec(model)
    outputs, inputs = _names(spec, outputs, inputs)
    _check_options(spec, inputs, tolerance, precision)
    about = _about(about, spikes)
    ends = spec.tolerance if tolerance is None else tolerance
    looped = _has_loop(loop, spec, ends, outputs)
    # A mask may tell channels apart, and "denoised" prepares whole images.
    whole = MASK in inputs or "denoised" in outputs
    if spec.measurement is not None:
        _check_target(path, overwrite)
        return _convert_measured(spec, path, outputs, inputs, ends, about, looped)
    aligned = loop == "auto" and spec.iterations <= MOST_ALIGNED and ends is None and tuple(inputs) == (INPUT,) \
        and precision == "float32" and not whole
    encoder = fold_encoder(spec, tolerance, half=precision == "float16", loop=looped, whole=whole, aligned=aligned)
    rule = _spike_rule(spikes, spec, outputs, inputs)
    denoiser = _denoiser(spec, outputs, inputs)
    _check_target(path, overwrite)
    onnx = import_optional("onnx", "Conversion")
    checker = import_optional("onnx.checker", "Conversion")
    reader = spikes if isinstance(spikes, SpikeReader) else None
    whitening = reader.whitening if reader is not None and rule is not None else None
    graph = pipelines.build(encoder, outputs, inputs, whitening, rule, denoiser, spec.head)
    checker.check_model(graph, full_check=True)
    facts = encoder_facts(spec, block=encoder.block, outputs=outputs, inputs=inputs, tolerance=encoder.tolerance,
                          precision=precision, versions={"onnx": onnx.__version__}, loop=encoder.loop)
    facts |= {**_pipeline_facts(facts["preprocessing"], outputs, reader, rule, denoiser), **about}
    if spec.head is not None:
        facts |= {"classes": spec.head.classes, "signal_space": list(spec.head.space)}
    container.write(path, container.pack(graph.SerializeToString(), facts))
    return path


def _convert_measured(spec: EncoderSpec, path: Path, outputs: Sequence[str], inputs: Sequence[str],
                      tolerance: float | None, about: Facts, looped: bool) -> Path:
    """Write the file of an encoder of measured data."""
    onnx, checker = (import_optional(name, "Conversion") for name in ("onnx", "onnx.checker"))
    graph = build_measured(spec, outputs, inputs, tolerance, looped)
    checker.check_model(graph, full_check=True)
    facts = encoder_facts(spec, block=(1,) * spec.rank, outputs=outputs, inputs=inputs, tolerance=tolerance,
                          precision="float32", versions={"onnx": onnx.__version__}, loop=looped)
    container.write(path, container.pack(graph.SerializeToString(), {**facts, **about}))
    return path


def _names(spec: EncoderSpec, outputs: str | Sequence[str] | None,
           inputs: str | Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the file's outputs and inputs, checked."""
    size = spec.size_name
    known = OUTPUTS + PIPELINES if size is None else COUNT_OUTPUTS
    taken = (INPUT, MASK, SIGMA) if size is None else (INPUT, MASK, size, BASELINE)
    usual = OUTPUTS if size is None else (COUNT_OUTPUTS[0], COUNT_OUTPUTS[-1])
    if spec.head is not None:
        known, usual = (*OUTPUTS, LOGITS), (OUTPUTS[0], LOGITS)
    chosen = select_names(inputs, INPUTS, "inputs")
    if spec.measurement is not None:
        known, choice = OUTPUTS, spec.measurement.count is not None
        taken = (*taken, OPERATOR) if choice else taken
        chosen = tuple(dict.fromkeys((*chosen, OPERATOR))) if choice else chosen
    elif OPERATOR in chosen:
        raise ValueError(f"The input {OPERATOR!r} picks one of several matrices, which the model's data were not "
                         f"measured by. Received: inputs={chosen}")
    if set(chosen) - set(taken):
        kind = "no counts" if size is None else f"counts ({spec.likelihood}): their noise follows from their mean"
        raise ValueError(f"`inputs` must be some of {taken}: the model's data are {kind}. Received: {chosen}")
    return select_names(usual if outputs is None else outputs, known, "outputs"), chosen


def _check_options(spec: EncoderSpec, inputs: Sequence[str], tolerance: float | None, precision: str) -> None:
    if spec.measurement is not None and precision == "float16":
        raise ValueError("Files of measured data are in float32. Use precision='float32'.")
    if spec.size_name is not None and precision == "float16":
        raise ValueError("Files of counts are in float32: the steps of their encoder are accepted or refused by sums "
                         "that half precision would decide by its rounding. Use precision='float32'.")
    if INPUT not in inputs:
        raise ValueError(f"`inputs` must contain {INPUT!r}. Received: {inputs}")
    if tolerance is not None and not (isinstance(tolerance, Real) and 0 < tolerance < 1):
        raise ValueError(f"`tolerance` must be None or a number between 0 and 1. Received: {tolerance!r}")
    if precision not in TOLERANCES:
        raise ValueError(f"`precision` must be one of {tuple(TOLERANCES)}. Received: {precision!r}. (There is no int8: "
                         "rounding spike templates alone to 8 bits moves codes by a tenth of the largest value.)")


def _has_loop(loop: bool | str, spec: EncoderSpec, tolerance: float | None, outputs: Sequence[str]) -> bool:
    """Whether the iterations become a Loop."""
    if not (isinstance(loop, bool) or loop == "auto"):
        raise ValueError(f"`loop` must be True, False or 'auto'. Received: {loop!r}")
    if loop is True and spec.layers:
        raise ValueError("Each iteration of this model has parameters of its own, and a Loop's iterations share "
                         "theirs. Use loop=False or 'auto'.")
    if loop is False and tolerance is not None:
        raise ValueError(f"Iterations end early (tolerance={tolerance:g}) in a Loop alone. Use loop=True, or convert a "
                         "model without a tolerance.")
    if isinstance(loop, bool):
        return loop
    few = spec.iterations <= MOST_WRITTEN_OUT and tolerance is None and "denoised" not in outputs
    return not (few or spec.layers)


def _about(about: Mapping[str, Any] | None, spikes: Spikes | None) -> Facts:
    """The caller's facts, and the reader's sampling frequency."""
    facts = check_about(about)
    if isinstance(spikes, SpikeReader):
        facts.setdefault("sampling_frequency", spikes.sampling_frequency)
    return facts


def _exportable_spec(model: Exportable) -> EncoderSpec:
    """The model's spec, if a graph can be written of it."""
    if not isinstance(model, Exportable):
        raise ValueError("Expected a keras_crsae.CRsAE, or an object with `export_spec` and `export_reference`. "
                         f"Received: {type(model).__name__}.")
    spec = model.export_spec()
    for name, value, known in (("code prior", spec.code_prior, tuple(CODE_PRIORS)),
                               ("likelihood", spec.likelihood, LIKELIHOODS)):
        if value not in known:
            raise ValueError(f"The model's {name} has no form in an ONNX graph: its `onnx` is {value!r}, and graphs "
                             f"are written for {known}. Encode with Keras (`model.encode`, `model.save`), or convert a "
                             f"model with another {name}.")
    return spec


def _check_target(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Choose another name or pass overwrite=True.")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path} is not a file in an existing folder. Make the folder first.")


def _spike_rule(spikes: Spikes | None, spec: EncoderSpec, outputs: Sequence[str],
                inputs: Sequence[str]) -> PeakRule | None:
    """The rule of the output "spikes", or None; refuse a reader of another model's codes."""
    if spec.size_name is not None and spikes is not None:
        raise ValueError("`spikes` reads spikes off the codes of recordings; the codes of counts are events "
                         "themselves. Omit it.")
    if "spikes" not in outputs:
        if spikes is not None:
            _check_reader(spikes, spec, outputs)
        return None
    if spikes is None:
        raise ValueError("The output 'spikes' needs spikes=: a SpikeReader, or the smallest code of a spike.")
    if spec.strides != (1,) or CODE_PRIORS[spec.code_prior or ""]:
        raise ValueError("The output 'spikes' is for signals of rank 1, stride 1 and non-negative codes. Received: "
                         f"rank {spec.rank}, strides {spec.strides}, {spec.code_prior}.")
    if isinstance(spikes, SpikeReader):
        _check_reader(spikes, spec, ("code",))
        if tuple(inputs) != (INPUT,):
            raise ValueError(f"With whitening inside the graph the only input is {INPUT!r}. Received: {inputs}")
    return peak_rule(spikes, spec.kernel_size[0], spec.filters)


def _check_reader(reader: object, spec: EncoderSpec, outputs: Sequence[str]) -> None:
    """Refuse what is no reader of this model's codes."""
    if not isinstance(reader, SpikeReader):
        raise ValueError("`spikes` must be a crsae_onnx.SpikeReader, such as the `reader` of a sorting result. "
                         f"Received: {type(reader).__name__}.")
    if OUTPUTS[0] not in outputs:
        raise ValueError(f"Spikes are read off the code, which is not among outputs={outputs}. Add 'code'.")
    if reader.kernel.shape != spec.kernel.shape:
        raise ValueError(f"`spikes` reads codes of filters {reader.kernel.shape} (time, channels, units); the model "
                         f"has {spec.kernel.shape}. Give the reader of this model.")
    if np.abs(reader.kernel - spec.kernel).max() > 1e-4:
        raise ValueError("`spikes` reads codes of other filters than the model's. Give the reader of this model, or set"
                         " the model's to them: model.set_dictionary(reader.kernel).")
    if spec.strides != (1,):
        raise ValueError(f"Spikes are read off codes of every sample; the model has strides {spec.strides}.")


def _denoiser(spec: EncoderSpec, outputs: Sequence[str], inputs: Sequence[str]) -> DenoiserSpec | None:
    """How the output "denoised" prepares images, or None without that output."""
    if "denoised" not in outputs:
        return None
    if spec.rank != 2 or set(inputs) != {INPUT, SIGMA}:
        raise ValueError(f"The output 'denoised' is for images (rank 2) with inputs=({INPUT!r}, {SIGMA!r}). Received: "
                         f"rank {spec.rank}, inputs={inputs}.")
    return spec.denoiser or DenoiserSpec()


def _pipeline_facts(preprocessing: list[str], outputs: Sequence[str], reader: SpikeReader | None,
                    rule: PeakRule | None, denoiser: DenoiserSpec | None) -> Facts:
    """What there is to say about spikes and denoising."""
    facts: Facts = {}
    if rule is not None:
        facts["spike_rule"] = {name: np.asarray(value).tolist() for name, value in rule._asdict().items()}
    if reader is not None:
        facts["spikes"], facts["unit"] = reader.to_json(), "the whitened noise's standard deviation"
        preprocessing = ["whiten the recording: SpikeReader.from_json(SparseEncoder(path).info['spikes']).whitening "
                         "does it; its numbers are in the key `spikes` of the JSON in the metadata property `crsae`"]
        if rule is not None:
            facts["whitening_inside"], facts["whitening_context"] = True, list(reader.whitening.context)
            facts["unit"] = "that of the recording that was sorted"
            preprocessing = ["none: whitening is inside the graph, the signal is the recording as it is"]
    if denoiser is not None:
        inside = "none for the output `denoised`: all of it is inside the graph"
        others = [f"other outputs: {step}" for step in preprocessing] if len(outputs) > 1 else []
        preprocessing = [inside, *others]
    return {**facts, "preprocessing": preprocessing}
