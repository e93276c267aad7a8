"""The course of a denoiser's training: falling learning rates, lines of progress, checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.progress import Progress

from keras_crsae.models.crsae import CRsAE
from keras_crsae.models.serialization import load_crsae
from keras_crsae.training.checkpoint import save_in_fresh_thread

#: Factor of the learning rates where training went back to earlier weights.
BACKTRACK_RATE = 0.8
#: Epochs whose mean loss says what is usual, and so many of them at least.
_EPOCHS, _LEAST_EPOCHS = 10, 3


class Backtracking:
    """Goes back to good weights where the loss of an epoch is far above that of the last ones.

    Args:
        fall_db: ratio of the two losses, in dB, from which on it does.
    """

    def __init__(self, fall_db: float) -> None:
        self.ratio = 10.0 ** (0.1 * fall_db)
        self._losses: list[float] = []
        self._good: list[np.ndarray] = []

    def went_back(self, model: CRsAE, loss: float) -> bool:
        """Look at an epoch's loss; True where the weights, and what the optimisers keep, are older ones again."""
        usual = float(np.mean(self._losses)) if len(self._losses) >= _LEAST_EPOCHS else math.inf
        usual = usual if usual > 0 else math.inf  # an estimate of the error (SURE) may be negative: it tells nothing
        if math.isfinite(loss) and loss <= self.ratio * usual:
            self._losses = [*self._losses[1 - _EPOCHS:], loss]
            if loss <= math.sqrt(self.ratio) * usual:
                self._good = [keras.ops.convert_to_numpy(v) for v in self._variables(model)]
            return False
        for variable, value in zip(self._variables(model) if self._good else (), self._good, strict=True):
            variable.assign(value)
        return bool(self._good)

    @staticmethod
    def _variables(model: CRsAE) -> list[keras.Variable]:
        """All but what counts steps: the crops go on."""
        counters = [v for o in (model.optimizer, model.lambda_optimizer) for v in (o.iterations, o.learning_rate)]
        kept = {id(v) for v in counters} | {id(v) for v in model.training_state.lasting}
        every = [*model.weights, *model.optimizer.variables, *model.lambda_optimizer.variables]
        return [v for v in every if id(v) not in kept]


@dataclass(frozen=True)
class RateSchedule:
    """Factor of the learning rates: rising to 1 over the first steps, flat, then falling to 0 along a cosine.

    Args:
        warm_up_steps: steps over which it rises; 0: it begins with 1.
        flat_share: part of the training before it begins to fall.

    Example:
        >>> from keras_crsae.applications.denoising.training_progress import RateSchedule
        >>> RateSchedule(warm_up_steps=10).factor(step=4, fraction=0.0)
        0.5
    """

    warm_up_steps: int = 0
    flat_share: float = 0.0

    def factor(self, step: int, fraction: float) -> float:
        """The factor of step number ``step`` (from 0) after ``fraction`` of the training."""
        falling = max(0.0, fraction - self.flat_share) / (1.0 - self.flat_share)
        return min(1.0, (step + 1) / max(1, self.warm_up_steps)) * 0.5 * (1.0 + math.cos(math.pi * falling))


class TrainingProgress(keras.callbacks.Callback):
    """Lets both learning rates fall to zero along a cosine of steps or time, reports, and writes checkpoints.

    The rates follow whichever of ``steps`` and ``minutes`` is closer to its end; training stops there.

    Args:
        rates: first learning rates of the model's ``optimizer`` and ``lambda_optimizer``.
        steps: training steps; None: ``minutes`` alone count.
        minutes: time for training, over all resumed runs; None: ``steps`` alone count.
        sigma: noise standard deviation that one unit of the data stands for, from which PSNR follows; None: the loss
            is reported.
        record: of a training that goes on, as ``load_checkpoint`` gives it; None: a new one.
        checkpoint: ``.keras`` file to write, with a ``.json`` beside it; None: none.
        verbose: 0: silent; 1: a line an epoch, and one at the beginning.
        report: None, or called as ``report(step, fraction)`` after each step.
        save_every_seconds: shortest time between two checkpoints.
        clock: seconds that never go back.
        schedule: how the rates rise and fall; None: they fall from the first step on.
        backtrack_db: None, or how far PSNR in training may fall below its mean over the last epochs, before the weights
            of one of these are taken again and the rates fall by a fifth.
    """

    def __init__(self, rates: tuple[float, float], steps: int | None = None, minutes: float | None = None,
                 sigma: float | None = None, record: dict[str, Any] | None = None,
                 checkpoint: str | Path | None = None, verbose: int = 1, report: Progress | None = None,
                 save_every_seconds: float = 120.0, clock: Callable[[], float] = time.monotonic,
                 schedule: RateSchedule | None = None, backtrack_db: float | None = None) -> None:
        super().__init__()
        self.rates, self.steps, self.minutes, self.sigma = tuple(rates), steps, minutes, sigma
        self.record = {"steps": 0, "minutes": 0.0, "history": []} if record is None else record
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.verbose, self.save_every_seconds, self.clock = verbose, save_every_seconds, clock
        self.report, self._reached = report or (lambda step, fraction: None), "the first step takes longest"
        self.schedule = schedule or RateSchedule()
        self.backtracking = None if backtrack_db is None else Backtracking(backtrack_db)
        self._seconds_before = 60.0 * self.record["minutes"]
        self._started, self._saved, self._step = None, 0.0, 0

    def seconds(self) -> float:
        """Time of training so far, over all runs."""
        return self._seconds_before + (0.0 if self._started is None else self.clock() - self._started)

    def fraction(self, step: int) -> float:
        """Part of the training that is done after ``step`` steps, in [0, 1]."""
        return min(1.0, max(0.0 if self.steps is None else step / self.steps,
                            0.0 if self.minutes is None else self.seconds() / (60.0 * self.minutes)))

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._started = self._saved = self.clock()
        self._step = int(self.model.optimizer.iterations)
        self.report(f"train, {self._reached}", 0.0)
        if self.verbose:
            limits = ((self.steps, "steps"), (self.minutes, "min"))
            text = " or ".join(f"{limit:g} {unit}" for limit, unit in limits if limit is not None)
            print(f"training for {text}", flush=True)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        factor = self.schedule.factor(self._step, self.fraction(self._step))
        for optimizer, rate in zip((self.model.optimizer, self.model.lambda_optimizer), self.rates, strict=True):
            optimizer.learning_rate.assign(rate * factor)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._step += 1
        done = self.fraction(self._step)
        self.report(f"train, {self._reached}", done)
        if done >= 1.0:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        loss = logs["reconstruction_loss"]
        row = {"step": self._step, "minutes": self.seconds() / 60, "loss": loss, "sparsity": logs["sparsity"]}
        if self.sigma is not None and not loss < 0:  # an estimate of the error (SURE) may be
            row["psnr"] = -10 * math.log10(max(loss, 1e-30) * self.sigma**2)
        self.record["history"].append(row)
        self.record.update(steps=self._step, minutes=row["minutes"])
        if self.backtracking is not None and self.backtracking.went_back(self.model, loss):
            self.rates = tuple(BACKTRACK_RATE * rate for rate in self.rates)
            row["backtracked"] = True
        self._reached = self._line(row)
        if self.verbose:
            print(self._reached, flush=True)
        if self.clock() - self._saved > self.save_every_seconds:
            self.save()

    def _line(self, row: dict[str, float]) -> str:
        of_steps = "" if self.steps is None else f" of {self.steps}"
        back = ", back to earlier weights" if row.get("backtracked") else ""
        of_minutes = "" if self.minutes is None else f" of {self.minutes:g}"
        quality = f"PSNR {row['psnr']:.2f} dB" if "psnr" in row else f"loss {row['loss']:.4g} sigma^2"
        return (f"step {row['step']}{of_steps}, {row['minutes']:.1f}{of_minutes} min: {quality} in training, "
                f"{row['sparsity']:.1%} of the code non-zero{back}")

    def on_train_end(self, logs: dict | None = None) -> None:
        self.save()

    def save(self) -> None:
        """Write model and record, each of them atomically; without a checkpoint's name nothing is written."""
        self._saved = self.clock()
        if self.checkpoint is None:
            return
        with atomic_write(self.checkpoint) as temporary:
            save_in_fresh_thread(self.model, temporary)
            # The record takes its place first: after a kill between the two, `load_checkpoint` finds it ahead.
            with atomic_write(_record_file(self.checkpoint)) as facts:
                facts.write_text(json.dumps({"rates": list(self.rates), "record": self.record}))


def load_checkpoint(path: str | Path) -> tuple[CRsAE, tuple[float, float], dict[str, Any]]:
    """(model, first learning rates, record) of a training that stopped.

    Args:
        path: the ``.keras`` file; the rest comes from the ``.json`` beside it.

    Raises:
        FileError: either is missing or damaged.
    """
    path = Path(path)
    model, facts = load_crsae(path), _record_file(path)
    try:
        stored = json.loads(facts.read_text())
        rates, record = tuple(stored["rates"]), stored["record"]
        history = record["history"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path} is there, but {facts}, which was written with it, cannot be read "
                        f"({one_line(error)}). Restore it, or delete the checkpoint to begin anew.") from error
    steps = int(model.optimizer.iterations)
    history = [row for row in history if row["step"] <= steps]
    record = {**record, "steps": steps, "minutes": history[-1]["minutes"] if history else 0.0, "history": history}
    return model, rates, record


def _record_file(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".json")
