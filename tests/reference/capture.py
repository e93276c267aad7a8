"""Stores the results of the twelve configurations in ``twelve_configurations.npz``, or in the file that is named.

Run from the repository root, on the code whose results are to be kept: ``python -m tests.reference.capture [FILE]``.
"""

import sys
import time
from pathlib import Path

import numpy as np

import keras_crsae
from tests.reference.configurations import CONFIGURATIONS, results

FILE = Path(__file__).with_name("twelve_configurations.npz")


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    print("package:", keras_crsae.__file__)
    stored = {}
    for name in CONFIGURATIONS:
        start = time.perf_counter()
        found = results(name)
        stored |= {f"{name}/{key}": value for key, value in found.items()}
        print(f"{name}: {len(found)} arrays, {time.perf_counter() - start:.1f} s")
    np.savez_compressed(file, **stored)
    print(f"{file}: {len(stored)} arrays, {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
