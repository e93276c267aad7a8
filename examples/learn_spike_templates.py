"""Learn the spike waveforms of a one-channel recording from random pieces of it. Needs the extras train and plots.

    python examples/learn_spike_templates.py templates.png
"""

import sys

import keras
import numpy as np

import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.demo import learn_templates
from keras_crsae.plots import plot_templates

keras.utils.set_random_seed(0)

# Ten seconds at 30 kHz, in microvolts: three units, 15 spikes a second each, noise of 10 microvolts.
truth = spike_templates(kernel_size=45, filters=3)
recording = simulate_spikes(truth, windows=1, samples=300_000, events_per_window=150, amplitude=(150.0, 15.0),
                            sigma=10.0, seed=0).signal                      # (1, samples, 1)

model, first = learn_templates(recording, seed=0)
learned = np.asarray(model.dictionary.kernel)                               # (45, 1, 3)
print("error of the windows that learning began with:", kc.metrics.dictionary_error(truth, first).round(3))
print("error of the learned templates:               ", kc.metrics.dictionary_error(truth, learned).round(3))
print(f"noise level found: {float(model.sigma):.1f} microvolts")
if len(sys.argv) > 1:
    plot_templates(truth, learned, first, sampling_frequency=30_000).savefig(sys.argv[1])
