"""Figures of a sorting result. Needs the extra ``plots``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from crsae_onnx.core.spikes.correlations import pooled_peaks

from keras_crsae.applications.spike_sorting.matching import UnitSpikes, residual
from keras_crsae.applications.spike_sorting.motion import ProbeMotion, sorted_traces
from keras_crsae.applications.spike_sorting.report_panels import unit_panels
from keras_crsae.applications.spike_sorting.report_units import unit_figures
from keras_crsae.applications.spike_sorting.result import SpikeSortingResult
from keras_crsae.plots.style import COLOURS, colour_of, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Seconds of the recording that the spectrum and the code are computed from, where spikes are densest.
STRETCH_SECONDS = 5.0
#: Intervals below it are too short for one neuron.
REFRACTORY_MS = 1.5
#: Channels of a template that are drawn; fewer of more units than ``MANY_UNITS``.
SHOWN_CHANNELS, MANY_UNITS, CHANNELS_OF_MANY = 8, 16, 5
#: Spikes of a unit that are drawn.
SHOWN_SPIKES = 5000


def figures(result: SpikeSortingResult, recording: Any) -> list[tuple[str, str, Figure]]:
    """[(title, explanation, ``matplotlib.figure.Figure``)] of a report; see ``report.write_report``."""
    traces = sorted_traces(result, recording)
    white, rest, amplitudes, maxima = _stretch(result, traces)
    drawn = [
        ("Templates", "Median waveform of each unit in the recording's unit, on its largest channels.",
         draw_templates(result)),
        *unit_figures(result, traces),
        ("Raster", "Every spike of every unit.", draw_raster(result)),
        ("Amplitude over time", "A slow drift is a moving electrode; a cloud cut off below means missed spikes.",
         draw_amplitudes(result)),
        ("Inter-spike intervals", f"Left of the line ({REFRACTORY_MS} ms) a single neuron cannot fire.",
         draw_intervals(result)),
        ("Residual spectrum", "The whitened recording before and after its spikes are subtracted, mean over channels. "
         "Power above the line is not white noise: missed spikes, or noise that is not modelled.",
         draw_spectrum(white, rest, result.sampling_frequency)),
        ("Code maxima", "Local maxima of the code, pooled over adjacent samples, and the amplitudes of the spikes. The "
         "code is shrunk by lambda, so its maxima are lower than the amplitudes fitted to their spikes. A valley "
         "between the maxima near zero and the others means that spikes are well separated from noise.",
         draw_code_maxima(maxima, amplitudes)),
    ]
    if result.motion is not None:
        drawn.insert(1, ("Motion", "How far the tissue moved along the probe, estimated from the depths of spikes. It "
                         "was taken out of the recording before sorting.", draw_motion(result.motion)))
    if result.history:
        drawn.append(("Training", "Mean of each epoch.", draw_training(result.history)))
    return drawn


def _stretch(result: SpikeSortingResult, traces: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(whitened stretch, its residual, amplitudes of its spikes, maxima of its code) where spikes are densest."""
    reader, samples = result.reader, traces.shape[0]
    kernel_size, length = len(reader.kernel), min(samples, round(STRETCH_SECONDS * result.sampling_frequency))
    counts = np.bincount(result.spike_samples // length, minlength=1)[:max(1, samples // length)]
    low = int(counts.argmax()) * length
    white = reader.whitening(traces, low, low + length)
    unit = result.spike_units
    start = result.spike_samples - reader.peak_offset[unit] - low
    amplitude = result.spike_amplitudes / reader.peak_value[unit] * reader.mean_amplitude[unit]
    # Spikes that overlap the border are subtracted, too; the padding is cut off afterwards.
    inside = (start > -kernel_size) & (start < length)
    padded = np.pad(white, ((kernel_size, kernel_size), (0, 0)))
    spikes = UnitSpikes(np.moveaxis(reader.kernel, -1, 0), start[inside] + kernel_size, unit[inside],
                           amplitude[inside])
    code = result.model.encode(white[None])[0]
    _, _, maxima = pooled_peaks(code, np.zeros(code.shape[1]))
    return white, residual(padded, spikes)[kernel_size:-kernel_size], amplitude[inside], maxima


def draw_templates(result: SpikeSortingResult) -> Figure:
    """Median waveforms, a panel for each unit, on its largest channels."""
    templates = result.templates
    time = 1e3 * (np.arange(templates.shape[1]) - result.nbefore) / result.sampling_frequency
    several = templates.shape[2] > 1
    shown = min(SHOWN_CHANNELS if len(templates) <= MANY_UNITS else CHANNELS_OF_MANY, templates.shape[2])
    figure, axes = unit_panels(len(templates), height=1.5 + 0.25 * shown, sharex=True, sharey=not several)
    for unit, axis in enumerate(axes):
        channels = np.sort(np.argsort(-np.abs(templates[unit]).max(axis=0), kind="stable")[:shown])
        step = 1.1 * np.ptp(templates[unit], axis=0).max() if several else 0.0
        for row, channel in enumerate(channels):
            axis.plot(time, templates[unit, :, channel] - row * step, color=colour_of(unit), linewidth=1.3)
        axis.axvline(0, color="0.85", linewidth=0.8, zorder=0)
        if several:
            axis.set_yticks(-step * np.arange(shown), [f"ch {c}" for c in channels])
            axis.text(0.98, 0.01, f"step {step:.3g}", transform=axis.transAxes, ha="right", fontsize=7, color="0.4")
    figure.supxlabel("time from the extremum (ms)", fontsize=9)
    if not several:
        figure.supylabel("amplitude", fontsize=9)
    return figure


def draw_motion(motion: ProbeMotion) -> Figure:
    """Displacement of the tissue over time, a line for each depth, the segments one after another."""
    figure = new_figure(9.5, 2.6)
    axis, begin = figure.subplots(), 0.0
    for seconds, displacement in zip(motion.seconds, motion.displacement_um, strict=True):
        for depth in range(displacement.shape[1]):
            axis.plot(begin + seconds - seconds[0], displacement[:, depth], color=colour_of(depth), linewidth=1.2,
                      label=f"{motion.depths_um[depth]:.0f} µm" if not begin else None)
        begin += float(seconds[-1] - seconds[0])
    axis.set(xlabel="time (s)", ylabel="displacement (µm)")
    if len(motion.depths_um) > 1:
        axis.legend(title="depth", fontsize=8, frameon=False, ncols=2)
    return figure


def _unit_spikes(result: SpikeSortingResult, unit: int) -> tuple[np.ndarray, np.ndarray]:
    """(seconds, amplitudes) of a unit's spikes, in order of time, evenly thinned where they are very many."""
    rows = np.flatnonzero(result.spike_units == unit)
    rows = rows[np.argsort(result.spike_samples[rows], kind="stable")]
    if len(rows) > SHOWN_SPIKES:
        rows = rows[np.linspace(0, len(rows) - 1, SHOWN_SPIKES).astype(int)]
    return result.spike_samples[rows] / result.sampling_frequency, result.spike_amplitudes[rows]


def draw_raster(result: SpikeSortingResult) -> Figure:
    """Spike times, a row for each unit."""
    figure = new_figure(9.5, 1.2 + 0.28 * result.num_units)
    axis = figure.subplots()
    for unit in range(result.num_units):
        seconds, _ = _unit_spikes(result, unit)
        axis.plot(seconds, np.full(len(seconds), unit), "|", color=colour_of(unit), markersize=9, markeredgewidth=0.7)
    axis.set(xlabel="time (s)", ylabel="unit", yticks=range(result.num_units), ylim=(result.num_units - 0.5, -0.5),
             xlim=(0, result.recording_samples / result.sampling_frequency))
    return figure


def draw_amplitudes(result: SpikeSortingResult) -> Figure:
    """Amplitudes over time, a panel for each unit."""
    figure, axes = unit_panels(result.num_units, sharex=True)
    for unit, axis in enumerate(axes):
        seconds, amplitudes = _unit_spikes(result, unit)
        axis.plot(seconds, amplitudes, ".", color=colour_of(unit), markersize=2.5)
        low, high = axis.get_ylim()
        axis.set(xlim=(0, result.recording_samples / result.sampling_frequency), ylim=(min(low, 0), max(high, 0)))
    figure.supxlabel("time (s)", fontsize=9)
    figure.supylabel("amplitude (recording's unit)", fontsize=9)
    return figure


def draw_intervals(result: SpikeSortingResult, longest_ms: float = 50.0) -> Figure:
    """Histograms of the inter-spike intervals, a panel for each unit."""
    figure, axes = unit_panels(result.num_units, sharex=True)
    for unit, axis in enumerate(axes):
        train = np.sort(result.spike_samples[result.spike_units == unit])
        interval = 1e3 * np.diff(train) / result.sampling_frequency
        axis.hist(interval, bins=np.arange(0, longest_ms + 0.5, 0.5), color=colour_of(unit))
        axis.axvline(REFRACTORY_MS, color="black", linewidth=0.8, linestyle="--")
        axis.set_xlim(0, longest_ms)
        axis.yaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("interval (ms)", fontsize=9)
    figure.supylabel("intervals", fontsize=9)
    return figure


def draw_spectrum(white: np.ndarray, rest: np.ndarray, frequency: float) -> Figure:
    """Power spectra of a whitened signal and of its residual, mean over channels."""
    from scipy.signal import welch

    figure = new_figure(7.5, 3.4)
    axis = figure.subplots()
    points = min(1024, len(white))
    for signal, label, colour in ((white, "with spikes", COLOURS[0]), (rest, "spikes subtracted", COLOURS[1])):
        hertz, density = welch(signal, frequency, nperseg=points, axis=0)
        axis.semilogy(hertz[1:-1] / 1e3, density.mean(axis=1)[1:-1] * frequency / 2, color=colour, linewidth=1.2,
                      label=label)
    axis.axhline(1, color="0.4", linestyle="--", linewidth=0.9, label="white noise")
    axis.set(xlabel="frequency (kHz)", ylabel="power (noise variance = 1)")
    axis.legend(frameon=False, fontsize=8)
    return figure


def draw_code_maxima(maxima: np.ndarray, amplitudes: np.ndarray) -> Figure:
    """Histograms of the local maxima of the code and of the amplitudes of the spikes."""
    figure = new_figure(7.5, 3.4)
    axis = figure.subplots()
    top = max((float(v.max()) for v in (maxima, amplitudes) if len(v)), default=1.0)
    bins = np.linspace(0, 1.02 * top, 70).tolist()
    axis.hist(maxima, bins=bins, color="0.75", label=f"maxima of the code ({len(maxima)})")
    axis.hist(amplitudes, bins=bins, histtype="step", color=COLOURS[1], linewidth=1.5,
              label=f"spikes ({len(amplitudes)})")
    if len(amplitudes):
        axis.axvline(amplitudes.min(), color="black", linestyle="--", linewidth=0.9,
                     label=f"smallest spike: {amplitudes.min():.3g}")
    if len(maxima):
        axis.set_yscale("log")
    axis.set(xlabel="amplitude (noise standard deviations)", ylabel="number")
    axis.legend(frameon=False, fontsize=8)
    return figure


def draw_training(history: dict[str, list[float]]) -> Figure:
    """Training curves, a panel for each metric."""
    figure, axes = unit_panels(len(history), height=2.0, sharex=True)
    for axis, (name, values) in zip(axes, history.items(), strict=True):
        axis.plot(range(1, len(values) + 1), values, "o-", color=COLOURS[0], markersize=3)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.ticklabel_format(useOffset=False)
        axis.set_xticks(np.unique(np.linspace(1, len(values), min(len(values), 5)).astype(int)))
    figure.supxlabel("epoch", fontsize=9)
    return figure
