"""The order of batches as a function of seed, epoch and step, so that stopped training goes on exactly (NumPy)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Seeds lie below this: they are stored in float32 weights, which hold smaller whole numbers exactly.
SEED_BOUND = 2**24


@dataclass(frozen=True)
class BatchOrder:
    """Order of the batches of one epoch.

    Args:
        seed: the random permutation of an epoch is drawn from (seed, epoch).
        epoch: number of the epoch, from 0.
        skip: batches at the beginning of the epoch that were done before and are not read again.

    Example:
        >>> from keras_crsae.data.batch_order import BatchOrder
        >>> BatchOrder(seed=0, epoch=1).indices(4).tolist() == BatchOrder(seed=0, epoch=1).indices(4).tolist()
        True
    """

    seed: int = 0
    epoch: int = 0
    skip: int = 0

    def indices(self, count: int, shuffle: bool = True) -> np.ndarray:
        """Indices 0 ... count - 1 of all items in this order; without ``shuffle`` as they are."""
        return np.random.default_rng([self.seed, self.epoch]).permutation(count) if shuffle else np.arange(count)


def split_indices(indices: np.ndarray, batch_size: int, replicas: int = 1, kept: slice = slice(None)) -> np.ndarray:
    """Cut indices into batches, and each batch into one part for each replica.

    Args:
        indices: (count,) int64.
        batch_size: indices of a batch; the last one may be smaller.
        replicas: parts of a batch.
        kept: the replicas whose parts are returned.

    Returns:
        int64 (batches * kept replicas, ceil(batch_size / replicas)), batch after batch; -1 where there is no index.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data.batch_order import split_indices
        >>> split_indices(np.arange(5), 4, replicas=2, kept=slice(1, 2)).tolist()
        [[2, 3], [-1, -1]]
    """
    batches, width = -(-len(indices) // batch_size), -(-batch_size // replicas)
    full = np.full(batches * batch_size, -1, np.int64)
    full[:len(indices)] = indices
    padded = np.pad(full.reshape(batches, batch_size), ((0, 0), (0, width * replicas - batch_size)),
                    constant_values=-1)
    return padded.reshape(batches, replicas, width)[:, kept].reshape(-1, width)
