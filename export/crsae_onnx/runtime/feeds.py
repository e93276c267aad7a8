"""What a session is fed: the arguments of an encoder, checked, as the file's inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from crsae_onnx.core.counts import as_size, check_counts
from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.measurement_spec import measured_layout
from crsae_onnx.core.signals import as_finite, as_float32, as_sigma, check_layout, with_own_mask
from crsae_onnx.core.spec import BASELINE, EXPOSURE, INPUT, MASK, OPERATOR, SIGMA, TRIALS
from crsae_onnx.runtime.inputs import as_array, spread_mask

Feed = dict[str, np.ndarray]


class Given(NamedTuple):
    """What a call is given beside its signal; None: not given."""

    mask: Any = None
    sigma: Any = None
    trials: Any = None
    exposure: Any = None
    baseline: Any = None
    operator: Any = None

    @property
    def size(self) -> Any:
        """What counts are divided by."""
        return self.trials if self.exposure is None else self.exposure


class Feeds:
    """Arguments of calls as inputs of a file.

    Args:
        info: what the file says about itself.
        inputs: names of its inputs.
    """

    def __init__(self, info: Mapping[str, Any], inputs: Sequence[str]) -> None:
        self.info, self.inputs = info, tuple(inputs)
        self.size_name: str | None = info.get("size_name")
        self.raw = bool(info.get("whitening_inside"))  #: whether NaN is a gap

    def checked(self, signal: Any, given: Given, least: Sequence[int] | None = None) -> tuple[Any, Given]:
        """The signal, its values not read, and what goes with it; layouts checked.

        Args:
            signal: (batch, *space, channels), of any kind.
            given: of the call.
            least: smallest sizes of the signal's space; None: the filters'.

        Raises:
            SignalError: a layout that does not fit.
            ValueError: the file lacks an input.
        """
        original = signal
        signal, mask = with_own_mask(signal, given.mask)
        for name, value in given._replace(mask=mask)._asdict().items():
            if value is not None and name not in self.inputs:
                raise ValueError(f"The file takes no {name!r}; its inputs are {self.inputs}. {self._way_out(name)}")
        signal = as_array(signal, INPUT)
        info = self.info
        if info.get("measurement") is not None:
            signal = self._measured(signal)
        else:
            check_layout(signal, info["rank"], info["kernel_size"] if least is None else least, info["channels"],
                         original=original)
        if mask is not None:
            mask = spread_mask(as_array(mask, MASK), tuple(signal.shape))
        return signal, given._replace(mask=mask)

    def _measured(self, signal: Any) -> Any:
        """Data of a measurement after their checks; (batch, measurements) with the axes that the file wants."""
        space, channels = measured_layout(self.info)
        if len(signal.shape) == 2 and self.info["measurement"].get("signal_shape") is not None:
            signal = np.asarray(signal)[(..., *(None,) * self.info["rank"])]
        check_layout(signal, self.info["rank"], None, channels)
        if any(n not in (None, m) for n, m in zip(space, signal.shape[1:-1], strict=True)):
            raise SignalError(f"`signal` must hold the measurements of each signal, (batch, *{space}, {channels}). "
                              f"Received: shape {tuple(signal.shape)}")
        return signal

    def _way_out(self, name: str) -> str:
        if name == OPERATOR:
            return "Its model's data were not measured by a choice of matrices."
        if self.size_name is None and name in (TRIALS, EXPOSURE, BASELINE):
            return "Its model is one of data that are no counts."
        if self.size_name is not None and name in (SIGMA, TRIALS, EXPOSURE) and name != self.size_name:
            return f"Its model is one of counts ({self.info['likelihood']}), which are divided by `{self.size_name}`."
        return f"Convert the model again with {name!r} among inputs=."

    def values(self, piece: Any, mask: Any = None, size: Any = None) -> np.ndarray:
        """A piece of the signal as float32: NaN is a gap where the graph whitens, and refused elsewhere; counts whole.

        Args:
            piece: (batch, *space, channels).
            mask: None, or 0/1 of its shape.
            size: of its counts, broadcastable to it; None: the file's own.
        """
        if self.raw:
            return np.ascontiguousarray(as_float32(piece))
        piece = as_finite(piece)
        if self.size_name is not None:
            check_counts(piece, self.own_size(piece.shape) if size is None else np.asarray(size, np.float64),
                         self.size_name, self._bounded, INPUT, mask)
        return piece

    @property
    def _bounded(self) -> bool:
        return self.size_name == TRIALS

    def own_size(self, shape: tuple[int, ...]) -> np.ndarray:
        """The model's exposure or trials, broadcastable to a signal of this shape."""
        return as_size(self.info["size"], shape, str(self.size_name), whole=self._bounded, per_signal=False)

    def numbers(self, given: Given, shape: tuple[int, ...]) -> Given:
        """Sigma, size and baseline as float32 arrays with the batch as their first axis."""
        sigma = None if given.sigma is None else as_sigma(given.sigma, shape[0])
        size = given.size
        if size is not None:
            size = as_size(size, shape, str(self.size_name), whole=self._bounded)
            size = np.broadcast_to(size, (shape[0], *(size.shape[1:] or (1,) * (len(shape) - 1)))).astype(np.float32)
        baseline = given.baseline
        if baseline is not None:
            try:
                baseline = np.broadcast_to(np.asarray(baseline, np.float32), (shape[0], shape[-1])).copy()
            except (TypeError, ValueError) as error:
                raise SignalError(f"`baseline` must be a number, one a channel, or (batch, channels) = "
                                  f"{(shape[0], shape[-1])}. Received: {np.shape(baseline)}") from error
            baseline = as_finite(baseline, name="baseline")
        return Given(given.mask, sigma, None, size, baseline, self._operator(given.operator, shape[0]))

    def _operator(self, operator: Any, batch: int) -> np.ndarray | None:
        """Number of each signal's matrix, int64 (batch,); None where the file has no choice."""
        if OPERATOR not in self.inputs:
            return None
        count = self.info["measurement"]["count"]
        numbers = np.asarray(-1 if operator is None else operator)
        if numbers.shape not in ((), (batch,)) or numbers.dtype.kind not in "iu" or numbers.min() < 0 \
                or numbers.max() >= count:
            raise SignalError(f"`operator` must say which of {count} matrices measured the signals: a whole number "
                              f"from 0 to {count - 1}, or one a signal. Received: operator={operator!r}")
        return np.broadcast_to(numbers, (batch,)).astype(np.int64)

    def feed(self, piece: np.ndarray, given: Given = Given()) -> Feed:  # noqa: B008  immutable
        """The session's inputs for checked arrays; those not given take the training's values."""
        feed: Feed = {INPUT: piece}
        if MASK in self.inputs:
            feed[MASK] = np.ones_like(piece) if given.mask is None else given.mask
        if SIGMA in self.inputs:
            sigma = self.info["sigma"] if given.sigma is None else given.sigma
            feed[SIGMA] = np.ascontiguousarray(np.broadcast_to(np.asarray(sigma, np.float32), piece.shape[:1]))
        if self.size_name in self.inputs:
            size = given.size
            if size is None:
                size = self.own_size(piece.shape)
                size = np.broadcast_to(size, (len(piece), *(size.shape[1:] or (1,) * (piece.ndim - 1))))
            feed[str(self.size_name)] = np.ascontiguousarray(size, np.float32)
        if OPERATOR in self.inputs:
            feed[OPERATOR] = np.ascontiguousarray(given.operator)
        if BASELINE in self.inputs:
            own = self.info["baseline"] if given.baseline is None else given.baseline
            feed[BASELINE] = np.ascontiguousarray(np.broadcast_to(np.asarray(own, np.float32),
                                                                  (len(piece), piece.shape[-1])))
        return feed


def windows_of(feeds: Feeds, given: Given, shape: tuple[int, ...],
               run: Callable[..., np.ndarray]) -> tuple[Callable[..., np.ndarray], Given]:
    """How windows of a signal are encoded, and what goes with them: a mask, and as sigma what each signal has.

    Args:
        feeds: of the file.
        given: of the call.
        shape: of the signal.
        run: ``run(piece, given, run=...)``.

    Raises:
        ValueError: what windows cannot take along.
    """
    if feeds.size_name is None:
        def run_piece(piece: np.ndarray, mask: Any = None, sigma: Any = None, **options: Any) -> np.ndarray:
            return run(piece, Given(mask, sigma), **options)

        return run_piece, given
    numbers, name = feeds.numbers(given, shape), feeds.size_name
    size = feeds.own_size(shape).astype(np.float32) if numbers.size is None else numbers.size
    if given.baseline is not None or any(n != 1 for n in size.shape[1:]):
        raise ValueError(f"A signal of {shape[1]} samples, or one with such an option, is encoded in windows, and they "
                         f"take one `{name}` a signal and the model's baseline. Encode parts of the signal yourself.")
    if not (size > 0).all():
        raise ValueError(f"`{name}` is 0 for a whole signal: nothing of it was observed. Leave it out.")

    def run_counts(piece: np.ndarray, mask: Any = None, sigma: Any = None, **options: Any) -> np.ndarray:
        sizes = None if sigma is None else np.reshape(sigma, (-1,) + (1,) * (piece.ndim - 1))
        return run(feeds.values(piece, mask, sizes), Given(mask, exposure=sizes), **options)

    return run_counts, Given(given.mask, None if given.size is None else size.reshape(-1))
