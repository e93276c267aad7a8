"""What every exported file promises: names, axes, opset, metadata keys, tolerances. Plain data."""

FORMAT_VERSION = 1
OPSET = 18
INPUT = "signal"
MASK = "mask"
SIGMA = "sigma"
#: Inputs that a file may have; the first is always there.
INPUTS = (INPUT, MASK, SIGMA)
OUTPUTS = ("code", "reconstruction")
#: Spatial axes of the signal, by rank.
SPACE_AXES = {1: ("time",), 2: ("height", "width")}
#: Largest difference between Keras and onnxruntime, relative to the largest absolute value.
TOLERANCE = 1e-4
#: The one metadata property that holds our JSON.
METADATA_KEY = "crsae"


def axes(name, rank):
    """Names of the axes of a tensor of the file, e.g. ("batch", "time", "channels")."""
    if name == SIGMA:
        return ("batch",)
    space = SPACE_AXES[rank]
    if name == "code":
        return ("batch", *(f"{axis}_positions" for axis in space), "filters")
    return ("batch", *space, "channels")
