"""What limits ``spike_sorting.sort``? Its search given the true templates: started from nothing, and from the truth.

Where the search, started from the true spikes, leaves them for others that explain the signal better, no sorter that
uses the same description of it can tell: what is lost there is lost in the noise. What the true templates reach above
``benchmarks.spike_sorting`` is what the templates learned cost; what the truth as the start reaches above that is what
the search costs.
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
#: Standard deviation of the true amplitudes, as a share.
SPREAD = 0.07
HEADERS = ["recording", "true templates", "its worst unit", "from the true spikes", "its worst unit"]


def whitened_templates(templates, whitening):
    """Templates (units, time, channels) as they are in a whitened signal: a filter's length less one is added."""
    past, future = whitening.context
    length = templates.shape[1]
    shifted = templates + whitening.offset  # which it takes off again
    return np.stack([whitening(t, -future, length + past) for t in shifted])


def search(white, templates, counts, refractory, truth=None):
    """(position, unit) of the spikes in a whitened signal; ``truth``: (position, unit) to start from."""
    from crsae_onnx.core.spikes.template_matching import TemplateMatcher

    size = np.sqrt(np.square(templates, dtype=np.float64).sum((1, 2)))
    kernel = np.moveaxis(templates / size[:, None, None], 0, -1)
    # As in sort: a spike's place is known to about three samples.
    cost = [math.log(len(white) / max(n, 1) / 3) for n in counts]
    matcher = TemplateMatcher(kernel, size, np.full(len(size), SPREAD), cost, refractory)
    code = None
    if truth is not None:
        code = np.zeros((len(white) - len(kernel) + 1, len(size)), np.float32)
        inside = (truth[0] >= 0) & (truth[0] < len(code))
        code[truth[0][inside], truth[1][inside]] = size[truth[1][inside]]
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
