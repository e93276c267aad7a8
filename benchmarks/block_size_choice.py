"""Which block size is fastest? Times every block size and says what ``block_size="auto"`` picks."""

import numpy as np

from benchmarks import common

#: (filters, kernel size, channels, stride, rank)
CASES = [(3, 45, 1, 1, 1), (1, 45, 1, 1, 1), (8, 45, 1, 1, 1), (64, 45, 1, 1, 1), (3, 15, 1, 1, 1), (3, 90, 1, 1, 1),
         (6, 45, 4, 1, 1), (15, 60, 32, 1, 1), (8, 45, 1, 5, 1), (64, 7, 1, 1, 2), (16, 7, 1, 1, 2), (64, 7, 1, 5, 2),
         (64, 7, 3, 1, 2), (64, 8, 1, 4, 2), (16, 11, 1, 1, 2)]
SHORT = [CASES[0], CASES[2], CASES[6], CASES[9], CASES[11]]
ITERATIONS = 20


def measure(case, repeats):
    """Seconds of each block size for one dictionary; also the block that "auto" picks."""
    from keras_crsae.operators.polyphase import choose_block

    filters, size, channels, stride, rank = case
    shape = (1, 60_000 if filters * channels < 64 else 20_000, channels) if rank == 1 else (1, 128, 128, channels)
    signal = np.random.default_rng(0).standard_normal(shape).astype("float32")
    kernel = common.unit_filters((size,) * rank + (channels, filters))
    encoders = {}
    for block in (1, 2, 4, 8, 16, 32, 64) if rank == 1 else (1, 2, 4):
        model, _ = common.encoder_model(kernel, ITERATIONS, 3.0, strides=stride, block_size=block)
        model.encode(signal)
        encoders[block] = lambda model=model: model.encode(signal)
    return common.alternate(encoders, repeats, 10.0), choose_block((size,) * rank, (stride,) * rank, channels)[0]


def main():
    arguments = common.parser(__doc__).parse_args()
    common.limit_threads(arguments.threads)
    described = common.machine(arguments.threads)
    rows, data = [], []
    for case in SHORT if arguments.short else CASES:
        times, chosen = measure(case, 3 if arguments.short else 7)
        best = min(t["minimum"] for t in times.values())
        rows.append([str(case), *(f"{times[b]['minimum'] / best:.2f}" if b in times else ""
                                  for b in (1, 2, 4, 8, 16, 32, 64)), chosen])
        data.append({"case": case, "seconds": {str(b): t for b, t in times.items()}, "chosen": chosen})
    sizes = [str(b) for b in (1, 2, 4, 8, 16, 32, 64)]
    headers = ["filters, size, channels, stride, rank", *sizes, "auto"]
    section = common.report("block_size_choice", arguments, headers, rows, data, "time over the fastest")
    common.save("block_size_choice", arguments, described, [section])


if __name__ == "__main__":
    main()
