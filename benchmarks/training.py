"""A training step and an epoch, each gradient mode against the same two stages in plain Keras and plain PyTorch.

16 windows of 2,048 samples, 8 filters of 45, 60 iterations. The plain forms do what ``CRsAE.train_step`` does: codes by
unrolled FISTA, a filter step by Adam through all iterations, filters back on the sphere, step size refreshed, codes
again, a lambda step by Adam on the second stage's loss.
"""

import numpy as np

from benchmarks import common
from benchmarks.reference_implementations import keras_fista, lipschitz, momenta, torch_fista, torch_weight

WINDOWS, SAMPLES, FILTERS, SIZE, ITERATIONS = 16, 2048, 8, 45, 60
MODES = ("unrolled", "truncated", "decoder")
LAMBDA, STRENGTH = 4.0, 1.0


def data(batches):
    """Spikes (batches * windows, samples, 1) and near filters to start from."""
    from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates

    filters = spike_templates(SIZE, FILTERS)
    made = simulate_spikes(filters, windows=batches * WINDOWS, samples=SAMPLES, events_per_window=3)
    return made.signal, perturb_filters(filters, 0.3).astype("float32")


def crsae(mode, filters, signal, xla=False):
    """A compiled model whose sigma, lambda and prior are resolved."""
    import keras

    model, _ = common.encoder_model(filters, ITERATIONS, LAMBDA, gradient=mode)
    model.adapt(signal[:WINDOWS])
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=xla)
    return model


def plain_keras_step(filters):
    """tf.function of one two-stage step, conv and conv_transpose, unrolled."""
    import keras
    import tensorflow as tf

    step_size = tf.Variable(1 / lipschitz(filters), dtype=tf.float32)
    kernel, lambda_reg = keras.Variable(filters), keras.Variable(np.full(FILTERS, LAMBDA, "float32"))
    optimizer, lambda_optimizer = keras.optimizers.Adam(1e-3), keras.optimizers.Adam(0.01 * LAMBDA)
    optimizer.build([kernel])
    lambda_optimizer.build([lambda_reg])
    positions = float(SAMPLES - SIZE + 1)
    grid = 32 * SIZE
    margin = np.cos(np.pi * (SIZE - 1) / grid)

    def unit():
        value = tf.convert_to_tensor(kernel.value)
        return value / tf.sqrt(tf.reduce_sum(tf.square(value), axis=(0, 1), keepdims=True))

    def encode(signal, filters):
        return keras_fista(signal, filters, step_size, lambda_reg.value, ITERATIONS, (1,), unroll=True)

    @tf.function(jit_compile=False)
    def step(signal):
        with tf.GradientTape() as tape:
            filters = unit()
            code = encode(signal, filters)
            made = keras.ops.conv_transpose(code, filters, strides=1, padding="valid")
            loss = tf.reduce_mean(tf.square(signal - made))
        optimizer.apply(tape.gradient(loss, [kernel.value]), [kernel])
        kernel.assign(unit())
        spectrum = tf.abs(tf.signal.rfft(tf.transpose(kernel.value[:, 0]), [grid]))
        step_size.assign(margin / tf.reduce_max(tf.reduce_sum(tf.square(spectrum), axis=0)))
        code = tf.stop_gradient(encode(signal, unit()))
        norms = tf.reduce_mean(tf.reduce_sum(code, axis=1), axis=0)
        with tf.GradientTape() as tape:
            shape, rate = STRENGTH * positions, STRENGTH * positions / LAMBDA
            lambda_loss = tf.reduce_sum(lambda_reg.value * (norms + rate)
                                        - (positions + shape - 1) * tf.math.log(lambda_reg.value))
        lambda_optimizer.apply(tape.gradient(lambda_loss, [lambda_reg.value]), [lambda_reg])
        return loss

    return lambda signal: float(step(tf.convert_to_tensor(signal)))


def plain_torch_step(filters, threads):
    """One two-stage step in PyTorch; ImportError without it."""
    import torch
    import torch.nn.functional as functional

    torch.set_num_threads(threads)
    weight = torch_weight(filters).requires_grad_()
    lambda_reg = torch.full((FILTERS,), LAMBDA, requires_grad=True)
    optimizer, lambda_optimizer = torch.optim.Adam([weight], 1e-3), torch.optim.Adam([lambda_reg], 0.01 * LAMBDA)
    factors, positions, grid = momenta(ITERATIONS), float(SAMPLES - SIZE + 1), 32 * SIZE
    step_size = 1 / lipschitz(filters)

    def encode(signal, unit):
        return torch_fista(signal, unit, step_size, lambda_reg.detach()[:, None], factors, (1,))

    def step(signal):
        nonlocal step_size
        signal = torch.from_numpy(np.ascontiguousarray(np.moveaxis(signal, -1, 1)))
        unit = weight / weight.norm(dim=(1, 2), keepdim=True)
        loss = torch.mean((signal - functional.conv_transpose1d(encode(signal, unit), unit)) ** 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            weight.div_(weight.norm(dim=(1, 2), keepdim=True))
            spectrum = torch.fft.rfft(weight[:, 0], grid).abs() ** 2
            step_size = float(np.cos(np.pi * (SIZE - 1) / grid) / spectrum.sum(0).max())
            norms = encode(signal, weight).sum(dim=2).mean(dim=0)
        shape, rate = STRENGTH * positions, STRENGTH * positions / LAMBDA
        lambda_loss = torch.sum(lambda_reg * (norms + rate) - (positions + shape - 1) * torch.log(lambda_reg))
        lambda_optimizer.zero_grad()
        lambda_loss.backward()
        lambda_optimizer.step()
        return float(loss.detach())

    return step


def show(title, times, arguments, extra):
    """Rows of times with the ratio to plain Keras, "times faster" above 1."""
    base = times["plain Keras"]["median"]
    rows = [[name, common.seconds(t["median"]), common.seconds(t["minimum"]), f"{base / t['median']:.2f}",
             extra.get(name, "")] for name, t in times.items()]
    rows += [[name, "", "", "", why] for name, why in extra.items() if name not in times]
    return common.report("training", arguments, ["form", "median", "minimum", "times faster than plain Keras", "note"],
                         rows, times, title)


def main():
    arguments = common.parser(__doc__).parse_args()
    common.limit_threads(arguments.threads)
    described = common.machine(arguments.threads)
    batches = 4 if arguments.short else 32
    signal, filters = data(batches)
    batch = signal[:WINDOWS]
    models = {f"CRsAE, {mode}": crsae(mode, filters, signal) for mode in MODES}
    step_functions, extra = {}, {}
    keras_step = plain_keras_step(filters)
    step_functions["plain Keras"] = lambda: keras_step(batch)
    torch_step = None
    try:
        torch_step = plain_torch_step(filters, arguments.threads)
        step_functions["plain PyTorch"] = lambda: torch_step(batch)
    except ImportError:
        extra["plain PyTorch"] = common.NOT_INSTALLED
    by_xla = {f"CRsAE, {mode}, XLA": crsae(mode, filters, signal, xla=True) for mode in MODES}
    for name, model in {**models, **by_xla}.items():
        step_functions[name] = lambda model=model: model.train_on_batch(batch)
    first = {}
    for name, function in step_functions.items():
        result = function()
        first[name] = float(result[0] if isinstance(result, list | tuple) else result)
        extra[name] = f"first loss {first[name]:.5f}"
        if not abs(first[name] - first["plain Keras"]) <= 1e-3 * first["plain Keras"]:
            raise RuntimeError(f"{name} computes another loss: {first}. Its time would compare different work.")
    repeats, budget = (5, 15.0) if arguments.short else (15, 60.0)
    sections = [show("one step", common.alternate(step_functions, repeats, budget), arguments, extra)]

    chunks = [signal[i:i + WINDOWS] for i in range(0, len(signal), WINDOWS)]
    epochs = {"plain Keras": lambda: [keras_step(c) for c in chunks]}
    if torch_step is not None and not arguments.short:  # minutes on two cores
        epochs["plain PyTorch"] = lambda: [torch_step(c) for c in chunks]
    for name, model in models.items():
        model.fit(signal[:WINDOWS], batch_size=WINDOWS, verbose=0)
        epochs[name] = lambda model=model: model.fit(signal, batch_size=WINDOWS, shuffle=False, verbose=0)
    sections.append(show(f"one epoch of {batches} steps", common.alternate(epochs, 2 if arguments.short else 3, 120.0),
                         arguments, {} if "plain PyTorch" in epochs else {
                             "plain PyTorch": "left out of --short" if torch_step else common.NOT_INSTALLED}))
    common.save("training", arguments, described, sections)


if __name__ == "__main__":
    main()
