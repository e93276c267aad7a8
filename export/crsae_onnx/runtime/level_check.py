"""A warning where a recording does not fit the noise that a sorter's file was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.core.spikes.noise_level import CHECKED_SAMPLES, level_warning


class LevelCheck:
    """Looks at the beginning of signals for a file that carries a ``SpikeReader``; other files accept any level.

    Args:
        info: facts of the file.
        name: of the file, for the warning.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.runtime.level_check import LevelCheck
        >>> print(LevelCheck({"rank": 2}, "denoiser.onnx").message(np.ones((1, 8, 8, 1))))
        None
    """

    def __init__(self, info: Mapping[str, Any], name: str) -> None:
        self.info, self.name = info, name
        self.active = True  #: False after a warning, and where signals of any level are meant

    @cached_property
    def _reader(self) -> SpikeReader:
        return SpikeReader.from_json(self.info["spikes"])

    def message(self, signal: Any) -> str | None:
        """What is wrong with the noise of a signal (batch, time, channels), or None; see ``core.spikes.noise_level``.
        """
        if "spikes" not in self.info or not signal.shape[0]:
            return None
        beginning = signal[0:1, 0:CHECKED_SAMPLES][0]  # of a file no more is read
        return level_warning(beginning, self._reader.whitening if self.info.get("whitening_inside") else None)

    def warn(self, signal: Any) -> None:
        """Warn of it, once."""
        if self.active and (message := self.message(signal)):
            self.active = False
            warnings.warn(f"{self.name}: {message}", UserWarning, stacklevel=4)
