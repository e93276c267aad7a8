"""Callbacks that save training and go on from what they saved: their interface to ``fit``, and how they save."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import keras


class Checkpoint(keras.callbacks.Callback):
    """Base class of callbacks that restore a model before training begins.

    ``fit`` calls ``restore`` once model and optimisers are built, before Keras' loop starts, and runs these callbacks
    after all others, so that they save what the others did. ``SaveProgress`` is one.
    """

    def restore(self, model: keras.Model) -> int | None:
        """Load what was saved into ``model``.

        Returns:
            The epoch in which training goes on, or None where nothing was saved.
        """
        raise NotImplementedError


def save_in_fresh_thread(model: keras.Model, path: str | os.PathLike) -> None:
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
        >>> import keras_crsae as kc
        >>> from keras_crsae.training.checkpoint import save_in_fresh_thread
        >>> model = kc.CRsAE(filters=3, kernel_size=45)
        >>> model.build((None, None, 1))
        >>> save_in_fresh_thread(model, "model.keras")
    """
    with ThreadPoolExecutor(1) as thread:
        thread.submit(model.save, path).result()
