"""What each freedom of a denoiser gains: ``python -m benchmarks.denoiser_freedom --steps 3000``.

From CRsAE proper (one bank of unit filters, a step size of 1 / L, one threshold a filter) to CDLNet (filters and
thresholds of each iteration), at stride 1, 7 x 7, sigma 25: the same crops and steps, one row each. Trained on
``train400``, measured on every eighth image of ``set68`` of the folder that KERAS_CRSAE_DATA names. Each row is kept
in ``results/denoiser_freedom.json`` as it ends, and rows that are there are not trained again.
"""

import argparse
import json
import os
import time

import numpy as np

from benchmarks import common, image_scores
from benchmarks.train_zoo import train_folder

#: Row -> fields of ``DenoiserTraining.cdlnet``; "model" are arguments of the model.
ROWS = {
    "tied, unit filters, 1 / L, FISTA": dict(architecture="crsae", filters=64, tied=True),
    "+ decoder of its own": dict(architecture="crsae", filters=64, tied=False),
    "+ thresholds of each iteration": dict(architecture="crsae", filters=64, tied=False,
                                           model=dict(free_thresholds=True)),
    "+ analysis of its own, norms in the unit ball (LCSC)": dict(
        filters=64, model=dict(banks="shared", free_thresholds=False, threshold_offsets=False)),
    "+ both": dict(filters=64, model=dict(banks="shared", threshold_offsets=False)),
    "+ filters of each iteration (CDLNet)": dict(filters=32, model=dict(threshold_offsets=False)),
}
_CRSAE = dict(training_shifts=1, lambda_learning="backprop", lambda_init_over_sigma=0.5, learning_rate=5e-3,
              lambda_learning_rate=5e-3, clip_norm=None, sigma_weight=0.0)


def main(arguments=None):
    """Train the rows that are missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--filters", type=int, help="in place of each row's")
    parser.add_argument("--every", type=int, default=8, help="measure on every so many images of set68")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=common.Path, default=common.RESULTS)
    args = parser.parse_args(arguments)
    os.environ.update(TF_NUM_INTRAOP_THREADS=str(args.threads), TF_NUM_INTEROP_THREADS=str(args.threads),
                      OMP_NUM_THREADS=str(args.threads), TF_CPP_MIN_LOG_LEVEL="3")
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "denoiser_freedom.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for row in args.rows:
        key = f"{row}; {args.steps} steps"
        if key not in results:
            results[key] = run(row, args)
            path.write_text(json.dumps(results, indent=1) + "\n")
    shown = [(key, r["parameters"], f"{r['psnr']:.2f}", f"{r['minutes']:.0f}") for key, r in results.items()]
    print(common.table(("freedom", "parameters", "PSNR (dB)", "processor minutes"), shown))
    return results


def run(row, args):
    """Parameters, PSNR and processor minutes of one row."""
    from keras_crsae.applications.denoising import DenoiserTraining, denoise, train_denoiser
    from keras_crsae.metrics import psnr

    given = dict(ROWS[row])
    options = given.pop("model", {})
    given |= {"filters": args.filters} if args.filters else {}
    settings = DenoiserTraining.cdlnet(**{**(_CRSAE if given.get("architecture") == "crsae" else {}), **given},
                                       model_options=options)
    started = time.process_time()
    model = train_denoiser(train_folder(), sigma=25 / 255, steps=args.steps, settings=settings, verbose=0)
    minutes = (time.process_time() - started) / 60
    pairs = list(image_scores.noisy_pairs("set68", 25 / 255))[::args.every]
    score = np.mean([psnr(clean, denoise(noisy, model, sigma=25 / 255)) for _, clean, noisy in pairs])
    count = sum(int(np.prod(v.shape)) for v in {id(v): v for v in (*model.dictionary_variables, *(
        [model.lambda_reg] if model.lambda_learning == "backprop" else []))}.values())
    print(f"{row}: {count} parameters, {score:.2f} dB", flush=True)
    return {"parameters": count, "psnr": float(score), "minutes": minutes, "images": len(pairs)}


if __name__ == "__main__":
    main()
