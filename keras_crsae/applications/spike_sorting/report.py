"""A report of a sorting result: one HTML file with its figures inside. Needs the extra ``plots``."""

import base64
import html
import io
import json

import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.spikes.correlations import pooled_peaks

from keras_crsae.applications.spike_sorting import templates as found_in
from keras_crsae.applications.spike_sorting.recording import as_recording
from keras_crsae.applications.spike_sorting.unit_table import unit_table
from keras_crsae.plots import COLOURS, _figure

#: Seconds of the recording that the spectrum and the code are taken from, where spikes are densest.
STRETCH = 5.0
#: Channels of a template that are drawn, points of a unit, panels side by side.
_CHANNELS, _POINTS, _COLUMNS = 8, 5000, 4
#: Intervals below it are no neuron's, milliseconds.
_REFRACTORY = 1.5
_STYLE = """body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 62em; margin: 2em auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd }
td.text, th.text { text-align: left }
img { max-width: 100% } h2 { margin-top: 2em } p.note { color: #555; max-width: 48em }"""


def write_report(result, path, recording):
    """Write what can be seen of a sorting without knowing the truth, as one HTML file that needs no other.

    Args:
        result: ``SpikeSortingResult``.
        path: file to write; an existing one is replaced.
        recording: what was sorted, as ``sort`` took it.

    Raises:
        ValueError: a recording of another length or number of channels than the one that was sorted.
        ModuleNotFoundError: matplotlib is missing.

    Example:
        >>> write_report(result, "report.html", recording)
    """
    parts = []
    for title, note, figure in figures(result, recording):
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=110)
        data = base64.b64encode(picture.getvalue()).decode()
        parts.append(f'<h2>{html.escape(title)}</h2><p class="note">{html.escape(note)}</p>'
                     f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">')
    seconds = result.recording_samples / result.sampling_frequency
    head = (f"{result.units} units, {len(result.spike_samples)} spikes in {seconds:.6g} s at "
            f"{result.sampling_frequency:g} Hz, {result.templates.shape[2]} channels")
    messages = "".join(f"<li>{html.escape(str(message))}</li>" for message in result.messages)
    page = [f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Spike sorting report</title>"
            f"<style>{_STYLE}</style></head><body><h1>Spike sorting report</h1><p>{html.escape(head)}</p>",
            _table(unit_table(result)),
            '<p class="note">SNR: extremum of the template over the noise of its channel. &lt; 1.5 ms: intervals that '
            "no neuron makes. Contamination: share of foreign spikes that explains pairs within 1 ms. Presence: share "
            "of whole minutes with a spike. Amplitude: median, in the recording's unit.</p>",
            "<h2>Messages</h2>" + (f"<ul>{messages}</ul>" if messages else "<p>None: nothing was dropped, missing or "
                                                                          "odd.</p>"),
            *parts, "<h2>Settings</h2>",
            _table({"setting": list(result.settings), "value": [json.dumps(v) for v in result.settings.values()]},
                   "text"), "</body></html>"]
    with atomic_write(path, overwrite=True) as temporary:
        temporary.write_text("\n".join(page), encoding="utf-8")


def figures(result, recording):
    """[(title, explanation, ``matplotlib.figure.Figure``)] of a report; arguments as for ``write_report``."""
    traces, _, _ = as_recording(recording, None if hasattr(recording, "get_traces") else result.sampling_frequency)
    if tuple(traces.shape) != (result.recording_samples, result.templates.shape[2]):
        raise ValueError(f"The recording has shape {tuple(traces.shape)}; ({result.recording_samples}, "
                         f"{result.templates.shape[2]}) was sorted. Give that one.")
    white, rest, height, maxima = _explained(result, traces)
    made = [
        ("Templates", "Median waveform of each unit in the recording's unit, on its largest channels.",
         _templates(result)),
        ("Raster", "Every spike of every unit.", _raster(result)),
        ("Amplitude over time", "A slow drift is a moving electrode; a cloud cut off below means missed spikes.",
         _amplitudes(result)),
        ("Inter-spike intervals", f"Left of the line ({_REFRACTORY} ms) a single neuron cannot fire.",
         _intervals(result)),
        ("Residual spectrum", "The whitened recording before and after its spikes are subtracted, mean over channels. "
         "What stays above the line is not white noise: missed spikes, or noise that is not modelled.",
         _spectrum(white, rest, result.sampling_frequency)),
        ("Code threshold", "Local maxima of the code, pooled over neighbouring samples, and the spikes that were "
         "kept. The code is shrunk by its threshold, so that its maxima lie below the amplitudes fitted to their "
         "spikes. A valley between the maxima near zero and the others means that spikes stand apart from noise.",
         _threshold(maxima, height)),
    ]
    if result.history:
        made.append(("Training", "Mean of each epoch.", _training(result.history)))
    return made


def _table(columns, kind=""):
    """Columns {name: [text]} as HTML."""
    style = f' class="{kind}"' if kind else ""
    names = "".join(f"<th{style}>{html.escape(name)}</th>" for name in columns)
    rows = "".join("<tr>" + "".join(f"<td{style}>{html.escape(text)}</td>" for text in row) + "</tr>"
                   for row in zip(*columns.values(), strict=True))
    return f"<table><tr>{names}</tr>{rows}</table>"


def _explained(result, traces):
    """(whitened stretch, the same without its spikes, heights of its spikes, heights of its code's maxima)."""
    reader, samples = result.reader, traces.shape[0]
    size, length = len(reader.kernel), min(samples, round(STRETCH * result.sampling_frequency))
    counts = np.bincount(result.spike_samples // length, minlength=1)[:max(1, samples // length)]
    low = int(counts.argmax()) * length
    white = reader.whitening(traces, low, low + length)
    unit = result.spike_units
    start = result.spike_samples - reader.peak_offset[unit] - low
    height = result.spike_amplitudes / reader.peak_value[unit] * reader.mean_amplitude[unit]
    # Those that reach in from outside are subtracted, too: the border is cut off afterwards.
    inside = (start > -size) & (start < length)
    padded = np.pad(white, ((size, size), (0, 0)))
    templates = np.moveaxis(reader.kernel, -1, 0)
    rest = found_in.unexplained(padded, found_in.Found(templates, start[inside] + size, unit[inside], height[inside]))
    code = result.model.encode(white[None])[0]
    _, _, maxima = pooled_peaks(code, np.zeros(code.shape[1]))
    return white, rest[size:-size], height[inside], maxima


def _panels(count, width=2.6, height=1.9, **options):
    """(figure, [axes]) of ``count`` panels."""
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure = _figure(max(4.5, width * columns), 0.5 + height * rows)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for axis in axes[count:]:
        axis.set_visible(False)
    for unit, axis in enumerate(axes[:count]):
        axis.set_title(f"unit {unit}", fontsize=9)
        # A shared axis is labelled below the lowest panel alone, which may be a hidden one.
        axis.tick_params(labelsize=8, labelbottom=unit + columns >= count)
    return figure, axes[:count]


def _colour(unit):
    return COLOURS[unit % len(COLOURS)]


def _templates(result):
    templates = result.templates
    time = 1e3 * (np.arange(templates.shape[1]) - result.nbefore) / result.sampling_frequency
    several = templates.shape[2] > 1
    shown = min(_CHANNELS, templates.shape[2])
    figure, axes = _panels(len(templates), height=1.5 + 0.25 * shown, sharex=True, sharey=not several)
    for unit, axis in enumerate(axes):
        channels = np.sort(np.argsort(-np.abs(templates[unit]).max(axis=0), kind="stable")[:shown])
        step = 1.1 * np.ptp(templates[unit], axis=0).max() if several else 0.0
        for row, channel in enumerate(channels):
            axis.plot(time, templates[unit, :, channel] - row * step, color=_colour(unit), linewidth=1.3)
        axis.axvline(0, color="0.85", linewidth=0.8, zorder=0)
        if several:
            axis.set_yticks(-step * np.arange(shown), [f"ch {c}" for c in channels])
            axis.text(0.98, 0.01, f"step {step:.3g}", transform=axis.transAxes, ha="right", fontsize=7, color="0.4")
    figure.supxlabel("time from the extremum (ms)", fontsize=9)
    if not several:
        figure.supylabel("amplitude", fontsize=9)
    return figure


def _own(result, unit):
    """(seconds, amplitudes) of a unit's spikes, in order of time, evenly thinned where they are very many."""
    mine = np.flatnonzero(result.spike_units == unit)
    mine = mine[np.argsort(result.spike_samples[mine], kind="stable")]
    if len(mine) > _POINTS:
        mine = mine[np.linspace(0, len(mine) - 1, _POINTS).astype(int)]
    return result.spike_samples[mine] / result.sampling_frequency, result.spike_amplitudes[mine]


def _raster(result):
    figure = _figure(9.5, 1.2 + 0.28 * result.units)
    axis = figure.subplots()
    for unit in range(result.units):
        seconds, _ = _own(result, unit)
        axis.plot(seconds, np.full(len(seconds), unit), "|", color=_colour(unit), markersize=9, markeredgewidth=0.7)
    axis.set(xlabel="time (s)", ylabel="unit", yticks=range(result.units), ylim=(result.units - 0.5, -0.5),
             xlim=(0, result.recording_samples / result.sampling_frequency))
    return figure


def _amplitudes(result):
    figure, axes = _panels(result.units, sharex=True)
    for unit, axis in enumerate(axes):
        seconds, amplitudes = _own(result, unit)
        axis.plot(seconds, amplitudes, ".", color=_colour(unit), markersize=2.5)
        low, high = axis.get_ylim()
        axis.set(xlim=(0, result.recording_samples / result.sampling_frequency), ylim=(min(low, 0), max(high, 0)))
    figure.supxlabel("time (s)", fontsize=9)
    figure.supylabel("amplitude (recording's unit)", fontsize=9)
    return figure


def _intervals(result, longest=50.0):
    figure, axes = _panels(result.units, sharex=True)
    for unit, axis in enumerate(axes):
        train = np.sort(result.spike_samples[result.spike_units == unit])
        interval = 1e3 * np.diff(train) / result.sampling_frequency
        axis.hist(interval, bins=np.arange(0, longest + 0.5, 0.5), color=_colour(unit))
        axis.axvline(_REFRACTORY, color="black", linewidth=0.8, linestyle="--")
        axis.set_xlim(0, longest)
        axis.yaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("interval (ms)", fontsize=9)
    figure.supylabel("intervals", fontsize=9)
    return figure


def _spectrum(white, rest, frequency):
    from scipy.signal import welch

    figure = _figure(7.5, 3.4)
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


def _threshold(maxima, height):
    figure = _figure(7.5, 3.4)
    axis = figure.subplots()
    top = max((float(v.max()) for v in (maxima, height) if len(v)), default=1.0)
    bins = np.linspace(0, 1.02 * top, 70)
    axis.hist(maxima, bins=bins, color="0.75", label=f"maxima of the code ({len(maxima)})")
    axis.hist(height, bins=bins, histtype="step", color=COLOURS[1], linewidth=1.5, label=f"spikes ({len(height)})")
    if len(height):
        axis.axvline(height.min(), color="black", linestyle="--", linewidth=0.9,
                     label=f"smallest spike: {height.min():.3g}")
    if len(maxima):
        axis.set_yscale("log")
    axis.set(xlabel="amplitude (noise standard deviations)", ylabel="number")
    axis.legend(frameon=False, fontsize=8)
    return figure


def _training(history):
    figure, axes = _panels(len(history), height=2.0, sharex=True)
    for axis, (name, values) in zip(axes, history.items(), strict=True):
        axis.plot(range(1, len(values) + 1), values, "o-", color=COLOURS[0], markersize=3)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.ticklabel_format(useOffset=False)
        axis.set_xticks(np.unique(np.linspace(1, len(values), min(len(values), 5)).astype(int)))
    figure.supxlabel("epoch", fontsize=9)
    return figure
