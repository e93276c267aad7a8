"""Figures of a result as text, for the command line and the report (NumPy)."""

from __future__ import annotations

from typing import Any

import numpy as np


def kernel_table(result: Any) -> dict[str, list[str]]:
    """{column: [text, one a kernel]}: number of events and their amplitudes."""
    count = result.kernels.shape[-1]
    of = [result.events["amplitude"][result.events["kernel"] == k] for k in range(count)]
    trials = len(result.counts.counts) * (1 if result.parameters.neurons == "together"
                                          else result.counts.counts.shape[2])
    peak = [np.abs(result.kernels[..., k]).reshape(len(result.kernels), -1).max(axis=1).argmax() for k in range(count)]
    return {"kernel": [str(k) for k in range(count)], "events": [str(len(a)) for a in of],
            "a trial": [f"{len(a) / trials:.2f}" for a in of],
            "median amplitude": [f"{np.median(a):.2f}" if len(a) else "-" for a in of],
            "extremum (ms)": [f"{result.counts.bin_ms * (p + 0.5):g}" for p in peak]}


def held_out_table(result: Any) -> dict[str, list[str]]:
    """{column: [text, one a candidate]}: mean held-out log likelihood of a trial, and what it is compared with."""
    rows = result.candidates
    return {"kernels": [str(one.kernels) for one in rows], "length (ms)": [f"{one.kernel_ms:g}" for one in rows],
            "events": [f"{one.log_likelihood:.2f}" for one in rows],
            "PSTH": [f"{one.held_out.psth.mean():.2f}" for one in rows],
            "PSTH x trial gain": [f"{one.held_out.trial_gain.mean():.2f}" for one in rows],
            "constant rate": [f"{one.held_out.constant.mean():.2f}" for one in rows],
            "above PSTH": [f"{one.held_out.gain:+.2f} +- {one.held_out.gain_error:.2f}" for one in rows],
            "chosen": ["yes" if one.held_out is result.held_out else "" for one in rows]}
