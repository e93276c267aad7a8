"""Images without their noise: their slow part apart, sparse code of the rest, mean over the stride's shifts."""

import os
from functools import partial
from pathlib import Path

import numpy as np
from crsae_onnx.core.cycle_spinning import average_over_shifts, spread_shifts
from crsae_onnx.core.spec import DenoiserSpec, effective_sigma
from crsae_onnx.core.validation import as_positive

from keras_crsae.data.images import unit_image
from keras_crsae.initializers import robust_sigma

#: Width (standard deviation, in pixels) of the Gaussian that takes the slow part of an image, where the model does not
#: say what it was trained with.
LOW_PASS = DenoiserSpec().low_pass
#: Side of the pieces in which large images are denoised, in pixels; memory is that of one piece.
TILE = 512
#: Pixels around a tile that are computed and thrown away, in kernel sizes. Measured: see ``tests``.
_HALO = 3
#: Noise that is supposed where none is found but pixels are missing: half a grey level of 255.
_LEAST_NOISE = 0.5 / 255


def denoise(image, model="denoise-gray", sigma=None, low_pass=None, shifts=None, mask=None, tile=TILE):
    """Remove white noise from an image, and fill in pixels that are missing.

    The slow part of the image (its mean, or a Gaussian blur, as in the model's training) is kept as it is; the model
    reconstructs the rest at the threshold of the image's own noise level, lambda * sigma of the model kept. A model
    with strides above 1 sees shifts of the image below its stride, and their reconstructions are averaged (Simon and
    Elad, arXiv 1909.05742).

    Args:
        image: (height, width) or (height, width, channels); uint8, uint16 or floats in [0, 1]. Of 2 or 4 channels
            the last is transparency, which is kept as it is (unless the model has as many channels).
        model: name of a zoo model, ``CRsAE`` of rank 2, the path of its ``.keras`` file, or a
            ``crsae_onnx.SparseEncoder`` of one. A model of one channel takes each colour by itself.
        sigma: standard deviation of the noise, in units of [0, 1] (25 of 255 grey levels: 25 / 255);
            None: estimated from the finest diagonal wavelet coefficients.
        low_pass: standard deviation of the blur in pixels (see ``split``); None: the model's own.
        shifts: None: all shifts of the stride's grid are averaged; n: only n of them, far from each other. Time is in
            proportion.
        mask: None or 0/1 of (height, width) or the image's shape; 0 marks a missing pixel, which enters nothing.
        tile: side of the pieces that are computed at a time, in pixels; None: the image in one piece.

    Returns:
        Image of the same shape and dtype, in the same range. Where the estimated noise is zero and nothing is
        missing, a copy.

    Raises:
        ValueError: another dtype, shape or range; NaN; a model of signals; channels that do not fit; sigma <= 0; an
            unfit mask, or an exported file that takes none.

    Example:
        >>> clean = denoise(noisy, "denoiser.keras", sigma=25 / 255)
    """
    array = as_unit_image(image)
    reconstruct, facts = runner(model)
    if sigma is not None:
        sigma = as_positive(sigma, "sigma")
    if facts["rank"] != 2:
        raise ValueError("`model` must be a model of images (rank 2). Received: a model of signals (rank "
                         f"{facts['rank']}).")
    alpha = None
    if array.shape[-1] in (2, 4) and array.shape[-1] != facts["channels"]:
        array, alpha = array[..., :-1], array[..., -1:]
    planes = _planes(array, facts["channels"])
    observed = None if mask is None else _planes(_as_mask(mask, array.shape), facts["channels"])
    shifts = spread_shifts(facts["strides"], shifts)
    if tile is not None:
        tile = int(as_positive(tile, "tile"))
    if sigma is None:
        sigma = robust_sigma(planes, 2, observed) if min(array.shape[:2]) > 1 else 0.0
        if not sigma > 0 and observed is None:
            return np.array(image)
        sigma = max(sigma, _LEAST_NOISE) if observed is not None else sigma
    sigma = effective_sigma(sigma, facts["sigma_power"])
    low, rest = split(planes, facts["low_pass"] if low_pass is None else low_pass, observed)
    if not facts["low_pass"]:
        seen = np.ones_like(rest) if observed is None else observed
        mean = (rest * seen).sum(axis=(1, 2, 3), keepdims=True) / np.maximum(
            seen.sum(axis=(1, 2, 3), keepdims=True), 1)
        low, rest = low + mean, rest - mean
    clean = low + _in_tiles(partial(reconstruct, sigma=sigma), rest, observed, facts, shifts, tile)
    clean = clean[0] if facts["channels"] == array.shape[-1] else np.moveaxis(clean[..., 0], 0, -1)
    return _as_given(clean if alpha is None else np.concatenate([clean, alpha], axis=-1), image)


def split(images, low_pass=LOW_PASS, mask=None):
    """(slow part, rest) of images; filters are learned on the rest.

    Args:
        images: (batch, height, width, channels).
        low_pass: standard deviation of the Gaussian blur in pixels; 0: the slow part is zero.
        mask: None or 0/1 of the images' shape; missing pixels take the blur of the observed ones.

    Returns:
        Two float32 arrays of the images' shape, whose sum they are.

    Raises:
        ValueError: a negative or infinite ``low_pass``.

    Example:
        >>> slow, rest = split(np.ones((1, 16, 16, 1)))
        >>> bool(np.allclose(rest, 0, atol=1e-6))
        True
    """
    from scipy.ndimage import gaussian_filter

    images = np.asarray(images, np.float32)
    if not low_pass:
        return np.zeros_like(images), images
    width = as_positive(low_pass, "low_pass")

    def blur(array):
        return gaussian_filter(array, (0, width, width, 0), mode="reflect")

    low = blur(images) if mask is None else blur(images * mask) / np.maximum(blur(mask), 1e-3)
    return low, images - low


def _in_tiles(reconstruct, images, mask, facts, shifts, tile):
    """``average_over_shifts`` piece by piece; the halo around a piece is wider than what reaches into it."""
    kernel_size, strides = facts["kernel_size"], facts["strides"]
    run = partial(average_over_shifts, reconstruct, kernel_size=kernel_size, strides=strides, shifts=shifts)
    if tile is None or all(n <= tile for n in images.shape[1:3]):
        return run(images, mask=mask)
    # Whole strides, so that a few shifts lie on the same grid in every tile.
    steps = [-(-tile // s) * s for s in strides]
    halos = [-(-_HALO * k // s) * s for k, s in zip(kernel_size, strides, strict=True)]
    out = np.empty(images.shape, np.float32)
    for row in range(0, images.shape[1], steps[0]):
        for column in range(0, images.shape[2], steps[1]):
            first = [max(0, at - halo) for at, halo in zip((row, column), halos, strict=True)]
            piece = (slice(None), *(slice(a, at + step + halo) for a, at, step, halo in
                                    zip(first, (row, column), steps, halos, strict=True)))
            made = run(images[piece], mask=None if mask is None else mask[piece])
            inner = tuple(slice(at - a, at - a + step) for a, at, step in
                          zip(first, (row, column), steps, strict=True))
            out[:, row:row + steps[0], column:column + steps[1]] = made[(slice(None), *inner)]
    return out


def as_unit_image(image):
    """An image as float32 (height, width, channels) in units of [0, 1], or a ValueError."""
    array = np.asarray(image)
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise ValueError(f"`image` must be uint8, uint16 or floats in [0, 1]. Received: dtype {array.dtype}. "
                         "Convert it first, for example image.astype('float32') / image.max().")
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError("`image` must be one image (height, width) or (height, width, channels). "
                         f"Received: shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError("`image` holds NaN or infinite values. Fill them first.")
    if array.dtype.kind == "f" and (array.min() < -2 or array.max() > 3):
        raise ValueError(f"`image` holds floats from {array.min():.4g} to {array.max():.4g}. Expected grey levels in "
                         "[0, 1] (noise may reach beyond): divide by the largest level.")
    return unit_image(array[..., None] if array.ndim == 2 else array)


def _as_given(clean, image):
    """Back to the dtype, shape and range of the image given."""
    image = np.asarray(image)
    clean = np.clip(clean, 0.0, 1.0)
    if image.dtype.kind == "u":
        clean = np.rint(clean.astype(np.float64) * np.iinfo(image.dtype).max)
    return clean.astype(image.dtype).reshape(image.shape)


def _planes(array, channels):
    """Batch (n, height, width, channels) for a model of ``channels``: one image, or one for each colour."""
    if array.shape[-1] == channels:
        return array[None]
    if channels == 1:
        return np.moveaxis(array, -1, 0)[..., None]
    raise ValueError(f"The model was trained on images of {channels} channels. Received: {array.shape[-1]} channels.")


def _as_mask(mask, shape):
    """0/1 float32 of the image's shape (height, width, channels)."""
    mask = np.asarray(mask)
    if mask.shape not in (shape, shape[:2], (*shape[:2], 1)) or not np.isin(mask, (0, 1)).all() or not mask.any():
        raise ValueError(f"`mask` must hold 0 and 1 (not 0 alone) in the image's shape {shape} or {shape[:2]}. "
                         f"Received: shape {mask.shape}, {mask.dtype}.")
    return np.broadcast_to(mask[..., None] if mask.ndim == 2 else mask, shape).astype(np.float32)


def runner(model):
    """How ``denoise`` runs a model.

    Args:
        model: a ``CRsAE`` of images, the path of its file, a ``crsae_onnx.SparseEncoder`` or the name of a zoo model.

    Returns:
        ``run(batch, sigma, mask=None)`` -> reconstruction of one grid, and a dict of facts: rank, channels,
        kernel_size, strides, low_pass, sigma_power.

    Raises:
        ValueError: another object, or a model without filters.

    Example:
        >>> run, facts = runner("denoise-gray")
        >>> facts["sigma_power"]
        0.17
    """
    if isinstance(model, str | os.PathLike):
        model = _loaded(model)
    if hasattr(model, "info") and hasattr(model, "reconstruct"):
        facts = model.info
        own = facts["sigma"]

        def run(y, sigma, mask=None):
            # In units of the model's sigma: its threshold is then the image's.
            scaled = y * np.float32(own / sigma)
            return model.reconstruct(scaled, **({} if mask is None else {"mask": mask})) * np.float32(sigma / own)

        config = {"low_pass": LOW_PASS, "sigma_power": 0.0, **facts.get("config", {})}
        return run, {**facts, **{name: config[name] for name in ("low_pass", "sigma_power")}}
    from keras_crsae.models.crsae import CRsAE

    if not isinstance(model, CRsAE):
        raise ValueError("`model` must be a CRsAE, the path of its .keras file or a crsae_onnx.SparseEncoder. "
                         f"Received: {type(model).__name__}.")
    if not model.built:
        raise ValueError("The model has no filters yet: fit it, or load a trained one.")
    dictionary = model.dictionary
    facts = {"rank": model.rank, "channels": dictionary.channels, "kernel_size": dictionary.kernel_size,
             "strides": dictionary.strides, "low_pass": getattr(model, "low_pass", LOW_PASS),
             "sigma_power": getattr(model, "sigma_power", 0.0)}
    return lambda y, sigma, mask=None: model.reconstruct(y, mask=mask, sigma=sigma), facts


def _loaded(model):
    """Model of a path, or of a zoo name (a word without suffix)."""
    from keras_crsae.models.serialization import load_crsae

    path = Path(model)
    if not path.suffix and path.name == str(model) and not path.exists():
        from keras_crsae.zoo import load_model_from_zoo

        return load_model_from_zoo(str(model))
    return load_crsae(path)
