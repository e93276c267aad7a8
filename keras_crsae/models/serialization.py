"""Load a saved ``CRsAE`` with plain messages for whatever else lies at the path."""

from __future__ import annotations

import json
import os
import zipfile
from typing import TYPE_CHECKING, Any

from crsae_onnx.core.errors import FileError, one_line

from keras_crsae.data.archives import check_archive, check_description, check_weights, read_description
from keras_crsae.data.paths import existing_file

if TYPE_CHECKING:
    from keras_crsae.models.crsae import CRsAE

_PACKAGE, _CLASSES = "keras_crsae>", ("CRsAE", "Denoiser", "CDLNet", "LCSC", "TLAE")


def saved_config(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """(config, metadata) of a ``.keras`` file that holds a ``CRsAE``, read without Keras.

    Args:
        path: file written by ``CRsAE.save``.

    Returns:
        Two dicts: what Keras stores as ``config.json`` and as ``metadata.json``.

    Raises:
        FileError: missing, damaged, no ``.keras`` file, another model, or a description that names code.

    Example:
        >>> import keras_crsae as kc
        >>> from keras_crsae.models.serialization import saved_config
        >>> model = kc.CRsAE(filters=3, kernel_size=45)
        >>> model.build((None, None, 1))
        >>> model.save("model.keras")
        >>> config, metadata = saved_config("model.keras")
        >>> config["config"]["filters"], "keras_version" in metadata
        (3, True)
    """
    path = existing_file(path, "a .keras file written by keras-crsae")
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            config, metadata = (json.loads(read_description(archive, name)) for name in
                                ("config.json", "metadata.json"))
    except FileError:
        raise
    except Exception as error:  # zipfile, zlib and json each raise families of their own on damaged content
        raise FileError(f"{path} is not a .keras file, or damaged ({error}). Expected a file written by "
                        "`keras-crsae train` or CRsAE.save.") from error
    if _class_name(config) is None:
        name = (config.get("registered_name") or config.get("class_name")) if isinstance(config, dict) else None
        raise FileError(f"{path} holds a Keras model of class {name!r}, not a CRsAE.")
    check_description(config, path)
    return config, metadata


def _class_name(config: Any) -> str | None:
    """Name of the class of a description among ``models``; None: it is none of them."""
    name = str(config.get("registered_name") or config.get("class_name")) if isinstance(config, dict) else ""
    own = name.removeprefix(_PACKAGE)
    return own if name.startswith(_PACKAGE) and own in _CLASSES else None


def load_crsae(path: str | os.PathLike) -> CRsAE:
    """The ``CRsAE`` of a ``.keras`` file, loaded in Keras' safe mode (no code of the file is run).

    Before Keras sees the file: its size when unpacked is bounded, names in it stay inside, its description names
    classes of Keras and of this package alone, and its arrays promise no more than it holds.

    Raises:
        FileError: see ``saved_config``; also weights that are missing or of other shapes, and harmful files.

    Example:
        >>> import keras_crsae as kc
        >>> from keras_crsae.models.serialization import load_crsae
        >>> model = kc.CRsAE(filters=3, kernel_size=45)
        >>> model.build((None, None, 1))
        >>> model.save("model.keras")
        >>> load_crsae("model.keras").kernel_size
        (45,)
    """
    name = _class_name(saved_config(path)[0])
    import keras

    from keras_crsae import models

    expected = getattr(models, str(name))  # Keras finds the class among those that were imported
    try:
        with zipfile.ZipFile(path) as archive:
            if "model.weights.h5" in archive.namelist():
                check_weights(archive, "model.weights.h5", path)
        model = keras.saving.load_model(path, safe_mode=True)
    except FileError:
        raise
    except Exception as error:  # Keras, h5py and zipfile each raise families of their own on damaged content
        reason = one_line(error, 300)
        raise FileError(f"{path} looks like a CRsAE, but its content cannot be loaded: {reason}. It is damaged or "
                        "comes from another version of keras-crsae.") from error
    if not isinstance(model, expected) or not model.built:
        raise FileError(f"{path} holds a model without weights. Train or build it before saving.")
    return model


def describe(path: str | os.PathLike) -> dict[str, Any]:
    """What a ``.keras`` file of a ``CRsAE`` holds: sizes, thresholds, how it was trained, versions.

    Returns:
        A dict of plain values, ready for JSON.

    Example:
        >>> import keras_crsae as kc
        >>> from keras_crsae.models.serialization import describe
        >>> model = kc.CRsAE(filters=3, kernel_size=45)
        >>> model.build((None, None, 1))
        >>> model.save("model.keras")
        >>> describe("model.keras")["kernel_size"]
        [45]
    """
    import numpy as np

    _, metadata = saved_config(path)
    model = load_crsae(path)
    dictionary, coding = model.dictionary, model.encoder
    penalty_weight = np.asarray(coding.cell.penalty_weight(), float)
    steps = int(model.optimizer.iterations) if model.compiled else 0
    return {
        "kind": f"CRsAE for {'signals' if model.rank == 1 else 'images'}", "rank": model.rank,
        "channels": dictionary.channels, "filters": dictionary.filters,
        "kernel_size": list(dictionary.kernel_size), "strides": list(dictionary.strides),
        "iterations": coding.iterations, "code_prior": model.get_config()["code_prior"],
        "sigma": float(model.sigma), "lambda_reg": np.asarray(model.lambda_reg, float).tolist(),
        "penalty_weight": penalty_weight.tolist(), "step_size": float(model.step_size),
        "lambda_learning": model.lambda_learning or "none", "sigma_learning": model.sigma_learning,
        "training_steps": steps, "values_resolved_from_data": bool(float(model.training_state.adapted)),
        "saved": metadata.get("date_saved"), "keras_version": metadata.get("keras_version"),
        "config": model.get_config(),
    }
