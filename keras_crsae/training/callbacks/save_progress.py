"""Save a model while it trains, and go on from the file after a stop."""

from __future__ import annotations

import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.data.archives import check_archive, check_weights
from keras_crsae.data.paths import check_output
from keras_crsae.training.checkpoint import Checkpoint, save_in_fresh_thread
from keras_crsae.training.distribution import several_machines


class SaveProgress(Checkpoint):
    """Saves the model while it trains; a ``fit`` with it goes on from the file where there is one.

    The file is a ``.keras`` file like any other, and is whole at every moment: a new one is written beside it and
    renamed. It holds the position in the epoch and the seed of the order of batches, so training killed at any time
    and started again ends with the weights of training in one go, for arrays and for datasets whose order depends on
    the epoch alone. Its place among the callbacks does not matter: it acts last.

    A save that fails (disk full) is warned of once; training goes on, and the file before it stays. With several
    machines the first one writes, and all read: the path must be on a disk that they share.

    Args:
        path: ``.keras`` file, in a folder that exists.
        every: batches between two saves; None: only after each epoch.

    Raises:
        FileError: the path cannot be written to, or holds something else; said before training starts.

    Example:
        >>> import keras_crsae as kc
        >>> templates = kc.data.spike_templates(kernel_size=45, filters=3)
        >>> signal = kc.data.simulate_spikes(templates, windows=8, samples=500, events_per_window=2).signal
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, gradient="decoder")
        >>> model.compile()
        >>> save = kc.callbacks.SaveProgress("progress.keras", every=100)
        >>> history = model.fit(signal, epochs=2, verbose=0, callbacks=[save])
    """

    def __init__(self, path: str | os.PathLike, every: int | None = None) -> None:
        super().__init__()
        self.path, self.every = Path(path), None if every is None else as_positive_int(every, "every")
        self._failed = False

    def restore(self, model: Any) -> int | None:
        """Load the file into a model where there is one; ``fit`` calls it. Returns the epoch to go on in, or None."""
        check_output(self.path, (".keras",), overwrite=True)
        if not self.path.exists():
            return None
        try:
            check_archive(self.path)
            with zipfile.ZipFile(self.path) as archive:
                check_weights(archive, "model.weights.h5", self.path)
            model.load_weights(self.path)
        except Exception as error:  # Keras, h5py and zipfile each raise families of their own
            raise FileError(f"{self.path} does not fit this model ({one_line(error)}). Training goes on only with the "
                            "same model and optimisers; choose another path or delete the file to begin anew."
                            ) from error
        return model.training_state.position()[0]

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.every is None:
            return
        _, step = self.model.training_state.position()
        steps = (self.params or {}).get("steps")
        # The last batch is left to the epoch's end: other callbacks act there.
        if step % self.every == 0 and not (steps and step >= steps):
            self.save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.save()

    def save(self) -> None:
        """Save now."""
        if not _first_machine(self.model.distribute_strategy):
            return
        try:
            with atomic_write(self.path) as temporary:
                save_in_fresh_thread(self.model, temporary)
        except (OSError, RuntimeError, ValueError) as error:  # h5py tells a full disk as any of these
            if not self._failed:
                kept = "the file of the save before is whole" if self.path.exists() else "there is no file yet"
                warnings.warn(f"Progress could not be saved to {self.path} ({one_line(error)}); {kept}, and training "
                              "goes on. Free space on the disk or look at the folder's permissions.", stacklevel=2)
            self._failed = True


def _first_machine(strategy: Any) -> bool:
    return not several_machines(strategy) or strategy.cluster_resolver.task_id == 0
