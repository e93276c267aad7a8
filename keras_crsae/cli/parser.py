"""The options of ``keras-crsae`` as an argparse parser; no heavy import."""

from __future__ import annotations

import argparse

from crsae_onnx.cli.option_types import OneLineParser, index, positive_int, positive_number
from crsae_onnx.cli.options import add_progress_option, add_recording_options

from keras_crsae import __version__
from keras_crsae.cli.option_types import (
    addresses,
    count_range,
    first_lambda,
    noise_level,
    number_not_negative,
    positive_number_or,
    size,
)
from keras_crsae.cli.sort_outputs import add_output_options

_EPILOG = """\
examples:
  keras-crsae demo
  keras-crsae train recording.npy --output spikes.keras --filters 3 --kernel-size 45
  keras-crsae train photos/*.png --output photos.keras --filters 64 --kernel-size 8 --strides 2 --sigma 25
  keras-crsae encode spikes.keras recording.npy code.npz --sparse
  keras-crsae denoise noisy.png clean.png --sigma 25
  keras-crsae train-denoiser photos/ --output photos.keras --sigma 25 --minutes 30
  keras-crsae sort tetrode.dat --fs 30000 --channels 4 --band 300 6000 --output sorted
  keras-crsae encode sorted tetrode2.dat spikes.csv
  keras-crsae events raster.npy --output events --bin-ms 5 --kernel-ms 125
  keras-crsae export spikes.keras encoder.onnx --validate
  keras-crsae info encoder.onnx

`keras-crsae COMMAND --help` lists the options of a command.
exit status: 0 done; 2 invalid input, option or output (nothing was written); 1 the work failed; 130 interrupted."""


def _train(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("input", nargs="+", metavar="INPUT",
                     help=".npy, .npz or .wav: recordings (samples,) or (samples, channels), windows (batch, time, "
                          "channels), with --rank 2 images; or image files (png, jpeg, tiff) or folders of them: gray "
                          "levels in [0, 1]")
    sub.add_argument("--output", required=True, metavar="M.keras", help="model file to write")
    sub.add_argument("--filters", required=True, type=positive_int, metavar="N", help="number of filters")
    sub.add_argument("--kernel-size", required=True, type=size, metavar="N[xN]",
                     help="length of a filter in samples; images: side, or HEIGHTxWIDTH")
    sub.add_argument("--rank", type=int, choices=(1, 2),
                     help="1: signals, 2: images (default: 2 for image files and arrays of 4 axes, else 1)")
    sub.add_argument("--strides", type=size, default=1, metavar="N[xN]", help="of the code (default: 1)")
    sub.add_argument("--window", type=size, metavar="N[xN]",
                     help="recordings are cut into windows of N samples (default: 2048, or 8 filter lengths if more), "
                          "images into random patches of this side (default: 64, or 4 filter sides if more)")
    sub.add_argument("--limit", type=positive_int, metavar="N",
                     help="use N windows or patches, drawn at random (default: all windows; 200 patches)")
    sub.add_argument("--key", metavar="NAME", help="array of a .npz file that holds several")
    sub.add_argument("--gray", action="store_true", help="turn colour images gray")
    _train_model(sub.add_argument_group("model"))
    _train_run(sub.add_argument_group("training"))
    many = sub.add_argument_group("several machines", "Start the same command on each, with its own --worker-index. "
                                  "The first writes the model; --checkpoint must be on a disk that all reach.")
    many.add_argument("--workers", type=addresses, metavar="HOST:PORT,...", help="every machine, the same on all")
    many.add_argument("--worker-index", type=index, metavar="N", help="which of them this is, counted from 0")


def _train_model(model: argparse._ArgumentGroup) -> None:
    model.add_argument("--iterations", type=positive_int, metavar="N", help="of FISTA (default: 40; images: 15)")
    model.add_argument("--shrinkage", choices=("nonnegative_soft", "soft"),
                       help="codes of one sign or of both (default: nonnegative_soft; images: soft)")
    model.add_argument("--sigma", type=positive_number_or("estimate"), default="estimate", metavar="X",
                       help="noise standard deviation in the data's unit (images of whole numbers: in gray levels of "
                            "0..255), or 'estimate' (default)")
    model.add_argument("--sigma-learning", action="store_true", help="re-estimate sigma during training")
    model.add_argument("--lambda", dest="lambda_init", type=first_lambda, metavar="X",
                       help="first lambda: a number (the penalty weight is lambda * sigma^2), one over sigma as in "
                            "2/sigma, or 'donoho': sqrt(2 log(filters * positions)) / sigma "
                            "(default: donoho; images: 1.2/sigma)")
    model.add_argument("--lambda-learning", choices=("em_closed_form", "em", "none"), default="em_closed_form",
                       help="second stage of training: lambda at its closed form, by gradient steps, or kept "
                            "(default: em_closed_form)")
    model.add_argument("--lambda-shared", action="store_true", help="one lambda for all filters")
    model.add_argument("--init", choices=("windows", "energy", "dct", "random"),
                       help="first filters: random windows of the data, strong ones, cosines, noise "
                            "(default: energy; images: windows)")


def _train_run(run: argparse._ArgumentGroup) -> None:
    run.add_argument("--epochs", type=positive_int, default=10, metavar="N", help="default: 10")
    run.add_argument("--batch-size", type=positive_int, default=4, metavar="N",
                     help="windows or patches a step (default: 4)")
    run.add_argument("--learning-rate", type=positive_number, default=0.02, metavar="X",
                     help="of Adam on the filters, falling to zero along a cosine (default: 0.02)")
    run.add_argument("--gradient", choices=("unrolled", "truncated", "decoder"), default="decoder",
                     help="of the filters through all iterations, the last ten, or the decoder alone; the last is by "
                          "far the fastest (default: decoder)")
    run.add_argument("--checkpoint", metavar="C.keras",
                     help="file to go on from after a stop, with the same options and inputs; made if missing")
    run.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def _sort(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("input", metavar="RECORDING",
                     help=".npy or .npz (samples, channels); raw binary .dat, .bin, .raw; .wav; .nwb or another format "
                          "that SpikeInterface reads; a folder that it saved")
    sub.add_argument("--output", required=True, metavar="FOLDER",
                     help="folder for spikes.csv, templates.npy, model.keras, encoder.onnx, report.html")
    add_recording_options(sub, "needed for .npy, .npz and raw files", spikeinterface=True)
    sub.add_argument("--units", type=positive_int, metavar="N", help="keep N units at most (default: all found)")
    sub.add_argument("--band", type=positive_number, nargs=2, metavar=("LOW", "HIGH"),
                     help="band-pass filter in Hz, as 300 6000 for raw recordings (default: none)")
    sub.add_argument("--common-reference", action="store_true", help="subtract the median over channels")
    sub.add_argument("--motion", metavar="NAME",
                     help="take the motion of the probe out first: estimate, or a preset of SpikeInterface's "
                          "correct_motion; or follow: templates change with the spikes (default: no)")
    sub.add_argument("--threshold", type=positive_number, metavar="X",
                     help="noise standard deviations that an extremum must exceed to start a unit (default: 4)")
    sub.add_argument("--amplitude-variation", type=positive_number, metavar="X",
                     help="standard deviation over mean of a unit's amplitudes, at most: 0.2 for bursts (default: 0.1)")
    sub.add_argument("--epochs", type=index, metavar="N",
                     help="of training; 0: none (default: 3, if training promises better templates)")
    sub.add_argument("--learning-seconds", type=positive_number, metavar="X",
                     help="learn from X seconds of the recording, those with the most spikes (default: 120)")
    sub.add_argument("--parameters", metavar="FILE.json",
                     help="tuning constants that differ from their defaults, as {\"refractory_ms\": 1.5}; their names "
                          "are the fields of spike_sorting.SortingParameters")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    add_output_options(sub)


def _follow(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="FOLDER", help="a folder that `sort` or `follow` wrote")
    sub.add_argument("input", metavar="RECORDING", help="a later recording of the same electrodes")
    sub.add_argument("--output", required=True, metavar="FOLDER", help="folder for the sorting of that recording")
    add_recording_options(sub, "default: the file's, or the sorter's", "default: the sorter's", spikeinterface=True)
    add_output_options(sub)


def _curate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="FOLDER", help="a folder that `sort` wrote")
    sub.add_argument("curation", metavar="CURATION.json",
                     help="merges, splits and removals of its units, as SpikeInterface's GUI and `sort --curation` "
                          "write them")
    sub.add_argument("--output", required=True, metavar="FOLDER", help="folder for the curated sorting")
    sub.add_argument("--recording", dest="input", metavar="RECORDING",
                     help="the recording that was sorted: needed for splits, and for a report")
    add_recording_options(sub, "default: the file's, or the sorter's", "default: the sorter's", spikeinterface=True)


def _events(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("input", metavar="SPIKES",
                     help=".npy, .npz or .mat with an array (trials, time) or (trials, time, neurons) of 0/1 or "
                          "counts; .csv with the columns trial, time_ms (or time_s), neuron: a line a spike")
    sub.add_argument("--output", required=True, metavar="FOLDER",
                     help="folder for events.csv, kernels.npy, model.keras, report.html")
    sub.add_argument("--kernels", type=positive_int, nargs="+", default=[1], metavar="N",
                     help="number of kernels; of several the best by held-out likelihood is taken (default: 1)")
    sub.add_argument("--kernel-ms", type=positive_number, nargs="+", default=[125.0], metavar="MS",
                     help="length of a kernel; of several the best is taken (default: 125)")
    sub.add_argument("--onsets", nargs="+", metavar="MS",
                     help="known times of events, the same in all trials, or a .csv file with the columns trial, "
                          "time_ms (default: they are found)")
    sub.add_argument("--conditions", metavar="NAME",
                     help="condition of each trial: an array of the input file, or a text file with one a line")
    sub.add_argument("--neurons", choices=("separate", "together"),
                     help="each neuron has events of its own, or an event is common to all (default: separate)")
    sub.add_argument("--baseline", choices=("constant", "psth"),
                     help="rate without events: constant, or the trial-averaged rate of the condition (default: "
                          "constant)")
    sub.add_argument("--folds", type=index, metavar="N", help="of the cross-validation; 0: none (default: 4)")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    data = sub.add_argument_group("data")
    data.add_argument("--bin-ms", type=positive_number, default=5.0, metavar="MS", help="width of a bin (default: 5)")
    data.add_argument("--sample-ms", type=positive_number, default=1.0, metavar="MS",
                      help="length of a sample of an array (default: 1)")
    data.add_argument("--window-ms", type=float, nargs=2, metavar=("START", "STOP"),
                      help="extent of a trial; needed for .csv; of arrays START is the time of the first sample")
    data.add_argument("--time-unit", choices=("ms", "s"), default="ms", help="of a column `time` (default: ms)")
    data.add_argument("--trials", type=positive_int, metavar="N", help="number of trials of a .csv, silent ones too")
    data.add_argument("--key", metavar="NAME", help="array of a file that holds several")
    data.add_argument("--parameters", metavar="FILE.json",
                      help="tuning constants that differ from their defaults, as {\"steps\": 200}; their names are the "
                           "fields of neural_events.EventParameters")


def _train_denoiser(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("input", nargs="*", metavar="INPUT",
                     help="folders or image files (png, jpeg, tiff); none: the photographs inside scikit-image")
    sub.add_argument("--output", required=True, metavar="M.keras", help="model file to write")
    sub.add_argument("--sigma", type=noise_level, metavar="X[-Y]",
                     help="noise standard deviation in gray levels of 0..255, or a range as in 10-60 (default: 25)")
    sub.add_argument("--noise", choices=("gaussian", "poisson"), default="gaussian",
                     help="white noise, or that of photon counts, which are drawn from the images (default: gaussian)")
    sub.add_argument("--peak", type=count_range, metavar="X[-Y]",
                     help="of --noise poisson: counts of white, or a range (default: 1-8)")
    sub.add_argument("--steps", type=positive_int, metavar="N", help="training steps (default: as --minutes says)")
    sub.add_argument("--minutes", type=positive_number, metavar="X",
                     help="time for training (default: 15, unless --steps)")
    data = sub.add_argument_group("data")
    data.add_argument("--colour", action="store_true", help="a model of three channels; otherwise images become gray")
    data.add_argument("--clean", nargs="+", metavar="INPUT", help="clean images of INPUT, which is noisy, in its order")
    data.add_argument("--noisy", action="store_true", help="INPUT is noisy already (with --unsupervised)")
    data.add_argument("--unsupervised", action="store_true", help="learn from the noisy images alone")
    data.add_argument("--loss", choices=("em", "sure"),
                      help="how --unsupervised learns: by EM (default), or by Stein's unbiased estimate of the error, "
                           "which needs white noise of a known --sigma")
    data.add_argument("--window", type=positive_int, metavar="N",
                      help="side of a crop (default: 60; 64 with --noise poisson)")
    model = sub.add_argument_group("model")
    model.add_argument("--filters", type=positive_int, metavar="N", help="default: 64")
    model.add_argument("--kernel-size", type=size, metavar="N[xN]", help="default: 8; 10 with --noise poisson")
    model.add_argument("--strides", type=size, metavar="N[xN]", help="default: 4; 2 with --noise poisson")
    model.add_argument("--iterations", type=positive_int, metavar="N",
                       help="of the encoder (default: 10; 30 with --unsupervised)")
    model.add_argument("--lambda-learning", choices=("backprop", "bias", "em", "em_closed_form", "em_through_code"),
                       help="how lambda learns against clean images (default: backprop; none with --noise poisson)")
    run = sub.add_argument_group("training")
    run.add_argument("--learning-rate", type=positive_number, metavar="X",
                     help="of Adam on the filters, falling to zero along a cosine (default: 0.01; 0.002 with "
                          "--unsupervised, 0.0005 with --noise poisson)")
    run.add_argument("--checkpoint", metavar="C.keras", help="file to go on from after a stop; made if missing")
    run.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def _demo(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--output", metavar="FOLDER", help="folder for the figures (default: demo-output)")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def _encode(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="M.keras", help="trained model; or a folder that `sort` wrote")
    sub.add_argument("input", metavar="INPUT",
                     help="an image, or a recording in whatever kind of file `sort` reads, of any length: only .npz is "
                          "read as a whole")
    sub.add_argument("output", metavar="OUTPUT",
                     help=".npy: dense code (batch, position, filter), float32; .npz: its non-zero values "
                          "as arrays index (batch, position), filter, value, shape; with a folder .csv: time (s), "
                          "unit, amplitude, sample of each spike")
    add_recording_options(sub, "default: the file's, or the sorter's", "default: the model's", spikeinterface=True)
    sub.add_argument("--sparse", action="store_true", help="insist on the sparse form (.npz)")
    sub.add_argument("--window", type=positive_int, metavar="N",
                     help="samples of a recording encoded in one piece; smaller needs less memory (default: up to 2^20 "
                          "samples in one piece, longer recordings in windows of 2^18)")


def _denoise(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("input", metavar="IN.png",
                     help="png, jpeg or tiff; gray, colour, palette or CMYK of up to 16 bits, or floats in [0, 1]")
    sub.add_argument("output", metavar="OUT.png",
                     help="image to write: upright, of the same size and depth, with its transparency and colour "
                          "profile; a palette, CMYK and Lab become RGB")
    sub.add_argument("--model", metavar="NAME",
                     help="a zoo model (`keras-crsae zoo` lists them), a .keras or exported .onnx file, or the folder "
                          "of a preset (default: denoise-color for colours, else denoise-gray)")
    speed = sub.add_mutually_exclusive_group()
    speed.add_argument("--quality", choices=("fast", "best"),
                       help="fast: a quarter of the shifts of the stride's grid, at most eight; best: all of them, "
                            "or, of a model without a stride, the image and a turned copy (default: all shifts)")
    speed.add_argument("--shifts", type=positive_int, metavar="N",
                       help="average N shifts of the stride's grid in place of all: faster, a little less clean")
    sub.add_argument("--mask", metavar="MASK.png",
                     help="image of the same size; where it is black or transparent, pixels are "
                          "missing and are filled in")
    sub.add_argument("--sigma", type=positive_number_or("estimate", zero=True), default="estimate", metavar="X",
                     help="noise standard deviation in gray levels of 0..255, or 'estimate' (default); 0, with a "
                          "mask: fill in alone, the other pixels are kept")
    sub.add_argument("--report", metavar="PAGE.html",
                     help="also write a page to look at: before and after under a slider, what was removed")
    sub.add_argument("--clean", metavar="CLEAN.png",
                     help="of --report: the image without noise; the page then has PSNR, and a map of it")
    sub.add_argument("--noise", choices=("gaussian", "poisson"), default="gaussian",
                     help="poisson: the pixels are counts of photons; white of the output is the peak (default: "
                          "gaussian)")
    sub.add_argument("--peak", type=positive_number, metavar="X",
                     help="of --noise poisson: counts of white (default: estimated from the image)")


def _export(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="M.keras", help="trained model")
    sub.add_argument("output", metavar="ENCODER.onnx",
                     help="file to write; or a folder (a name without suffix): card, model and onnx/model.onnx, as "
                          "model hubs have it")
    sub.add_argument("--outputs", nargs="+", choices=("code", "reconstruction", "spikes"),
                     help="what the file computes (default: code and reconstruction; of a sorter's model.keras code "
                          "and spikes, from recordings as they are)")
    sub.add_argument("--validate", action="store_true", help="compare it with Keras first; a file that differs is "
                                                             "not written")


def _info(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("file", metavar="FILE", help=".keras or .onnx file, or a folder that `sort` wrote")
    sub.add_argument("--json", action="store_true", help="print JSON")


def _zoo(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", action="store_true", help="print all that is known of them as JSON")


#: Command -> what it does, and its own options.
_COMMANDS = {
    "demo": ("learn, export and denoise on bundled and simulated data, with figures", _demo),
    "train": ("learn filters and lambda from recordings or images", _train),
    "sort": ("find the spikes of a recording and the units that fire them", _sort),
    "follow": ("find the spikes of a later recording, by templates that change with them", _follow),
    "curate": ("apply a curation of units to a sorting", _curate),
    "events": ("find events in the spikes of trials, and the kernels that they share", _events),
    "encode": ("write the sparse code of a recording or an image, or a recording's spikes", _encode),
    "denoise": ("remove noise from an image with a model trained on images", _denoise),
    "export": ("write the encoder as an ONNX file for onnxruntime", _export),
    "info": ("describe what a .keras or .onnx file, or a sorter's folder, holds", _info),
    "train-denoiser": ("train a model that removes noise from images", _train_denoiser),
    "zoo": ("list the trained models that come with the package", _zoo),
}
#: Command with --low-pass -> its default.
_LOW_PASS = {"train": "2", "encode": "2", "denoise": "the model's own", "train-denoiser": "0: the mean alone"}
_SHOW_PROGRESS = ("train", "sort", "follow", "events", "encode", "denoise", "train-denoiser")
_WRITE_FILES = ("demo", "train", "sort", "follow", "curate", "events", "encode", "denoise", "export",
                "train-denoiser")


def parser() -> argparse.ArgumentParser:
    """The parser; ``command`` of what it returns names the action.

    Example:
        >>> from keras_crsae.cli.parser import parser
        >>> parser().parse_args(["info", "m.keras"]).command
        'info'
    """
    top = OneLineParser(
        prog="keras-crsae", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Convolutional dictionary learning with CRsAE: learn filters, encode, denoise, export.")
    top.add_argument("--version", action="version", version=f"keras-crsae {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, (text, add_options) in _COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        add_options(sub)
        if name in _LOW_PASS:
            sub.add_argument("--low-pass", type=number_not_negative, metavar="X",
                             help="images: standard deviation, in pixels, of a Gaussian blur that is subtracted first, "
                                  f"as the model describes the rest alone (default: {_LOW_PASS[name]})")
        if name in _SHOW_PROGRESS:
            add_progress_option(sub)
        if name in _WRITE_FILES:
            sub.add_argument("--overwrite", action="store_true", help="replace an existing output")
    return top
