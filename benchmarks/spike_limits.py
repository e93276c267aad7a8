"""What limits ``spike_sorting.sort``? Its search with the true templates, started without spikes and from the truth.

The search is by likelihood. Spikes that it loses even when it starts from the true ones are less probable than others
under the model: the noise hides them. The difference between the first column and ``benchmarks.spike_sorting`` is the
error of the learned templates, the difference between the two starts the error of the search.
"""

import math
import os
from pathlib import Path

import numpy as np

from benchmarks import common
from benchmarks.spike_recordings import load
from benchmarks.spike_scores import score

#: Shared files whose truth holds every unit and its template.
KINDS = ("single_white", "single_coloured", "tetrode", "probe32")
#: Coefficient of variation of the true amplitudes.
AMPLITUDE_CV = 0.07
HEADERS = ["recording", "true templates", "its worst unit", "from the true spikes", "its worst unit"]


def whitened_templates(templates, whitening):
    """Templates (units, time, channels) after whitening, longer by the length of the filter minus one."""
    past, future = whitening.context
    length = templates.shape[1]
    shifted = templates + whitening.offset  # which whitening subtracts
    return np.stack([whitening(t, -future, length + past) for t in shifted])


def search(white, templates, counts, refractory, truth=None):
    """(position, unit) of the spikes in a whitened signal; ``truth``: (position, unit) to start from."""
    from crsae_onnx.core.spikes.template_matching import TemplateMatcher

    norms = np.sqrt(np.square(templates, dtype=np.float64).sum((1, 2)))
    kernel = np.moveaxis(templates / norms[:, None, None], 0, -1)
    # As in sort: a spike is located to within about three samples.
    log_odds_against = [math.log(len(white) / max(n, 1) / 3) for n in counts]
    matcher = TemplateMatcher(kernel, norms, np.full(len(norms), AMPLITUDE_CV), log_odds_against, refractory)
    code = None
    if truth is not None:
        code = np.zeros((len(white) - len(kernel) + 1, len(norms)), np.float32)
        inside = (truth[0] >= 0) & (truth[0] < len(code))
        code[truth[0][inside], truth[1][inside]] = norms[truth[1][inside]]
    position, unit, _ = matcher.find(white, code)
    return position, unit


def limits(kind):
    """The two scores of a shared file."""
    from keras_crsae.applications.spike_sorting.noise import fit_whitening

    recording = load(kind)
    with np.load(Path(os.environ["KERAS_CRSAE_DATA"]) / "spikes" / f"{kind}.npz") as stored:
        templates, before = stored["templates"].astype(np.float64), int(stored["nbefore"])
        traces = stored["traces_int16"] * float(stored["gain"])
    offset = np.median(traces, axis=0)
    whitening = fit_whitening(traces - offset, recording.sampling_frequency, offset=offset)
    white = whitening(traces, 0, len(traces))
    filters = whitened_templates(templates, whitening)
    lead = before + whitening.context[1]  # from where a filter starts to the trough
    counts = np.bincount(recording.spike_units, minlength=len(filters))
    refractory = round(0.001 * recording.sampling_frequency)
    found = []
    for truth in (None, (recording.spike_samples - lead, recording.spike_units)):
        position, unit = search(white, filters, counts, refractory, truth)
        found.append(score(recording, position + lead, unit))
    return found


def main(arguments=None):
    """Print and save the table."""
    parser = common.parser(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND",
                        help=f"recordings, of {', '.join(KINDS)}")
    arguments = parser.parse_args(arguments)
    common.limit_threads(arguments.threads)
    described, rows, data = common.machine(arguments.threads), [], {}
    for kind in arguments.kinds[:1] if arguments.short else arguments.kinds:
        data[kind] = limits(kind)
        rows.append([kind, *(f"{v:.3f}" for found in data[kind] for v in (found["accuracy"], min(found["by_unit"])))])
    common.save("spike_limits", arguments, described,
                [common.report("spike_limits", arguments, HEADERS, rows, data, "accuracy with the true templates")])


if __name__ == "__main__":
    main()
