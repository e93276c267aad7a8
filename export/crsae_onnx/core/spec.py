"""``EncoderSpec``, all that an exporter needs of a model, and what every file promises: names, axes, tolerances."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.measurement_spec import MeasurementSpec, measured_layout
from crsae_onnx.core.spec_parts import DenoiserSpec, HeadSpec, LayerSpec, StepSearch

FORMAT_VERSION = 1
OPSET = 18
INPUT = "signal"
MASK = "mask"
SIGMA = "sigma"
TRIALS = "trials"
EXPOSURE = "exposure"
BASELINE = "baseline"
OPERATOR = "operator"
#: What counts are divided by, by their likelihood.
SIZE_NAMES = {"binomial": TRIALS, "poisson": EXPOSURE}
#: Code priors that an exported iteration is written for -> whether their codes may have both signs.
CODE_PRIORS = {"soft": True, "nonnegative_soft": False, "signed_by_filter": True}
#: Inputs that a file may have; the first is always there.
INPUTS = (INPUT, MASK, SIGMA, TRIALS, EXPOSURE, BASELINE, OPERATOR)
OUTPUTS = ("code", "reconstruction")
#: In place of these where the data are counts: eta = D z + baseline, and the mean, the inverse link of eta.
COUNT_OUTPUTS = ("code", "eta", "mean")
#: Output of a classifier's head on the code, for signals of one size.
LOGITS = "logits"
#: Outputs that do more than an encoder; "spikes" are three tensors: (batch entry, sample), unit, amplitude.
PIPELINES = ("spikes", "denoised")
SPIKE_TENSORS = ("spike_index", "spike_unit", "spike_amplitude")
#: Keys that ``convert(about=...)`` accepts.
ABOUT = ("name", "unit", "sampling_frequency", "pixel_range", "data", "training")
#: Spatial axes of the signal, by rank.
SPACE_AXES = {1: ("time",), 2: ("height", "width")}
#: Largest difference between a model and its file, relative to the largest absolute value, by precision.
TOLERANCES = {"float32": 1e-4, "float16": 5e-3}
#: The metadata property that holds our JSON, and the one after it, the SHA-256 of all bytes before it.
METADATA_KEY = "crsae"
CHECKSUM_KEY = "crsae_sha256"


@dataclass(frozen=True)
class EncoderSpec:
    """A convolutional sparse encoder and its decoder as plain numbers: all that an exporter needs.

    The encoder minimises ``1/2 ||y - D z||^2 + sum_c penalty_weight_c ||z_c||_1`` by proximal gradient steps,

        z' = prox(w + step_size A (y - D w), penalty_weight * step_size),    w' = z' + momentum_k (z' - z)

    with A the adjoint of D (or a kernel of its own); the reconstruction is the decoder's ``D' z``. Of counts y is their
    mean, counts / size, the residual is ``y - mean(eta)``, ``eta = D w + baseline``, and sigma^2 is 1 / size.

    Args:
        kernel: filters D as the encoder uses them, float32 (*kernel_size, channels, filters).
        decoder_kernel: the decoder's, same shape.
        strides: samples from one code position to the next, one an axis.
        step_size: of one step, 1 / L.
        lambda_reg: rate of the code's prior, (filters,).
        sigma: noise standard deviation, in the signal's unit.
        momentum: (iterations,), zeros for ISTA.
        code_prior: name of the prior's form in a graph, "soft", "nonnegative_soft", or "signed_by_filter"; None: it has
            none.
        likelihood: name of the likelihood's form in a graph, "gaussian", "poisson" or "binomial"; None: it has none.
        size: of counts the exposure or trials that divides them, a number or an array broadcastable to
            (*space, channels).
        baseline: of counts eta of the zero code, (channels,); None: 0.
        signs: of "signed_by_filter" 1, -1 or 0 (both) a filter: the signs of its code; None: of others.
        ridge: (filters,), weight of a penalty ridge/2 z^2 of each filter's code z, of dense filters; None: 0.
        search: how each signal finds its step size; None: ``step_size`` is that of all.
        block: code positions an axis that are folded into channels for speed; None: one.
        adjoint_kernel: filters of A where it is not the adjoint of D, same shape as ``kernel``; None: it is.
        subspace: orthonormal columns (channels, fewer) that span what the filters of D and of the decoder hold of the
            channels, as those of rank one do: a graph then mixes channels once and iterates on few; None: all channels.
        layers: parameters of each iteration in place of ``kernel``, ``adjoint_kernel`` and ``lambda_reg``, where each
            has its own; empty: all iterations have the same.
        tolerance: relative change of the code in one iteration below which the iterations end; None: all are done.
        check_every: iterations after each of which ``tolerance`` is compared.
        active: whether the model, unlike its file, goes on to the optimum where the signal holds events.
        denoiser: how images are prepared, for models that remove noise; None: not given.
        measurement: what of the signal the data are, y = Phi D z; None: the signal itself.
        head: a classifier's head on the code; None: there is none.
        config: the model's configuration, for the file's metadata.
        versions: names and versions of the software that made the model.

    Raises:
        ValueError: sizes that do not fit each other, values that are not finite.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spec import EncoderSpec
        >>> filters = np.ones((5, 1, 2)) / 5**0.5
        >>> spec = EncoderSpec(filters, filters, strides=(1,), step_size=0.1, lambda_reg=[2.0, 3.0], sigma=0.5,
        ...                    momentum=np.zeros(20), code_prior="soft")
        >>> spec.kernel_size, spec.filters, spec.penalty_weight.tolist()
        ((5,), 2, [0.5, 0.75])
    """

    kernel: NDArray[np.float32]
    decoder_kernel: NDArray[np.float32]
    strides: tuple[int, ...]
    step_size: float
    lambda_reg: NDArray[np.float64]
    sigma: float
    momentum: NDArray[np.float32]
    code_prior: str | None = "nonnegative_soft"
    likelihood: str | None = "gaussian"
    block: tuple[int, ...] | None = None
    adjoint_kernel: NDArray[np.float32] | None = None
    subspace: NDArray[np.float32] | None = None
    size: float | NDArray[np.float64] = 1.0
    baseline: NDArray[np.float64] | None = None
    signs: NDArray[np.int64] | None = None
    ridge: NDArray[np.float64] | None = None
    search: StepSearch | None = None
    layers: tuple[LayerSpec, ...] = ()
    tolerance: float | None = None
    check_every: int = 10
    active: bool = False
    denoiser: DenoiserSpec | None = None
    measurement: MeasurementSpec | None = None
    head: HeadSpec | None = None
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    versions: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # how a frozen dataclass sets its fields while it is made

        put("kernel", np.asarray(self.kernel, np.float32))
        put("decoder_kernel", np.asarray(self.decoder_kernel, np.float32))
        if self.adjoint_kernel is not None:
            put("adjoint_kernel", np.asarray(self.adjoint_kernel, np.float32))
        if self.subspace is not None:
            put("subspace", np.asarray(self.subspace, np.float32))
        put("strides", tuple(int(s) for s in self.strides))
        put("block", (1,) * len(self.strides) if self.block is None else tuple(int(b) for b in self.block))
        put("momentum", np.asarray(self.momentum, np.float32))
        put("step_size", float(self.step_size))
        put("sigma", float(self.sigma))
        self._check_sizes()
        put("lambda_reg", np.broadcast_to(np.asarray(self.lambda_reg, np.float64), self.filters).copy())
        if self.signs is not None:
            put("signs", np.asarray(self.signs, np.int64))
        if self.ridge is not None:
            put("ridge", np.asarray(self.ridge, np.float64))
        self._check_signs()
        if self.baseline is not None:
            put("baseline", np.broadcast_to(np.asarray(self.baseline, np.float64), self.channels).copy())
        for name in ("kernel", "decoder_kernel", "adjoint_kernel", "step_size", "lambda_reg", "sigma", "momentum",
                     "baseline", "subspace"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise ValueError(f"The model's {name} is not finite: training diverged. Load the last good weights.")
        self._check_layers()

    def _check_signs(self) -> None:
        by_filter = self.code_prior == "signed_by_filter"
        for name, value in (("signs", self.signs), ("ridge", self.ridge)):
            if value is not None and value.shape != (self.filters,) or value is None and by_filter and name == "signs":
                raise ValueError(f"Expected `{name}` of shape ({self.filters},), one a filter. Received: {value}")
        if self.signs is not None and not (by_filter and np.isin(self.signs, (1, -1, 0)).all()):
            raise ValueError("`signs` are 1, -1 or 0, and belong to the code prior 'signed_by_filter'. Received: "
                             f"code_prior={self.code_prior!r}, signs={self.signs}")
        if self.ridge is not None and (self.search is not None or self.layers or self.size_name is not None
                                       or not CODE_PRIORS.get(str(self.code_prior), True)
                                       or not (self.ridge >= 0).all()):
            raise ValueError("`ridge` must be 0 or more, for the Gaussian likelihood, codes of both signs, and one "
                             "step size and threshold for all iterations.")

    def _check_layers(self) -> None:
        if len(self.layers) not in (0, self.iterations):
            raise ValueError(f"Expected `layers` for none or each of {self.iterations} iterations. "
                             f"Received: {len(self.layers)}")
        for number, layer in enumerate(self.layers):
            for name, shape in (("kernel", self.kernel.shape), ("adjoint_kernel", self.kernel.shape),
                                ("slope", (self.filters,)), ("offset", (self.filters,))):
                value = getattr(layer, name)
                if value.shape != shape:
                    raise ValueError(f"`layers[{number}].{name}` must have shape {shape}. Received: {value.shape}")
                if not np.isfinite(value).all():
                    raise ValueError(f"The {name} of iteration {number} is not finite: training diverged. Load the "
                                     "last good weights.")

    def _check_sizes(self) -> None:
        kernel, rank = self.kernel, len(self.strides)
        if rank not in SPACE_AXES or kernel.ndim != rank + 2 or len(self.block or ()) != rank:
            raise ValueError("Expected a kernel (*kernel_size, channels, filters) with one stride and block size an "
                             f"axis. Received: kernel {kernel.shape}, strides {self.strides}, block {self.block}")
        for name in ("decoder_kernel", "adjoint_kernel"):
            other = getattr(self, name)
            if other is not None and other.shape != kernel.shape:
                raise ValueError(f"`{name}` must have the kernel's shape {kernel.shape}. Received: {other.shape}")
        if self.subspace is not None and (self.subspace.ndim != 2 or len(self.subspace) != self.channels):
            raise ValueError(f"`subspace` must have shape ({self.channels} channels, fewer). Received: "
                             f"{self.subspace.shape}")
        if np.shape(self.lambda_reg) not in ((), (1,), (self.filters,)) or self.momentum.ndim != 1:
            raise ValueError(f"Expected one `lambda_reg` or one a filter ({self.filters}), and `momentum` of shape "
                             f"(iterations,). Received: {np.shape(self.lambda_reg)}, {self.momentum.shape}")

    @property
    def rank(self) -> int:
        """Spatial axes: 1 (signals) or 2 (images)."""
        return len(self.strides)

    @property
    def kernel_size(self) -> tuple[int, ...]:
        return self.kernel.shape[:-2]

    @property
    def channels(self) -> int:
        return self.kernel.shape[-2]

    @property
    def filters(self) -> int:
        return self.kernel.shape[-1]

    @property
    def iterations(self) -> int:
        return len(self.momentum)

    @property
    def size_name(self) -> str | None:
        """What the data are divided by, "trials" or "exposure"; None: they are no counts."""
        return SIZE_NAMES.get(self.likelihood or "")

    @property
    def penalty_weight(self) -> NDArray[np.float64]:
        """Weight of the code's l1 norm, lambda sigma^2, (filters,), in the signal's unit."""
        return self.lambda_reg * self.sigma**2

    @property
    def threshold(self) -> NDArray[np.float64]:
        """Threshold of one iteration, penalty weight * step size, (filters,)."""
        return self.lambda_reg * self.sigma * self.step_size * self.sigma

    def preprocessing(self) -> list[str]:
        """What a signal goes through before it reaches the encoder, in order."""
        if self.size_name is not None:
            return [f"none: whole numbers, as they were counted; they are divided by the {self.size_name} inside"]
        return [] if self.denoiser is None else self.denoiser.preprocessing()

    def weights_sha256(self) -> str:
        """SHA-256 of what encoder and decoder compute with: filters, lambda, sigma, step size, as float32.

        Options of the conversion do not change it, further training does.
        """
        values: dict[str, object] = {"dictionary": self.kernel, "decoder": self.decoder_kernel}
        if self.adjoint_kernel is not None:
            values["analysis"] = self.adjoint_kernel
        digest = hashlib.sha256()
        if self.baseline is not None:
            values |= {"baseline": self.baseline, "size": self.size}
        for name, part in (vars(self.measurement) if self.measurement is not None else {}).items():
            values |= {f"measurement {name}": part} if isinstance(part, np.ndarray) else {}
        for name in ("signs", "ridge"):
            if getattr(self, name) is not None:
                values[name] = getattr(self, name)
        for number, layer in enumerate(self.layers):
            values |= {f"layer {number} {name}": value for name, value in vars(layer).items()}
        for name, value in {**values, "lambda": self.lambda_reg, "sigma": self.sigma, "step": self.step_size}.items():
            array = np.ascontiguousarray(value, "<f4")
            digest.update(f"{name}{array.shape}".encode() + array.tobytes())
        return digest.hexdigest()


class Reference(Protocol):
    """What an exported file is compared with: a model that computes as the file does."""

    def encode(self, signal: Any, mask: Any = None, sigma: Any = None, *, trials: Any = None,
               exposure: Any = None, operator: Any = None) -> NDArray[np.float32]:
        """Code (batch, *positions, filters) of a signal (batch, *space, channels)."""
        ...

    def decode(self, code: Any) -> NDArray[np.float32]:
        """Reconstruction (batch, *space, channels) of a code."""
        ...


@runtime_checkable
class Exportable(Protocol):
    """A model that can be exported and compared with its file, such as ``keras_crsae.CRsAE``."""

    def export_spec(self) -> EncoderSpec:
        """The model in plain numbers; a ValueError says why it has no weights, or no form in a graph."""
        ...

    def export_reference(self, tolerance: float | None = None) -> Reference:
        """The model as a file of this ``tolerance`` computes: in float32, every position, these iterations."""
        ...


def axes(name: str, rank: int) -> tuple[str | int, ...]:
    """Names of the axes of a tensor of the file, e.g. ("batch", "time", "channels")."""
    if name in (SIGMA, OPERATOR):
        return ("batch",)
    if name in SPIKE_TENSORS:
        return ("spikes", 2)[:2 if name == SPIKE_TENSORS[0] else 1]
    if name == BASELINE:
        return ("batch", "channels")
    space = SPACE_AXES[rank]
    if name in SIZE_NAMES.values():  # sizes of the signal's, or 1
        return ("batch", *(f"{name}_{axis}" for axis in space), f"{name}_channels")
    if name == LOGITS:
        return ("batch", "classes")
    if name == "code":
        return ("batch", *(f"{axis}_positions" for axis in space), "filters")
    return ("batch", *space, "channels")


def tensors(outputs: Iterable[str]) -> list[str]:
    """Names of the tensors that some outputs are, e.g. ("code",) -> ["code"]; "spikes" are three."""
    return [tensor for output in outputs for tensor in (SPIKE_TENSORS if output == "spikes" else (output,))]


def sizes(name: str, facts: Mapping[str, Any], unknown: int | None = -1) -> list[Any]:
    """Sizes of the axes of a tensor of a file with these facts; ``unknown`` where any size will do, None: its name."""
    fixed: dict[str | int, Any] = {axis: facts[axis] for axis in ("channels", "filters", "classes") if axis in facts}
    if facts.get("measurement") is not None and name in (INPUT, MASK):  # sizes of the data, not of the signal
        space, channels = measured_layout(facts)
        named = [f"data_{axis}" if unknown is None else unknown for axis in SPACE_AXES[facts["rank"]]]
        return ["batch" if unknown is None else unknown,
                *(other if n is None else n for n, other in zip(space, named, strict=True)), channels]
    return [fixed.get(axis, axis if isinstance(axis, int) or unknown is None else unknown)
            for axis in axes(name, facts["rank"])]


def is_index(name: str) -> bool:
    """Whether a tensor holds whole numbers."""
    return name in (*SPIKE_TENSORS[:2], OPERATOR)


def select_names(names: str | Sequence[str], known: Sequence[str], argument: str) -> tuple[str, ...]:
    """``names`` as a tuple of distinct names in the order of ``known``.

    Raises:
        ValueError: no name, or one that is not among ``known``.
    """
    chosen = (names,) if isinstance(names, str) else tuple(names)
    if not chosen or any(name not in known for name in chosen):
        raise ValueError(f"`{argument}` must be some of {tuple(known)}. Received: {chosen}")
    return tuple(name for name in known if name in chosen)
