"""What every exported file promises: names, axes, opset, metadata keys, tolerances. Plain data."""

#: 1 had no checksum.
FORMAT_VERSION = 2
OPSET = 18
INPUT = "signal"
MASK = "mask"
SIGMA = "sigma"
#: Noise level (of images in [0, 1]) at which a denoiser's ``sigma_power`` changes nothing.
REFERENCE_SIGMA = 0.1
#: Inputs that a file may have; the first is always there.
INPUTS = (INPUT, MASK, SIGMA)
OUTPUTS = ("code", "reconstruction")
#: Outputs that do more than an encoder; "spikes" are three tensors: (batch entry, sample), unit, amplitude.
PIPELINES = ("spikes", "denoised")
SPIKE_TENSORS = ("spike_index", "spike_unit", "spike_amplitude")
#: What ``convert(about=...)`` may tell of a file.
ABOUT = ("name", "unit", "sampling_frequency", "pixel_range", "data", "training")
#: Spatial axes of the signal, by rank.
SPACE_AXES = {1: ("time",), 2: ("height", "width")}
#: Largest difference between Keras and onnxruntime, relative to the largest absolute value, by precision.
TOLERANCES = {"float32": 1e-4, "float16": 5e-3}
TOLERANCE = TOLERANCES["float32"]
#: The metadata property that holds our JSON, and the one after it, the SHA-256 of all bytes before it.
METADATA_KEY = "crsae"
CHECKSUM_KEY = "crsae_sha256"


def axes(name, rank):
    """Names of the axes of a tensor of the file, e.g. ("batch", "time", "channels")."""
    if name == SIGMA:
        return ("batch",)
    if name in SPIKE_TENSORS:
        return ("spikes", 2)[:2 if name == SPIKE_TENSORS[0] else 1]
    space = SPACE_AXES[rank]
    if name == "code":
        return ("batch", *(f"{axis}_positions" for axis in space), "filters")
    return ("batch", *space, "channels")


def tensors(outputs):
    """Names of the tensors that some outputs are, e.g. ("code",) -> ["code"]; "spikes" are three."""
    return [tensor for output in outputs for tensor in (SPIKE_TENSORS if output == "spikes" else (output,))]


def sizes(name, facts, unknown=-1):
    """Sizes of the axes of a tensor of a file with these facts; ``unknown`` where any size will do, None: its name."""
    fixed = {axis: facts[axis] for axis in ("channels", "filters")}
    return [fixed.get(axis, axis if isinstance(axis, int) or unknown is None else unknown)
            for axis in axes(name, facts["rank"])]


def effective_sigma(sigma, power):
    """Noise level that a denoiser of ``sigma_power`` power is told where it is sigma: sigma (sigma / 0.1) ** power."""
    return sigma * (sigma / REFERENCE_SIGMA) ** power


def is_index(name):
    """Whether a tensor holds whole numbers."""
    return name in SPIKE_TENSORS[:2]
