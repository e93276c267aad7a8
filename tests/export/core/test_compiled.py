"""Functions become machine code where numba is installed, and stay what they are elsewhere."""

import numpy as np
from crsae_onnx.core import compiled as module


def total(values):
    out = 0.0
    for value in values:
        out += value
    return out


def test_a_function_gives_the_same_compiled_or_not(monkeypatch):
    values = np.arange(10.0)
    assert module.compiled(total)(values) == total(values) == 45
    monkeypatch.setattr(module, "can_compile", lambda: False)
    assert module.compiled(total) is total
