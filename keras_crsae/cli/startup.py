"""How the command line starts Keras: late and quietly."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from crsae_onnx.core.progress import ProgressBar

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_crsae.models.crsae import CRsAE


class Failure(Exception):
    """The work failed although the input was valid: the command line prints one line, exit status 1."""


def start_keras(shown: bool = False) -> None:
    """Import Keras without TensorFlow's start-up chatter.

    TensorFlow logs to the file descriptor before any of its settings can be made, whatever TF_CPP_MIN_LOG_LEVEL says.

    Args:
        shown: show that TensorFlow starts, which takes some seconds.
    """
    if shown:
        with ProgressBar() as progress:
            progress("start TensorFlow", 0.0)
            return start_keras()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" not in sys.modules and os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        with _silent_stderr():
            import tensorflow

            tensorflow.config.list_physical_devices()  # the search for a GPU complains where there is none
    import keras  # noqa: F401


def load_model(path: str | os.PathLike[str]) -> CRsAE:
    """The ``CRsAE`` of a ``.keras`` file, TensorFlow started quietly: how ``crsae-onnx`` loads models.

    Raises:
        FileError: the file is no ``CRsAE`` (found before TensorFlow starts, where its description says so).
    """
    from keras_crsae.models.serialization import load_crsae, saved_config

    saved_config(path)
    start_keras()
    return load_crsae(path)


def start_workers(workers: Sequence[str] | None, index: int | None, shown: bool = False) -> tf.distribute.Strategy:
    """Keras as one of several machines that train together, or alone.

    Args:
        workers: None, or "host:port" of every machine, the same list on all.
        index: place of this machine in it.
        shown: see ``start_keras``.

    Returns:
        The strategy, in whose scope the model is to be made. It waits for the other machines.
    """
    if workers is not None:
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": list(workers)},
                                              "task": {"type": "worker", "index": index}})
    start_keras(shown)
    import tensorflow as tf

    if workers is None:
        return tf.distribute.get_strategy()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, tf.errors.OpError) as error:
        raise Failure(f"Worker {index} could not start at {workers[index or 0]} or reach the others: {error}. Look at "
                      "the addresses, and that the port is free.") from error


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
