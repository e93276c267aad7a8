"""Figures of events in trials. Needs the extra ``plots``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_crsae.applications.neural_events.baselines import WIDTHS_MS, condition_labels
from keras_crsae.applications.neural_events.layout import best_psth
from keras_crsae.applications.neural_events.result import NeuralEvents
from keras_crsae.plots.style import COLOURS, colour_of, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Neurons, trials and examples that are drawn at most.
SHOWN_NEURONS, SHOWN_TRIALS, SHOWN_EXAMPLES = 4, 200, 4
#: Bins of the residual over time.
RESIDUAL_BINS = 40


def figures(result: NeuralEvents) -> list[tuple[str, str, Figure]]:
    """[(title, explanation, ``matplotlib.figure.Figure``)] of a report; see ``report.write_report``."""
    drawn = [
        ("Raster and events", "Spikes of each trial (grey), trials in order of their condition; a coloured mark is an "
         "event, at the time at which its kernel starts.", draw_raster(result)),
        ("Rate", "Mean rate of the trials of a condition: smoothed spikes (PSTH, dashed), and the mean of the fitted "
         "rates of single trials.", draw_rate(result)),
        ("Kernels", "What an event adds to eta (the log odds of a spike, or the log rate), for an amplitude of 1.",
         draw_kernels(result)),
        ("Single trials", "Fitted rate of the trials with most events, and without events (dashed). Ticks: spikes. "
         "Triangles: events.", draw_trials(result)),
        ("Events", "Amplitudes, and times within the trial.", draw_events(result)),
        ("Residual by time", "Observed minus expected counts over trials, in standard deviations of the expected ones: "
         "beyond the lines in more than 5 % of the time, the rate is not described.", draw_residual(result)),
    ]
    if result.held_out is not None:
        drawn.append(("Held-out trials", "Log likelihood of each trial that training has not seen, above that of the "
                      "trial-averaged rate. Each bin is predicted from the other bins of its trial.",
                      draw_held_out(result)))
    if result.fitted.history:
        drawn.append(("Training", "Mean negative log likelihood of hidden bins; the last part trains lambda alone.",
                      draw_training(result)))
    return drawn


def _neurons(result: NeuralEvents) -> list[int]:
    """The neurons that are drawn: those with most spikes, in order."""
    spikes = result.counts.counts.sum(axis=(0, 1))
    return sorted(np.argsort(-spikes, kind="stable")[:SHOWN_NEURONS].tolist())


def _order(result: NeuralEvents) -> np.ndarray:
    """Trials in order of their condition."""
    labels = [str(label) for label in condition_labels(result.conditions, len(result.counts.counts))]
    rows = np.argsort(labels, kind="stable")
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), SHOWN_TRIALS)).astype(int)]


def draw_raster(result: NeuralEvents) -> Figure:
    """Spikes and events, a panel for each neuron."""
    counts, neurons, order = result.counts, _neurons(result), _order(result)
    height = min(0.05 * len(order) + 1.2, 5.0)
    figure = new_figure(9.5, height * len(neurons))
    axes = figure.subplots(len(neurons), 1, squeeze=False, sharex=True)[:, 0]
    labels = [str(label) for label in condition_labels(result.conditions, len(counts.counts))]
    row_of = {int(trial): row for row, trial in enumerate(order)}
    size = max(1.5, min(6.0, 250 / len(order)))
    for axis, neuron in zip(axes, neurons, strict=True):
        row, at = np.nonzero(counts.counts[order][:, :, neuron])
        axis.plot(counts.times_ms[at], row, "|", color="0.55", markersize=size, markeredgewidth=0.6)
        for kernel in range(result.kernels.shape[-1]):
            chosen = result.events[np.isin(result.events["neuron"], (neuron, -1)) & (result.events["kernel"] == kernel)]
            shown = [(e["time_ms"], row_of[int(e["trial"])]) for e in chosen if int(e["trial"]) in row_of]
            if shown:
                axis.plot(*np.transpose(shown), "o", color=colour_of(kernel), markersize=0.6 * size,
                          label=f"kernel {kernel}")
        edges = [i + 0.5 for i in range(len(order) - 1) if labels[order[i]] != labels[order[i + 1]]]
        for edge in edges:
            axis.axhline(edge, color="black", linewidth=0.7)
        axis.set(ylabel="trial" if len(neurons) == 1 else f"neuron {neuron}\ntrial", ylim=(len(order) - 0.5, -0.5),
                 xlim=(counts.start_ms, counts.start_ms + counts.duration_ms))
    axes[-1].set_xlabel("time (ms)")
    return figure


def draw_rate(result: NeuralEvents) -> Figure:
    """PSTH and mean fitted rate of each condition, a panel for each neuron."""
    counts, neurons = result.counts, _neurons(result)
    labels = condition_labels(result.conditions, len(counts.counts))
    _, rates = best_psth(counts, result.conditions, WIDTHS_MS)
    figure = new_figure(9.5, 2.6 * len(neurons))
    axes = figure.subplots(len(neurons), 1, squeeze=False, sharex=True)[:, 0]
    for axis, neuron in zip(axes, neurons, strict=True):
        for index, (label, rate) in enumerate(rates.items()):
            rows = [i for i, one in enumerate(labels) if one == label]
            name = "" if label is None else f" {label}"
            axis.plot(counts.times_ms, rate[:, neuron] * 1000 / counts.bin_ms, "--", color=colour_of(index),
                      linewidth=1.0, label=f"PSTH{name}")
            axis.plot(counts.times_ms, result.rates[rows, :, neuron].mean(axis=0), color=colour_of(index),
                      linewidth=1.2, label=f"fitted{name}")
        axis.set(ylabel="rate (Hz)" if len(neurons) == 1 else f"neuron {neuron}\nrate (Hz)", ylim=(0, None))
    axes[0].legend(frameon=False, fontsize=8, ncols=4)
    axes[-1].set_xlabel("time (ms)")
    return figure


def draw_kernels(result: NeuralEvents) -> Figure:
    """Kernels over time."""
    kernels = result.kernels if result.kernels.ndim == 3 else result.kernels[:, None, :]
    time = result.counts.bin_ms * (np.arange(len(kernels)) + 0.5)
    count = kernels.shape[2]
    figure = new_figure(max(4.5, 3.0 * min(count, 3)), 0.5 + 2.3 * -(-count // 3))
    axes = figure.subplots(-(-count // 3), min(count, 3), squeeze=False, sharey=True).ravel()
    for axis in axes[count:]:
        axis.set_visible(False)
    for kernel, axis in enumerate(axes[:count]):
        for neuron in range(kernels.shape[1]):
            axis.plot(time, kernels[:, neuron, kernel], linewidth=1.5 if kernels.shape[1] == 1 else 1.0,
                      color=colour_of(kernel if kernels.shape[1] == 1 else neuron), label=f"neuron {neuron}")
        events = int((result.events["kernel"] == kernel).sum())
        axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axis.set_title(f"kernel {kernel}: {events} events", fontsize=9)
        if 1 < kernels.shape[1] <= 8 and kernel == 0:
            axis.legend(frameon=False, fontsize=7)
    figure.supxlabel("time from the event (ms)", fontsize=9)
    figure.supylabel("change of eta", fontsize=9)
    return figure


def draw_trials(result: NeuralEvents) -> Figure:
    """Fitted rates of single trials."""
    counts, rates, baseline = result.counts, result.rates, result.baseline_hz
    together = result.parameters.neurons == "together"
    pairs = list(dict.fromkeys(zip(result.events["trial"].tolist(), result.events["neuron"].tolist(), strict=True)))
    number = {pair: int(((result.events["trial"] == pair[0]) & (result.events["neuron"] == pair[1])).sum())
              for pair in pairs}
    chosen = sorted(number, key=lambda pair: (-number[pair], pair))[:SHOWN_EXAMPLES] or [(0, -1 if together else 0)]
    figure = new_figure(9.5, 1.7 * len(chosen))
    axes = figure.subplots(len(chosen), 1, squeeze=False, sharex=True)[:, 0]
    for axis, (trial, neuron) in zip(axes, chosen, strict=True):
        shown = _neurons(result)[0] if neuron < 0 else neuron
        axis.plot(counts.times_ms, rates[trial, :, shown], color=COLOURS[0], linewidth=1.1)
        axis.plot(counts.times_ms, baseline[trial, :, shown], "--", color="0.4", linewidth=0.9)
        top = 1.25 * max(float(rates[trial, :, shown].max()), 1.0)
        at = np.flatnonzero(counts.counts[trial, :, shown])
        axis.plot(counts.times_ms[at], np.full(len(at), 0.95 * top), "|", color="0.3", markersize=5)
        here = result.events[(result.events["trial"] == trial) & (result.events["neuron"] == neuron)]
        for kernel in range(result.kernels.shape[-1]):
            times = here["time_ms"][here["kernel"] == kernel]
            axis.plot(times, np.zeros(len(times)), "^", color=colour_of(kernel), markersize=6, clip_on=False)
        axis.set(ylim=(0, top), xlim=(counts.start_ms, counts.start_ms + counts.duration_ms))
        axis.set_ylabel(f"trial {trial}" + ("" if counts.counts.shape[2] == 1 else f"\nneuron {shown}"), fontsize=8)
    axes[-1].set_xlabel("time (ms)")
    figure.supylabel("rate (Hz)", fontsize=9)
    return figure


def draw_events(result: NeuralEvents) -> Figure:
    """Histograms of amplitudes and of times."""
    counts = result.counts
    figure = new_figure(9.5, 2.8)
    left, right = figure.subplots(1, 2)
    edges = np.linspace(counts.start_ms, counts.start_ms + counts.duration_ms, 61).tolist()
    for kernel in range(result.kernels.shape[-1]):
        chosen = result.events[result.events["kernel"] == kernel]
        left.hist(chosen["amplitude"], bins=30, histtype="step", color=colour_of(kernel), label=f"kernel {kernel}")
        right.hist(chosen["time_ms"], bins=edges, histtype="step", color=colour_of(kernel))
    left.set(xlabel="amplitude (largest change of eta)", ylabel="events")
    right.set(xlabel="time (ms)", ylabel="events")
    left.legend(frameon=False, fontsize=8)
    return figure


def residual_by_time(result: NeuralEvents, bins: int = RESIDUAL_BINS) -> tuple[np.ndarray, np.ndarray]:
    """(times in ms, standardised residual): sums over trials and neurons in ``bins`` parts of the trial."""
    counts = result.counts
    mean = result.rates * counts.bin_ms / 1000
    size = counts.trials_per_bin
    variance = mean if size is None else mean * (1 - mean / size)
    parts = np.array_split(np.arange(counts.counts.shape[1]), min(bins, counts.counts.shape[1]))
    rest = [(counts.counts[:, p] - mean[:, p]).sum() / np.sqrt(max(variance[:, p].sum(), 1e-12)) for p in parts]
    return np.array([counts.times_ms[p].mean() + counts.bin_ms / 2 for p in parts]), np.array(rest)


def draw_residual(result: NeuralEvents) -> Figure:
    """``residual_by_time``."""
    time, rest = residual_by_time(result)
    figure = new_figure(9.5, 2.6)
    axis = figure.subplots()
    axis.axhspan(-1.96, 1.96, color="0.93", zorder=0)
    axis.axhline(0, color="0.7", linewidth=0.8)
    axis.plot(time, rest, "o-", color=COLOURS[0], markersize=3.5, linewidth=0.9)
    axis.set(xlabel="time (ms)", ylabel="residual (sd)", ylim=(-max(3, np.abs(rest).max() * 1.1),
                                                               max(3, np.abs(rest).max() * 1.1)))
    return figure


def draw_held_out(result: NeuralEvents) -> Figure:
    """Log likelihood of held-out trials above the PSTH's."""
    scores: Any = result.held_out
    figure = new_figure(9.5, 2.8)
    axis = figure.subplots()
    order = np.argsort(scores.model - scores.psth)
    axis.plot((scores.model - scores.psth)[order], "o", color=COLOURS[0], markersize=4,
              label=f"events: mean {scores.gain:+.2f} +- {scores.gain_error:.2f}")
    for index, (name, values) in enumerate((("constant rate", scores.constant), ("PSTH x trial gain",
                                                                                scores.trial_gain)), start=1):
        rest = values - scores.psth
        axis.plot(rest[order], ".", color=COLOURS[index], markersize=4, label=f"{name}: mean {rest.mean():+.2f}")
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set(xlabel="trial, in order", ylabel="nats above the PSTH")
    axis.legend(frameon=False, fontsize=8)
    return figure


def draw_training(result: NeuralEvents) -> Figure:
    """Loss over steps."""
    figure = new_figure(7.5, 2.6)
    axis = figure.subplots()
    history = np.asarray(result.fitted.history)
    axis.plot(np.arange(1, len(history) + 1), history, ".", color="0.7", markersize=3)
    width = min(15, len(history))
    axis.plot(np.arange(width, len(history) + 1), np.convolve(history, np.ones(width) / width, "valid"),
              color=COLOURS[0])
    axis.set(xlabel="step", ylabel="nats a bin")
    return figure
