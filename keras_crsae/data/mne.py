"""MNE in and out: ``Raw`` and ``Epochs`` as arrays, reconstructions, codes and events as MNE's own objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from crsae_onnx.core.optional import import_optional
from crsae_onnx.core.validation import as_positive, as_positive_int

__all__ = ["MneSignals", "from_mne"]
_SCALE_VALUES = 2 ** 20  # samples of a channel type, about, that its scale is taken from
_NORMAL_MAD = 0.6745  # median |x| of a standard normal variable


@dataclass(frozen=True)
class MneSignals:
    """Signals of an MNE object as ``CRsAE`` takes them, and the way back; ``from_mne`` makes it.

    Attributes:
        signal: (batch, time, channels), float32: one recording, or the epochs; divided by ``scales``.
        mask: None, or 0/1 of signal's shape: 0 where the recording is annotated as bad; for ``encode(mask=)`` and
            ``fit(sample_weight=)``.
        sampling_frequency: Hz.
        channel_names: of the channels.
        positions: (channels, 3) in metres, head coordinates; None where a channel has none.
        scales: (channels,), MNE's unit (V, T, T/m) of a signal of 1.
        info: ``mne.Info`` of these channels, for topographies.
        origin: what the way back needs of a recording or of epochs.
    """

    signal: np.ndarray
    mask: np.ndarray | None
    sampling_frequency: float
    channel_names: tuple[str, ...]
    positions: np.ndarray | None
    scales: np.ndarray
    info: Any
    origin: dict[str, Any] = field(repr=False)

    @property
    def is_raw(self) -> bool:
        """Whether this is one recording, not epochs."""
        return "first_samp" in self.origin

    def reconstruction(self, signal: Any) -> Any:
        """A signal in the model's layout as MNE's object, in MNE's unit.

        Args:
            signal: (batch, time, channels), such as ``model.reconstruct(signals.signal)`` or one part of
                ``model.separate``.

        Returns:
            ``mne.io.RawArray`` or ``mne.EpochsArray`` with the channels, times and annotations of the source.
        """
        signal = np.asarray(signal)
        if signal.shape != self.signal.shape:
            raise ValueError(f"`signal` must have the shape of the source, {self.signal.shape}. "
                             f"Received: {signal.shape}")
        return self._wrap(signal * self.scales, self.info)

    def codes(self, code: Any, strides: int = 1) -> Any:
        """A code as MNE's object: a channel "filter c" of type "misc" each, at the source's sampling frequency.

        Args:
            code: (batch, positions, filters); a value stands at the sample at which its filter starts, the rest is 0.
            strides: the model's.

        Returns:
            ``mne.io.RawArray`` or ``mne.EpochsArray`` with the times of the source.
        """
        code, strides = self._checked(code, strides), as_positive_int(strides, "strides")
        mne = import_optional("mne", "MneSignals.codes")
        info = mne.create_info([f"filter {c}" for c in range(code.shape[-1])], self.sampling_frequency, "misc")
        info.set_meas_date(self.info["meas_date"])
        spread = np.zeros((len(code), self.signal.shape[1], code.shape[-1]), code.dtype)
        spread[:, ::strides][:, :code.shape[1]] = code
        return self._wrap(spread, info)

    def annotations(self, code: Any, kernel_size: int, min_amplitude: float, strides: int = 1) -> Any:
        """Events of a recording's code as annotations "filter c": local maxima of its magnitude.

        Args:
            code: (1, positions, filters).
            kernel_size: the model's; it is the duration, and events of one filter keep half of it.
            min_amplitude: smallest magnitude of an event, in the code's unit.
            strides: the model's.

        Returns:
            ``mne.Annotations`` for ``raw.set_annotations(raw.annotations + found)``.
        """
        code = self._checked(code, strides)
        if not self.is_raw:
            raise ValueError("Annotations are times of a recording, and these signals are epochs. Use `codes`.")
        mne, signal = (import_optional(name, "MneSignals.annotations") for name in ("mne", "scipy.signal"))
        as_positive(min_amplitude, "min_amplitude")
        distance = max(1, as_positive_int(kernel_size, "kernel_size") // 2 // as_positive_int(strides, "strides"))
        found = []
        for c in range(code.shape[-1]):
            # Zeros on both sides: a maximum at the end counts.
            peaks, _ = signal.find_peaks(np.pad(np.abs(code[0, :, c]), 1), height=min_amplitude, distance=distance)
            found += [((peak - 1) * strides, c) for peak in peaks]
        found.sort()
        first = 0 if self.info["meas_date"] is None else self.origin["first_samp"]
        onsets = (np.array([sample for sample, _ in found]) + first) / self.sampling_frequency
        return mne.Annotations(onsets, kernel_size / self.sampling_frequency, [f"filter {c}" for _, c in found],
                               orig_time=self.info["meas_date"])

    def _checked(self, code: Any, strides: int) -> np.ndarray:
        """A code after its checks."""
        code = np.asarray(code)
        most = -(-self.signal.shape[1] // strides)
        if code.ndim != 3 or len(code) != len(self.signal) or code.shape[1] > most:
            raise ValueError(f"`code` must have shape ({len(self.signal)}, up to {most} positions, filters). "
                             f"Received: {code.shape}")
        return code

    def _wrap(self, values: np.ndarray, info: Any) -> Any:
        """(batch, time, channels) as ``RawArray`` or ``EpochsArray`` with the times of the source."""
        mne = import_optional("mne", "MneSignals")
        if self.is_raw:
            raw = mne.io.RawArray(values[0].T, info, first_samp=self.origin["first_samp"], verbose="error")
            return raw.set_annotations(self.origin["annotations"])
        return mne.EpochsArray(values.swapaxes(1, 2), info, baseline=None, proj=False, on_missing="ignore",
                               verbose="error", **self.origin)


def from_mne(instance: Any, picks: str | Sequence[str] = "data", scale: bool = True) -> MneSignals:
    """Signals of a ``Raw`` or of ``Epochs``: arrays, rate, channel names, positions.

    Filter slow drift away first (``raw.filter(1, None)``): the model knows no mean.

    Args:
        instance: ``mne.io.Raw`` of any file format, or ``mne.Epochs``.
        picks: MNE's picks: "data", a type ("eeg", "mag", "grad") or names; channels marked bad are left out where types
            are asked for.
        scale: divide each type of channel by its standard deviation (robust: from the median), so that a signal is
            about 1 and types can be mixed; False: MNE's units.

    Returns:
        ``MneSignals``.

    Raises:
        TypeError: another object.
        ValueError: no channel left.
        ModuleNotFoundError: MNE is missing; the message names the extra.

    Example:
        >>> import mne, numpy as np
        >>> from keras_crsae.data import from_mne
        >>> info = mne.create_info(["Cz", "Pz"], 150.0, "eeg")
        >>> noise = 1e-5 * np.random.default_rng(0).standard_normal((2, 3000))
        >>> signals = from_mne(mne.io.RawArray(noise, info, verbose=False))
        >>> signals.signal.shape, signals.sampling_frequency, signals.channel_names
        ((1, 3000, 2), 150.0, ('Cz', 'Pz'))
        >>> signals.reconstruction(signals.signal).get_data().shape              # MNE's (channels, time)
        (2, 3000)
    """
    mne = import_optional("mne", "from_mne")
    if not isinstance(instance, mne.io.BaseRaw | mne.BaseEpochs):
        raise TypeError("`instance` must be an mne.io.Raw or mne.Epochs. "
                        f"Received: {type(instance).__module__}.{type(instance).__name__}")
    names = _picked(mne, instance.info, picks)
    info = mne.pick_info(instance.info, [instance.ch_names.index(name) for name in names])
    if isinstance(instance, mne.io.BaseRaw):
        values = instance.get_data(picks=names, reject_by_annotation="NaN", verbose="error")[None]
        origin = {"first_samp": instance.first_samp, "annotations": instance.annotations.copy()}
    else:
        values = instance.get_data(picks=names, verbose="error")
        origin = {"tmin": instance.tmin, "events": instance.events.copy(), "event_id": dict(instance.event_id),
                  "metadata": instance.metadata}
    if not values.size:
        raise ValueError(f"No samples: {len(values)} epochs of {len(names)} channels. Were all epochs dropped?")
    scales = _scales(values, info.get_channel_types()) if scale else np.ones(len(names))
    signal = np.empty((len(values), values.shape[2], len(names)), np.float32)
    np.divide(values.swapaxes(1, 2), scales, out=signal, casting="unsafe")
    missing = np.isnan(signal)
    mask = None
    if missing.any():
        mask = (~missing).astype(np.float32)
        signal[missing] = 0.0
    return MneSignals(signal, mask, float(info["sfreq"]), tuple(names), _positions(info), scales, info, origin)


def _picked(mne: Any, info: Any, picks: Any) -> list[str]:
    """Names of the channels that ``picks`` stands for; found on an object without data."""
    empty = mne.io.RawArray(np.zeros((len(info["ch_names"]), 1)), info, verbose="error")
    try:
        return empty.pick(picks, exclude="bads", verbose="error").ch_names
    except ValueError as error:
        raise ValueError(f"No channels for picks={picks!r}: {error} The object has the types "
                         f"{sorted(set(info.get_channel_types()))}; bad are {info['bads']}.") from error


def _scales(values: np.ndarray, types: Sequence[str]) -> np.ndarray:
    """(channels,): the robust standard deviation of each channel's type; 1 where that is 0."""
    scales = np.ones(len(types))
    for kind in set(types):
        mine = [i for i, one in enumerate(types) if one == kind]
        step = max(1, len(mine) * values.shape[0] * values.shape[2] // _SCALE_VALUES)
        seen = values[:, mine, ::step]
        seen = seen[~np.isnan(seen)]
        if seen.size:
            scales[mine] = np.median(np.abs(seen - np.median(seen))) / _NORMAL_MAD or 1.0
    return scales


def _positions(info: Any) -> np.ndarray | None:
    """(channels, 3) in metres, or None where a channel has no place."""
    places = np.array([channel["loc"][:3] for channel in info["chs"]])
    return places if np.isfinite(places).all() and places.any(axis=1).all() else None
