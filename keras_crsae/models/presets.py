"""Presets: a trained model by a name of the zoo or from a folder, and the folder as model hubs have it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError

from keras_crsae.data import zoo_files
from keras_crsae.data.paths import MODEL_FILE, existing_file, size_text
from keras_crsae.models.serialization import load_crsae

if TYPE_CHECKING:
    from keras_crsae.models.crsae import CRsAE

#: Files of a preset. Keras' own files of a hub's folder, config.json, metadata.json and model.weights.h5, are others.
CARD, MODEL, ONNX = zoo_files.CARD, MODEL_FILE, "onnx/model.onnx"
_REMOTE = re.compile(r"^([a-z][a-z0-9+.-]*)://(.*)$")
_TAGS = ("keras", "keras-crsae", "sparse-coding", "convolutional-dictionary-learning")


class Presets:
    """``from_preset`` and ``save_to_preset`` of a model, as KerasHub names them."""

    @classmethod
    def from_preset(cls, preset: str | os.PathLike[str]) -> Self:
        """A trained model of the zoo, or of a folder or file on this machine. Nothing is downloaded.

        Args:
            preset: a name of ``zoo.names()``; a folder that ``save_to_preset`` wrote, or that was fetched from a hub;
                or a ``.keras`` file. What exists as a path counts as one.

        Returns:
            The model, whose class is that of the file: ``cls``, or one that ``cls`` stands for (a ``Denoiser``: any
            model of images).

        Raises:
            FileError: an address, a name that is neither, a damaged file, or a model of another kind.

        Example:
            >>> import keras_crsae as kc
            >>> kc.Denoiser.from_preset("denoise-gray-25").kernel_size
            (8, 8)
        """
        model: Any = load_crsae(preset_file(preset))
        if not cls.stands_for(model):
            raise FileError(f"{preset} holds a {type(model).__name__}, which is no {cls.__name__}. Use "
                            f"{type(model).__name__}.from_preset.")
        return model

    @classmethod
    def stands_for(cls, model: Any) -> bool:
        """Whether ``from_preset`` of this class may return ``model``."""
        return isinstance(model, cls)

    def save_to_preset(self: Any, folder: str | os.PathLike[str], card: str | os.PathLike[str] | None = None,
                       onnx: str | os.PathLike[str] | None = None, license: str | None = None,
                       overwrite: bool = False) -> Path:
        """Write a folder that can be given to others as it is, or uploaded to a model hub.

        It holds ``README.md`` (the card, with the front matter that the Hugging Face hub reads), ``model.keras`` for
        ``from_preset``, and ``onnx/model.onnx`` where ``onnx`` is given.

        Args:
            folder: to write; made if missing.
            card: text in Markdown, or the path of a file of it; None: sizes, training settings and use, without
                figures. Its own front matter is kept.
            onnx: a file that ``crsae_onnx.convert.convert`` wrote of this model.
            license: of the model, as the hub names it ("cc-by-4.0", "mit"); None: not stated.
            overwrite: replace these files in a folder that is not empty; without ``onnx`` its ONNX file, which is of
                another model, is removed.

        Returns:
            The folder.

        Raises:
            FileError: a file, a folder that is not empty, or a missing file.
            ValueError: the model is not built, or another form of a licence.

        Example:
            >>> import keras_crsae as kc
            >>> model = kc.Denoiser(4, 5, iterations=2)
            >>> model.build((None, None, None, 1))
            >>> folder = model.save_to_preset("my-denoiser", license="cc-by-4.0")
            >>> sorted(path.name for path in folder.iterdir()), kc.Denoiser.from_preset("my-denoiser").filters
            (['README.md', 'model.keras'], 4)
        """
        self.check_built()
        folder = Path(folder)
        text = with_front_matter(_card_text(card, self, folder.resolve().name, onnx), self.rank, license)
        if onnx is not None:
            onnx = existing_file(onnx, "an .onnx file of this model, as crsae_onnx.convert.convert writes it")
        check_preset_folder(folder, overwrite)
        (folder / ONNX if onnx is not None else folder / CARD).parent.mkdir(parents=True, exist_ok=True)
        if onnx is None:  # what is there is of another model, and would be taken for this one
            (folder / ONNX).unlink(missing_ok=True)
        with atomic_write(folder / MODEL) as temporary:
            self.save(temporary)
        if onnx is not None:
            with atomic_write(folder / ONNX) as temporary:
                shutil.copyfile(onnx, temporary)
        with atomic_write(folder / CARD) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return folder


def check_preset_folder(folder: str | os.PathLike[str], overwrite: bool = False) -> None:
    """FileError where ``save_to_preset`` could not write, or would mix its files with others."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder} is a file, and a preset is a folder. Choose another name.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise FileError(f"{folder} is not an empty folder. Choose another, or pass overwrite=True (on the command line "
                        f"--overwrite), which replaces {CARD}, {MODEL} and {ONNX} in it.")


def preset_file(preset: str | os.PathLike[str]) -> Path:
    """Path of the ``.keras`` file that a zoo name, a folder or a file stands for.

    Raises:
        FileError: see ``Presets.from_preset``.

    Example:
        >>> from keras_crsae.models.presets import preset_file
        >>> preset_file("denoise-gray").name
        'model.keras'
    """
    address = _REMOTE.match(str(preset))
    if address:
        name = address.group(2).strip("/") or "USER/NAME"
        raise FileError(f"{preset} is an address, and keras-crsae downloads nothing. Fetch the folder once, such as by "
                        f"`hf download {name} --local-dir FOLDER` (pip install huggingface_hub), and give FOLDER.")
    path = Path(preset)
    if path.is_dir():
        if not (path / MODEL).is_file():
            raise FileError(f"The folder {path} has no {MODEL}. Expected one that save_to_preset wrote.")
        return path / MODEL
    if path.exists() or path.suffix or path.name != str(preset):
        return existing_file(path, f"a .keras file, or a folder with {MODEL}")
    return zoo_files.path_of(str(preset))


def with_front_matter(card: str, rank: int, license: str | None = None) -> str:
    """A card with the lines of YAML that a model hub reads; one that has them already as it is.

    Args:
        card: Markdown.
        rank: 1 (signals) or 2 (images).
        license: None, or the hub's name of it.

    Raises:
        ValueError: a licence of another form, or one beside that of the card's own front matter.

    Example:
        >>> from keras_crsae.models.presets import with_front_matter
        >>> print(with_front_matter("# m", rank=2, license="mit").splitlines()[1:4])
        ['library_name: keras-crsae', 'license: mit', 'pipeline_tag: image-to-image']
    """
    if license is not None and not re.fullmatch(r"[a-z0-9.-]+", license):
        raise ValueError("`license` must be a hub's name of it, of lower-case letters, digits, dots and dashes, such "
                         f"as 'cc-by-4.0'. Received: {license!r}")
    if card.lstrip().startswith("---\n"):
        if license is not None:
            raise ValueError("The card has front matter of its own: write the licence there, or omit `license`.")
        return card.lstrip()
    lines = ["library_name: keras-crsae", *([f"license: {license}"] if license else []),
             *(["pipeline_tag: image-to-image"] if rank == 2 else []), "tags:",
             *(f"- {tag}" for tag in (*_TAGS, *(["image-denoising"] if rank == 2 else [])))]
    return "\n".join(["---", *lines, "---", "", card.lstrip().rstrip("\n"), ""])


def _card_text(card: str | os.PathLike[str] | None, model: CRsAE, name: str,
               onnx: str | os.PathLike[str] | None) -> str:
    if card is None:
        return _own_card(model, name, onnx is not None)
    if isinstance(card, os.PathLike) or "\n" not in str(card) and str(card).lower().endswith((".md", ".txt")):
        return existing_file(card, "a card in Markdown").read_text(encoding="utf-8")
    return str(card)


def _own_card(model: CRsAE, name: str, has_onnx: bool) -> str:
    """Card from the model alone: sizes, training, use."""
    kind, settings = type(model).__name__, getattr(model, "training_settings", None) or {}
    count = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    facts = {"loss": settings.get("loss"), "clean images": settings.get("supervised"),
             "crop_pixels": settings.get("crop_pixels"), "batch_size": settings.get("batch_size"),
             "learning_rate": settings.get("learning_rate")}
    training = ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)
    use = [f'clean = denoising.denoise(noisy, model=kc.{"Denoiser" if model.rank == 2 else kind}.from_preset("{name}"))'
           ] if model.rank == 2 else [f'code = kc.{kind}.from_preset("{name}").encode(signal)']
    first = ["import keras_crsae as kc"] + (["from keras_crsae.applications import denoising"]
                                            if model.rank == 2 else [])
    files = [f"- `{MODEL}`: the model for Keras and keras-crsae"] + (
        [f"- `{ONNX}`: the same for onnxruntime"] if has_onnx else [])
    return "\n".join([
        f"# {name}", "",
        f"A `{kind}` of keras-crsae: {model.filters} filters of {size_text(model.kernel_size)}, stride "
        f"{size_text(model.strides)}, {model.encoder.iterations} iterations, {model.dictionary.channels} "
        f"channel{'s' if model.dictionary.channels != 1 else ''}, {count:,} trained parameters.", "",
        "```python", *first, *use, "```", "", *files, "",
        f"Training: {training or 'not recorded in the model'}. What it was trained on and how well it does are for its "
        "author to say here.", ""])
