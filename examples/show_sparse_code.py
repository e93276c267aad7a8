"""Draw a noisy signal, its sparse code and what the code makes of it. Needs the extras train and plots.

    python examples/show_sparse_code.py code.png
"""

import sys

import numpy as np

import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.plots import plot_code

filters = spike_templates(kernel_size=45, filters=3)                    # (time, channels, filters), unit norm
data = simulate_spikes(filters, windows=1, samples=1500, events_per_window=9, amplitude=(15.0, 1.5), sigma=1.0, seed=4)

model = kc.CRsAE(filters=3, kernel_size=45, iterations=400, sigma=1.0, lambda_init=4.0)
model.set_dictionary(filters)
code = model.encode(data.signal)                                        # (1, 1456, 3): where each filter begins
print(f"{np.count_nonzero(code)} of {code.size} values are not zero; {np.count_nonzero(data.code)} events")
if len(sys.argv) > 1:
    events = [np.flatnonzero(data.code[0, :, unit]) for unit in range(3)]
    figure = plot_code(code[0], data.signal[0, :, 0], np.asarray(model.decode(code))[0, :, 0], events,
                       title="A signal, its sparse code and the reconstruction")
    figure.savefig(sys.argv[1], dpi=80)
