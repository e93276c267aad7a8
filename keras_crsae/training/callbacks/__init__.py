"""Callbacks for training a CRsAE."""

import logging
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.data.archives import check_archive, check_weights
from keras_crsae.data.paths import check_output
from keras_crsae.training.distribution import several_machines

CENTRES = ("energy", "extremum")


def centring_shifts(filters, strides=1, by="energy", within=1.0, max_loss=0.05):
    """Shifts that bring filters to the middle of their kernels.

    Args:
        filters: (*kernel_size, channels, filters); all channels of a filter move together.
        strides: int or one an axis; only whole strides are shifted, which codes can undo.
        by: "energy" (mean position, weighted by squared values) or "extremum" (largest absolute value).
        within: samples from the middle that are no drift.
        max_loss: largest share of a filter's energy that may be pushed over the kernel's edge; a shift that
            would lose more is shortened.

    Returns:
        (filters, rank) int64; positive moves towards larger positions.

    Raises:
        ValueError: unknown ``by``.

    Example:
        >>> filters = np.zeros((9, 1, 1)); filters[7] = 1.0
        >>> centring_shifts(filters, max_loss=0.0).tolist()
        [[-3]]
    """
    if by not in CENTRES:
        raise ValueError(f"`by` must be one of {CENTRES}. Received: by={by!r}")
    energy = np.square(np.asarray(filters, np.float64)).sum(axis=-2)
    rank = energy.ndim - 1
    strides = np.broadcast_to(strides, (rank,))
    shifts = np.zeros((energy.shape[-1], rank), np.int64)
    for c in range(energy.shape[-1]):
        peak = np.unravel_index(energy[..., c].argmax(), energy.shape[:-1])
        for axis in range(rank):
            profile = energy[..., c].sum(axis=tuple(a for a in range(rank) if a != axis))
            total = profile.sum()
            if total == 0:
                continue
            at = peak[axis] if by == "extremum" else np.arange(len(profile)) @ profile / total
            drift = at - (len(profile) - 1) / 2
            if abs(drift) <= within + 1e-6:  # the mean is rounded
                continue
            steps = int(np.rint(-drift / strides[axis]))
            while steps and _lost(profile, steps * strides[axis]) > max_loss * total:
                steps -= int(np.sign(steps))
            shifts[c, axis] = steps * strides[axis]
    return shifts


def _lost(profile, shift):
    """Energy that a shift pushes over the edge."""
    return profile[len(profile) - shift:].sum() if shift > 0 else profile[:-shift].sum()


def shift_filters(array, shifts):
    """Shift each filter of (*kernel_size, channels, filters) by its row of ``shifts``; zeros move in."""
    out = np.zeros_like(array)
    for c, shift in enumerate(shifts):
        to = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, array.shape, strict=False))
        source = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(shift, array.shape, strict=False))
        out[(*to, slice(None), c)] = array[(*source, slice(None), c)]
    return out


def _moments(model):
    """Of the optimiser's variables those of the kernel's shape: its moments, one value for each of the filters'."""
    shape = tuple(model.dictionary.kernel.shape)
    return [v for v in model.optimizer.variables if tuple(v.shape) == shape] if model.compiled else []


class RecentreFilters(keras.callbacks.Callback):
    """Moves filters that drifted back to the middle of their kernels, between epochs.

    A filter can slide against its code while the fit stays the same (codes slide the other way), until it
    leaves its kernel. After each epoch every filter whose centre lies more than ``within`` samples from the
    middle is shifted there, the optimiser's moments with it, and the step size is refreshed. Signals encoded
    anew then have the same reconstruction, but for what the shift cut off.

    Args:
        by, within, max_loss: see ``centring_shifts``.
        every: epochs between two looks.
        until: last epoch (counted from 1) that may shift; None: all. Later epochs settle undisturbed.

    Example:
        >>> history = model.fit(windows, epochs=10, verbose=0, callbacks=[RecentreFilters()])
    """

    def __init__(self, by="energy", within=1.0, max_loss=0.05, every=1, until=None):
        super().__init__()
        if by not in CENTRES:
            raise ValueError(f"`by` must be one of {CENTRES}. Received: by={by!r}")
        if not 0 <= max_loss < 1 or not within >= 0 or not every >= 1:
            raise ValueError("RecentreFilters: `max_loss` must lie in [0, 1), `within` be 0 or more, `every` 1 or "
                             f"more. Received: max_loss={max_loss!r}, within={within!r}, every={every!r}")
        self.options = dict(by=by, within=within, max_loss=max_loss)
        self.every, self.until = every, until

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0 and (self.until is None or epoch < self.until):
            self.recentre()

    def recentre(self, model=None):
        """Shift now; also without training. Returns the shifts, (filters, rank)."""
        model = self.model if model is None else model
        # Untied kernels move together: the code ties the one to the other.
        kernels = {id(d): d.kernel for d in (model.decoder, model.dictionary)}.values()
        shifts = centring_shifts(keras.ops.convert_to_numpy(model.decoder.kernel), model.dictionary.strides,
                                 **self.options)
        if not shifts.any():
            return shifts
        for variable in _moments(model):
            variable.assign(shift_filters(keras.ops.convert_to_numpy(variable), shifts))
        for kernel in kernels:
            moved = shift_filters(keras.ops.convert_to_numpy(kernel), shifts)
            kernel.assign(moved / np.sqrt(np.square(moved).sum(axis=tuple(range(moved.ndim - 1)))))
        model.encoder.cell.refresh_step_size()
        return shifts


class SaveProgress(keras.callbacks.Callback):
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
        >>> history = model.fit(windows, epochs=3, verbose=0, callbacks=[SaveProgress("progress.keras", every=100)])
    """

    def __init__(self, path, every=None):
        super().__init__()
        self.path, self.every = Path(path), None if every is None else as_positive_int(every, "every")
        self._failed = False

    def restore_into(self, model):
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
        return int(keras.ops.convert_to_numpy(model.position)[0])

    def on_train_batch_end(self, batch, logs=None):
        # The last batch is left to the epoch's end: other callbacks act there.
        last = batch + 1 >= (self.params or {}).get("steps") if (self.params or {}).get("steps") else False
        if self.every is not None and (batch + 1) % self.every == 0 and not last and batch >= self.model.place.skip:
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        self.save()

    def save(self):
        """Save now."""
        if not _first_machine(self.model.distribute_strategy):
            return
        try:
            with atomic_write(self.path) as temporary:
                save_apart(self.model, temporary)
        except (OSError, RuntimeError, ValueError) as error:  # h5py tells a full disk as any of these
            if not self._failed:
                kept = "the file of the save before is whole" if self.path.exists() else "there is no file yet"
                warnings.warn(f"Progress could not be saved to {self.path} ({one_line(error)}); {kept}, and training "
                              "goes on. Free space on the disk or look at the folder's permissions.", stacklevel=2)
            self._failed = True


def _first_machine(strategy):
    return not several_machines(strategy) or strategy.cluster_resolver.task_id == 0


def save_apart(model, path):
    """``model.save(path)`` in a thread of its own: saves that are repeated keep no memory.

    In each save Keras 3.15 makes an optimiser for each of the model's, to list its attributes, and TensorFlow does not
    give back the 35 kB that every new name of a variable costs. Keras counts names thread by thread: in a new thread
    they are the same each time.

    Args:
        model: Keras model.
        path: ``.keras`` file.

    Raises:
        Whatever ``model.save`` raises.

    Example:
        >>> save_apart(model, "model.keras")
    """
    with ThreadPoolExecutor(1) as thread:
        thread.submit(model.save, path).result()


class ReviveFilters(keras.callbacks.Callback):
    """Gives filters that died, or became copies of others, a new start from what the model explains worst.

    After each epoch ``data`` is encoded. A filter is dead where its codes sum to less than ``least`` of the mean over
    filters, and a copy where its correlation with a filter that is used more exceeds ``copies``. Each becomes the
    window of ``data`` with the largest residual energy, not overlapping those taken before; the optimiser's moments
    of it are zeroed, and the step size is refreshed. ``revived`` lists (epoch, filter, reason), the history counts them
    as ``revived_filters``, the logger ``keras_crsae`` tells each.

    Args:
        data: (batch, *space, channels), some of the training data: a few hundred windows.
        least: share of the mean use below which a filter is dead.
        copies: absolute correlation, at no shift, above which two filters are one; None: copies are left.
        until: last epoch (counted from 1) that may revive; None: all. Later epochs settle undisturbed.

    Example:
        >>> history = model.fit(windows, epochs=4, verbose=0, callbacks=[ReviveFilters(windows[:8], until=2)])
    """

    def __init__(self, data, least=1e-3, copies=0.99, until=None):
        super().__init__()
        if not 0 <= least < 1 or (copies is not None and not 0 < copies <= 1):
            raise ValueError("ReviveFilters: `least` must lie in [0, 1), `copies` in (0, 1] or be None. Received: "
                             f"least={least!r}, copies={copies!r}")
        self.data, self.least, self.copies, self.until = np.asarray(data, np.float32), least, copies, until
        self.revived = []

    def on_epoch_end(self, epoch, logs=None):
        if self.until is not None and epoch >= self.until:
            return
        found = self.revive(self.model)
        self.revived += [(epoch, *what) for what in found]
        if logs is not None:
            logs["revived_filters"] = float(len(found))

    def revive(self, model):
        """Revive now; also without training. Returns a list of (filter, "dead" or "copy")."""
        code = model.encode(self.data)
        use = np.abs(code).sum(axis=tuple(range(code.ndim - 1)))
        kernel = keras.ops.convert_to_numpy(model.decoder.kernel).copy()
        found = self._found(use, kernel)
        if not found:
            return found
        residual = self.data - model.decode(code)[tuple(slice(0, n) for n in self.data.shape)]
        for (which, reason), window in zip(found, worst_windows(residual, kernel.shape[:-2], len(found)),
                                           strict=False):
            size = np.linalg.norm(window)
            if not size > 0:  # nothing is left to explain
                continue
            for layer in {id(d): d for d in (model.decoder, model.dictionary)}.values():
                values = keras.ops.convert_to_numpy(layer.kernel).copy()
                values[..., which] = window / size
                layer.kernel.assign(values)
            for variable in _moments(model):
                values = keras.ops.convert_to_numpy(variable).copy()
                values[..., which] = 0
                variable.assign(values)
            logging.getLogger("keras_crsae").info("Filter %d (%s) begins anew from a window of the residual.", which,
                                                  reason)
        model.encoder.cell.refresh_step_size()
        return found

    def _found(self, use, kernel):
        dead = use <= self.least * max(float(use.mean()), 1e-30)
        found = [(int(c), "dead") for c in np.flatnonzero(dead)]
        if self.copies is None:
            return found
        flat = kernel.reshape(-1, kernel.shape[-1])
        alike = np.abs((flat / np.maximum(np.linalg.norm(flat, axis=0), 1e-12)).T @ flat) \
            / np.maximum(np.linalg.norm(flat, axis=0), 1e-12) > self.copies
        kept = []
        for c in np.argsort(-use, kind="stable"):  # the most used of several copies stays
            if dead[c]:
                continue
            if alike[c, kept].any():
                found.append((int(c), "copy"))
            else:
                kept.append(c)
        return found


def worst_windows(residual, size, count):
    """Windows of the largest energy that do not overlap.

    Args:
        residual: (batch, *space, channels).
        size: of a window, one number an axis of space.
        count: windows wanted; there may be room for fewer.

    Returns:
        List of arrays (*size, channels), the strongest first.

    Example:
        >>> residual = np.zeros((1, 9, 1)); residual[0, 4:6] = 1.0
        >>> worst_windows(residual, (3,), 1)[0].ravel().tolist()
        [0.0, 1.0, 1.0]
    """
    energy = np.square(residual.astype(np.float64)).sum(axis=-1)
    for axis, n in enumerate(size, start=1):
        total = np.cumsum(np.moveaxis(energy, axis, 0), axis=0)
        total[n:] = total[n:] - total[:-n]
        energy = np.moveaxis(total[n - 1:], 0, axis)
    energy, windows = energy.copy(), []
    while len(windows) < count and energy.max() > 0:
        at = np.unravel_index(energy.argmax(), energy.shape)
        windows.append(residual[(at[0], *(slice(i, i + n) for i, n in zip(at[1:], size, strict=True)))])
        energy[(at[0], *(slice(max(0, i - n + 1), i + n) for i, n in zip(at[1:], size, strict=True)))] = -1.0
    return windows
