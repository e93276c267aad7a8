"""CRsAE -> ``.onnx``. The FISTA iterations become one ONNX Loop; batch and every spatial axis stay dynamic."""

import hashlib
import json
from numbers import Real
from pathlib import Path

import numpy as np

from crsae_onnx.core.spec import (
    ABOUT,
    FORMAT_VERSION,
    INPUT,
    INPUTS,
    OPSET,
    OUTPUTS,
    PIPELINES,
    REFERENCE_SIGMA,
    SIGMA,
    TOLERANCES,
)
from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.core.spikes.peak_rule import rule_of
from crsae_onnx.core.version import package_version
from crsae_onnx.file_format import container
from crsae_onnx.graph import encoder as graph
from crsae_onnx.graph import pipelines


def convert(model, path, outputs=OUTPUTS, inputs=(INPUT,), tolerance=None, overwrite=False, spikes=None, about=None,
            precision="float32"):
    """Write a built ``CRsAE`` as an ONNX file.

    The file encodes as ``model.encode`` does, in float32 and densely. A model with ``active=True`` goes on to the
    optimum in ``encode``: the file takes its ``iterations`` towards that and is compared with the same model without
    ``active``; ``crsae-onnx info`` says so.

    Args:
        model: ``keras_crsae.CRsAE``, built.
        path: file to write.
        outputs: some of "code" and "reconstruction"; "spikes" (the code's local maxima, see
            ``crsae_onnx.core.spikes.peak_rule``: three tensors) needs ``spikes``; "denoised" (images in [0, 1] of which
            the mean over all shifts is made, as by ``denoise``) needs the input "sigma".
        inputs: "signal" and, where the file shall take them, "mask" (0/1 of the signal's shape: the observed
            samples) and "sigma" ((batch,): the noise of each signal, in its unit).
        tolerance: stop once the code's relative change in one iteration is below it for every signal of the batch
            (looked at every 10 iterations); None: the model's own.
        overwrite: replace an existing file.
        spikes: None, or the ``SpikeReader`` that reads spikes off this model's codes: the file then carries it, and
            ``crsae-onnx run --spikes`` needs nothing else. With the output "spikes" the reader's whitening is inside
            the graph, whose signal then is the recording itself; instead of a reader a threshold on the code, or one
            a filter, may be given.
        about: None, or a dict of what else a user of the file should know, of these keys: "name", "unit" (of signals),
            "sampling_frequency" (Hz), "pixel_range" (lowest, highest), "data" and "training" (texts: what it was
            trained on, and where or how).
        precision: "float32", or "float16": the convolutions in half precision, all sums over iterations in float32;
            inputs and outputs stay float32. For GPUs: onnxruntime's CPU computes such a file through casts, slower.

    Returns:
        The path.

    Raises:
        ValueError: no CRsAE, unbuilt, unknown outputs or inputs, weights that are not finite, a tolerance that is
            not positive, a reader made for another model, an unknown key of ``about``.
        FileExistsError: the file exists and ``overwrite`` is False.
        FileNotFoundError: its folder does not exist.
        ModuleNotFoundError: the extra ``export`` is not installed.

    Example:
        >>> path = convert(model, "encoder.onnx")
        >>> code = SparseEncoder(path).encode(signal)
    """
    path = Path(path)
    outputs, inputs = _names(outputs, OUTPUTS + PIPELINES, "outputs"), _names(inputs, INPUTS, "inputs")
    if INPUT not in inputs:
        raise ValueError(f"`inputs` must contain {INPUT!r}. Received: {inputs}")
    if tolerance is not None and not (isinstance(tolerance, Real) and 0 < tolerance < 1):
        raise ValueError(f"`tolerance` must be None or a number between 0 and 1. Received: {tolerance!r}")
    about = _about(about, spikes)
    if precision not in TOLERANCES:
        raise ValueError(f"`precision` must be one of {tuple(TOLERANCES)}. Received: {precision!r}. (There is no int8: "
                         "rounding spike templates alone to 8 bits moves codes by a tenth of the largest value.)")
    encoder = _encoder(model, tolerance)._replace(half=precision == "float16")
    rule = _check_spikes(spikes, model, encoder, outputs, inputs)
    low_pass = _check_denoised(model, outputs, inputs)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Choose another name or pass overwrite=True.")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path} is not a file in an existing folder. Make the folder first.")
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Conversion needs the package onnx. Install it with: "
                                  "pip install 'keras-crsae[export]'", name="onnx") from error
    reader = spikes if isinstance(spikes, SpikeReader) else None
    whitening = reader.whitening if reader is not None and rule is not None else None
    proto = pipelines.build(encoder, outputs, inputs, whitening, rule, low_pass,
                            getattr(model, "sigma_power", 0.0))
    facts = {**_describe(model, encoder, outputs, inputs), **about}
    if rule is not None:
        facts["spike_rule"] = {name: np.asarray(value).tolist() for name, value in rule._asdict().items()}
    if whitening is not None:
        facts["whitening_inside"], facts["whitening_reach"] = True, list(whitening.reach)
        facts["preprocessing"] = ["none: whitening is inside the graph, the signal is the recording"]
    elif reader is not None:
        facts["preprocessing"] = ["whiten the recording: SpikeReader.from_json of the metadata `spikes` does it"]
    if reader is not None:
        facts["spikes"] = reader.to_json()
    if low_pass is not None:
        inside = "none for the output `denoised`: all of it is inside the graph"
        facts["preprocessing"] = [inside] + ([f"other outputs: {step}" for step in facts["preprocessing"]]
                                             if len(outputs) > 1 else [])
    onnx.checker.check_model(proto, full_check=True)
    container.write(path, container.pack(proto.SerializeToString(), facts))
    return path


def _about(about, spikes):
    """What the caller tells of the file, checked."""
    about = {} if about is None else dict(about)
    unknown = sorted(set(about) - set(ABOUT))
    if unknown:
        raise ValueError(f"`about` knows the keys {ABOUT}. Received: {unknown}")
    if spikes is not None and hasattr(spikes, "sampling_frequency"):
        about.setdefault("sampling_frequency", spikes.sampling_frequency)
    try:
        made = json.loads(json.dumps(about, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"`about` must hold texts and numbers that are finite: {error}. Received: {about}") from error
    wanted = {"sampling_frequency": (_is_number, "a number of Hz"),
              "pixel_range": (lambda v: isinstance(v, list) and len(v) == 2 and all(map(_is_number, v)), "two numbers")}
    for key, value in made.items():
        fits, words = wanted.get(key, (lambda v: isinstance(v, str), "a text"))
        if not fits(value):
            raise ValueError(f"`about` tells {key} as {words}. Received: {value!r}")
    return made


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)


def _names(given, known, argument):
    """``given`` as a tuple of distinct names in the order of ``known``."""
    given = (given,) if isinstance(given, str) else tuple(given)
    if not given or any(name not in known for name in given):
        raise ValueError(f"`{argument}` must be some of {known}. Received: {given}")
    return tuple(name for name in known if name in given)


def _encoder(model, tolerance):
    """The model's values in NumPy, its kernels folded into blocks."""
    if not all(hasattr(model, name) for name in ("dictionary", "encoder", "decoder")):
        if hasattr(model, "built") and not model.built:
            raise ValueError("The model has no weights yet: call model.build((None, None, channels)) or fit it first.")
        raise ValueError(f"Expected a keras_crsae.CRsAE. Received: {type(model).__name__}.")
    from keras import ops

    from keras_crsae.layers.sparse_coding import LOOP_BODY
    from keras_crsae.operators import polyphase

    dictionary, coding = model.dictionary, model.encoder
    block = tuple(_tight(polyphase.taps, *sizes) for sizes in
                  zip(coding.block or (1,) * dictionary.rank, dictionary.kernel_size, dictionary.strides, strict=True))

    def folded(layer):
        kernel = ops.convert_to_numpy(layer.unit_kernel()).astype(np.float32)
        return ops.convert_to_numpy(polyphase.fold_kernel(ops.convert_to_tensor(kernel), dictionary.strides, block))

    step, sigma = float(model.step_size), float(model.sigma)
    scale = np.broadcast_to(ops.convert_to_numpy(model.lambda_reg).astype(float) * sigma * step, dictionary.filters)
    encoder = graph.Encoder(
        folded(dictionary), folded(model.decoder), dictionary.kernel_size, dictionary.strides, block,
        dictionary.channels, dictionary.filters, step, scale, sigma, coding.cell.shrinkage,
        np.array(coding.factors(), np.float32), LOOP_BODY,
        coding.tolerance if tolerance is None else float(tolerance),
        folded(model.analysis) if hasattr(model, "analysis") else None)
    for name in ("kernel", "adjoint_kernel", "decoder_kernel", "step_size", "scale", "sigma"):
        value = getattr(encoder, name)
        if value is not None and not np.isfinite(value).all():
            raise ValueError(f"The model's {name} is not finite: training diverged. Load the last good weights.")
    if encoder.shrinkage not in ("soft", "nonnegative_soft"):
        raise ValueError(f"No export for shrinkage={encoder.shrinkage!r}; there is one for 'soft' and "
                         "'nonnegative_soft'.")
    return encoder


def _check_spikes(spikes, model, encoder, outputs, inputs):
    """The ``SpikeRule`` of the output "spikes", or None; refuse what is no reader of this model's codes."""
    if "spikes" not in outputs:
        if spikes is not None:
            _check_reader(spikes, model, outputs)
        return None
    if spikes is None:
        raise ValueError("The output 'spikes' needs spikes=: a SpikeReader, or thresholds on the code.")
    if encoder.strides != (1,) or encoder.shrinkage != "nonnegative_soft":
        raise ValueError("The output 'spikes' is for signals of rank 1, stride 1 and non-negative codes. Received: "
                         f"rank {len(encoder.strides)}, strides {encoder.strides}, {encoder.shrinkage}.")
    if isinstance(spikes, SpikeReader):
        _check_reader(spikes, model, ("code",))
        if tuple(inputs) != (INPUT,):
            raise ValueError(f"With whitening inside the graph the only input is {INPUT!r}. Received: {inputs}")
    return rule_of(spikes, encoder.kernel_size[0], encoder.filters)


def _check_denoised(model, outputs, inputs):
    """Width of the blur that denoising takes off first, or None without that output."""
    if "denoised" not in outputs:
        return None
    if model.dictionary.rank != 2 or set(inputs) != {INPUT, SIGMA}:
        raise ValueError(f"The output 'denoised' is for images (rank 2) with inputs=({INPUT!r}, {SIGMA!r}). Received: "
                         f"rank {model.dictionary.rank}, inputs={inputs}.")
    from keras_crsae.applications.denoising.pipeline import LOW_PASS

    return float(getattr(model, "low_pass", LOW_PASS))


def _check_reader(reader, model, outputs):
    """Refuse what is no reader of this model's codes."""
    from keras import ops

    if not isinstance(reader, SpikeReader):
        raise ValueError("`spikes` must be a crsae_onnx.SpikeReader, such as the `reader` of a sorting result. "
                         f"Received: {type(reader).__name__}.")
    if OUTPUTS[0] not in outputs:
        raise ValueError(f"Spikes are read off the code, and the file would not give it: outputs={outputs}.")
    own = ops.convert_to_numpy(model.dictionary.unit_kernel())
    if reader.kernel.shape != own.shape:
        raise ValueError(f"`spikes` reads codes of filters {reader.kernel.shape} (time, channels, units); the model "
                         f"has {own.shape}. Give the reader that was made with this model.")
    if np.abs(reader.kernel - own).max() > 1e-4:
        raise ValueError("`spikes` was made for other filters than the model's. Give the reader that was made with "
                         "this model, or set the model's to them: model.set_dictionary(reader.kernel).")
    if tuple(model.dictionary.strides) != (1,):
        raise ValueError(f"Spikes are read off codes of every sample; the model has strides {model.dictionary.strides}."
                         )


def _tight(taps, block, kernel_size, stride):
    """Smallest block with as many taps: onnxruntime gains nothing from a power of two, and padded taps cost."""
    wanted = taps(kernel_size, stride, block)
    return next(b for b in range(1, block + 1) if taps(kernel_size, stride, b) == wanted)


def _describe(model, encoder, outputs, inputs):
    import keras
    import onnx

    return {
        "format_version": FORMAT_VERSION, "opset": OPSET, "rank": model.dictionary.rank, "channels": encoder.channels,
        "filters": encoder.filters, "kernel_size": list(encoder.kernel_size), "strides": list(encoder.strides),
        "iterations": len(encoder.momentum), "tolerance": encoder.tolerance, "shrinkage": encoder.shrinkage,
        "block": list(encoder.block), "inputs": list(inputs), "outputs": list(outputs), "sigma": encoder.sigma,
        "step_size": encoder.step_size, "unit": "that of the training data",
        "precision": "float16" if encoder.half else "float32",
        "weights_sha256": weights_hash(model), "preprocessing": preprocessing(model),
        "lambda_reg": np.broadcast_to(np.asarray(model.lambda_reg, float), encoder.filters).tolist(),
        "threshold": (encoder.scale * encoder.sigma).tolist(),
        "config": json.loads(json.dumps(model.get_config(), default=str)),
        "versions": {"keras-crsae": package_version(), "keras": keras.__version__, "backend": keras.backend.backend(),
                     "onnx": onnx.__version__},
    }


def weights_hash(model):
    """SHA-256 of what the encoder and decoder compute with: filters, lambda, sigma, step size; float32.

    Options of the conversion do not change it, further training does.

    Example:
        >>> len(weights_hash(model))
        64
    """
    from keras import ops

    layers = {name: getattr(model, name).unit_kernel() for name in ("dictionary", "decoder", "analysis")
              if hasattr(model, name)}
    digest = hashlib.sha256()
    for name, value in {**layers, "lambda": model.lambda_reg, "sigma": model.sigma, "step": model.step_size}.items():
        array = np.ascontiguousarray(ops.convert_to_numpy(value), "<f4")
        digest.update(f"{name}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def preprocessing(model):
    """What a signal goes through before it reaches this model's file, in order: a list of texts.

    Example:
        >>> preprocessing(model)
        []
    """
    if not hasattr(model, "low_pass"):
        return []
    slow = f"a Gaussian blur of {model.low_pass:g} pixels (edges mirrored)" if model.low_pass else "its mean"
    power = getattr(model, "sigma_power", 0.0)
    told = f", the level taken as level * (level / {REFERENCE_SIGMA:g}) ** {power:g}" if power else ""
    return [f"subtract {slow} from the image; add it to the reconstruction",
            f"noise of another level than sigma: multiply by sigma / level, and the result by level / sigma{told}",
            "average the reconstructions over all shifts of the image below the stride, edges reflected"]
