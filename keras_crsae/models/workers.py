"""How many passes run at a time on this machine."""

from __future__ import annotations

import os

from crsae_onnx.core.parallel import cores

from keras_crsae.backend import IS_TENSORFLOW, tf

#: Passes over parts of a signal or batch that run at a time, at most; more cores work inside the operators.
MOST_WORKERS = 4


def runs_on_cpu() -> bool:
    """Whether Keras' TensorFlow sees no other device than CPUs."""
    return IS_TENSORFLOW and all(device.device_type == "CPU" for device in tf.config.list_logical_devices())


def available_workers(cpus: int | None = None, on_cpu: bool | None = None) -> int:
    """Number of concurrent passes: 1 on a GPU, else the core count capped by TensorFlow's inter-op thread limit.

    Other backends share the cores by themselves: 1.

    Args:
        cpus: number of cores; None: those of this machine that the process may use.
        on_cpu: whether TensorFlow runs on CPUs alone; None: looked up.
    """
    if not (runs_on_cpu() if on_cpu is None else on_cpu):
        return 1
    cpus = cores() if cpus is None else cpus
    variable = os.environ.get("TF_NUM_INTEROP_THREADS", "")
    limit = tf.config.threading.get_inter_op_parallelism_threads() or (int(variable) if variable.isdigit() else 0)
    return min(limit or cpus, cpus, MOST_WORKERS)
