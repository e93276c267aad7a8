"""The options of ``keras-crsae`` as an argparse parser; no heavy import."""

import argparse
import math

from crsae_onnx.core.raw_binary import RAW_DTYPES

from keras_crsae import __version__

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
  keras-crsae export spikes.keras encoder.onnx --validate
  keras-crsae info encoder.onnx

`keras-crsae COMMAND --help` lists the options of a command.
exit status: 0 done; 2 unfit input, option or output (nothing was written); 1 the work failed; 130 interrupted."""


class _Parser(argparse.ArgumentParser):
    """Refuses in one line; argparse would print the whole usage before it."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}. `{self.prog} --help` lists the options.\n")


def _positive_int(text):
    value = int(text) if text.lstrip("+-").isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, not {text!r}")
    return value


def _number(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text!r}")
    return value


def _number_or(word):
    def convert(text):
        if text == word:
            return text
        try:
            return _number(text)
        except argparse.ArgumentTypeError:
            raise argparse.ArgumentTypeError(f"expected {word!r} or a number above 0, not {text!r}") from None
    return convert


def _first_lambda(text):
    """"donoho", a number, or "X/sigma" as ("over sigma", X)."""
    number, slash, sigma = text.partition("/")
    if slash and sigma != "sigma":
        raise argparse.ArgumentTypeError(f"expected 'donoho', a number above 0 or one as in 2/sigma, not {text!r}")
    return ("over sigma", _number(number)) if slash else _number_or("donoho")(text)


def _not_negative(text):
    return 0.0 if text.strip("0.") == "" and "0" in text else _number(text)


def _size(text):
    """One whole number, or two as in 7x5 (height x width)."""
    values = tuple(_positive_int(part) for part in text.split("x"))
    if len(values) > 2:
        raise argparse.ArgumentTypeError(f"expected a whole number or two as in 7x5, not {text!r}")
    return values if len(values) > 1 else values[0]


def _train(sub):
    sub.add_argument("input", nargs="+", metavar="INPUT",
                     help=".npy, .npz or .wav: recordings (samples,) or (samples, channels), windows (batch, time, "
                          "channels), with --rank 2 images; or image files (png, jpeg, tiff): grey levels in [0, 1]")
    sub.add_argument("--output", required=True, metavar="M.keras", help="model file to write")
    sub.add_argument("--filters", required=True, type=_positive_int, metavar="N", help="number of filters")
    sub.add_argument("--kernel-size", required=True, type=_size, metavar="N[xN]",
                     help="length of a filter in samples; images: side, or HEIGHTxWIDTH")
    sub.add_argument("--rank", type=int, choices=(1, 2),
                     help="1: signals, 2: images (default: 2 for image files and arrays of 4 axes, else 1)")
    sub.add_argument("--strides", type=_size, default=1, metavar="N[xN]", help="of the code (default: 1)")
    sub.add_argument("--window", type=_size, metavar="N[xN]",
                     help="recordings are cut into windows of N samples (default: 2048, or 8 filter lengths if more), "
                          "images into random patches of this side (default: 64)")
    sub.add_argument("--limit", type=_positive_int, metavar="N",
                     help="use N windows or patches, drawn at random (default: all windows; 200 patches)")
    sub.add_argument("--key", metavar="NAME", help="array of a .npz file that holds several")
    sub.add_argument("--gray", action="store_true", help="turn colour images grey")
    model = sub.add_argument_group("model")
    model.add_argument("--iterations", type=_positive_int, metavar="N", help="of FISTA (default: 40; images: 15)")
    model.add_argument("--shrinkage", choices=("nonnegative_soft", "soft"),
                       help="codes of one sign or of both (default: nonnegative_soft; images: soft)")
    model.add_argument("--sigma", type=_number_or("estimate"), default="estimate", metavar="X",
                       help="noise standard deviation in the data's unit (images of whole numbers: in grey levels of "
                            "0..255), or 'estimate' (default)")
    model.add_argument("--sigma-learning", action="store_true", help="re-estimate sigma during training")
    model.add_argument("--lambda", dest="lambda_init", type=_first_lambda, metavar="X",
                       help="first lambda: a number (the threshold is lambda * sigma^2), one over sigma as in "
                            "2/sigma, or 'donoho': sqrt(2 log(filters * positions)) / sigma "
                            "(default: donoho; images: 1.2/sigma)")
    model.add_argument("--lambda-learning", choices=("em_closed_form", "em", "none"), default="em_closed_form",
                       help="second stage of training: lambda at its closed form, by gradient steps, or kept "
                            "(default: em_closed_form)")
    model.add_argument("--lambda-shared", action="store_true", help="one lambda for all filters")
    model.add_argument("--init", choices=("windows", "energy", "dct", "random"),
                       help="first filters: random windows of the data, strong ones, cosines, noise "
                            "(default: energy; images: windows)")
    run = sub.add_argument_group("training")
    run.add_argument("--epochs", type=_positive_int, default=10, metavar="N", help="default: 10")
    run.add_argument("--batch-size", type=_positive_int, default=4, metavar="N",
                     help="windows or patches a step (default: 4)")
    run.add_argument("--learning-rate", type=_number, default=0.02, metavar="X",
                     help="of Adam on the filters, falling to zero along a cosine (default: 0.02)")
    run.add_argument("--gradient", choices=("unrolled", "truncated", "decoder"), default="decoder",
                     help="of the filters through all iterations, the last ten, or the decoder alone; the last is by "
                          "far the fastest (default: decoder)")
    run.add_argument("--checkpoint", metavar="C.keras",
                     help="file to go on from after a stop, with the same options and inputs; made if missing")
    run.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    many = sub.add_argument_group("several machines", "Start the same command on each, with its own --worker-index. "
                                  "The first writes the model; --checkpoint must be on a disk that all reach.")
    many.add_argument("--workers", type=_addresses, metavar="HOST:PORT,...", help="every machine, the same on all")
    many.add_argument("--worker-index", type=_index, metavar="N", help="which of them this is, counted from 0")


def _addresses(text):
    """["host:port", ...] of at least two machines."""
    found = text.split(",")
    parts = [address.rpartition(":") for address in found]
    if any(not host or not port.isdigit() or not 0 < int(port) < 65536 for host, _, port in parts):
        raise argparse.ArgumentTypeError(f"expected HOST:PORT,HOST:PORT, not {text!r}")
    if len(found) < 2 or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"expected at least two different machines, not {text!r}")
    return found


def _index(text):
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, not {text!r}")
    return int(text)


def _recording(sub, needed):
    """How a recording file is read; ``needed`` says when the sampling frequency is."""
    sub.add_argument("--fs", type=_number, metavar="HZ", help=f"sampling frequency ({needed})")
    sub.add_argument("--channels", type=_positive_int, metavar="N", help="of raw binary files")
    sub.add_argument("--dtype", choices=RAW_DTYPES, default="int16",
                     help="samples of raw binary files, little-endian (default: int16)")
    sub.add_argument("--stream", metavar="NAME", help="which signal of a file that holds several")


def _sort(sub):
    sub.add_argument("input", metavar="RECORDING",
                     help=".npy or .npz (samples, channels); raw binary .dat, .bin, .raw; .wav; .nwb or another format "
                          "that SpikeInterface reads; a folder that it saved")
    sub.add_argument("--output", required=True, metavar="FOLDER",
                     help="folder for spikes.csv, templates.npy, model.keras, encoder.onnx, report.html")
    _recording(sub, "for .npy, .npz and raw binary")
    sub.add_argument("--key", metavar="NAME", help="array of a .npz file that holds several")
    sub.add_argument("--units", type=_positive_int, metavar="N", help="keep N units at most (default: all found)")
    sub.add_argument("--band", type=_number, nargs=2, metavar=("LOW", "HIGH"),
                     help="band-pass filter in Hz, as 300 6000 for raw recordings (default: none)")
    sub.add_argument("--common-reference", action="store_true", help="subtract the median over channels")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def _noise(text):
    """A level in grey levels of 255 or two as in 10-60; kept as text."""
    parts = text.split("-")
    values = [_number(part) for part in parts]
    if len(values) > 2 or values != sorted(values) or values[-1] > 255:
        raise argparse.ArgumentTypeError(f"expected a noise level up to 255 or two as in 10-60, not {text!r}")
    return text


def _train_denoiser(sub):
    sub.add_argument("input", nargs="*", metavar="INPUT",
                     help="folders or image files (png, jpeg, tiff); none: the photographs inside scikit-image")
    sub.add_argument("--output", required=True, metavar="M.keras", help="model file to write")
    sub.add_argument("--sigma", type=_noise, default="25", metavar="X[-Y]",
                     help="noise standard deviation in grey levels of 0..255, or a range as in 10-60 (default: 25)")
    sub.add_argument("--steps", type=_positive_int, metavar="N", help="training steps (default: as --minutes says)")
    sub.add_argument("--minutes", type=_number, metavar="X", help="time for training (default: 15, unless --steps)")
    data = sub.add_argument_group("data")
    data.add_argument("--colour", action="store_true", help="a model of three channels; otherwise images become grey")
    data.add_argument("--clean", nargs="+", metavar="INPUT", help="clean images of INPUT, which is noisy, in its order")
    data.add_argument("--noisy", action="store_true", help="INPUT is noisy already (with --unsupervised)")
    data.add_argument("--unsupervised", action="store_true", help="learn from the noisy images alone, by EM")
    data.add_argument("--window", type=_positive_int, default=60, metavar="N", help="side of a crop (default: 60)")
    model = sub.add_argument_group("model")
    model.add_argument("--filters", type=_positive_int, default=64, metavar="N", help="default: 64")
    model.add_argument("--kernel-size", type=_size, default=8, metavar="N[xN]", help="default: 8")
    model.add_argument("--strides", type=_size, default=4, metavar="N[xN]", help="default: 4")
    model.add_argument("--iterations", type=_positive_int, metavar="N",
                       help="of FISTA (default: 10; 30 with --unsupervised)")
    model.add_argument("--lambda-learning", choices=("backprop", "em", "em_closed_form"), default="backprop",
                       help="how lambda learns against clean images (default: backprop)")
    run = sub.add_argument_group("training")
    run.add_argument("--learning-rate", type=_number, metavar="X",
                     help="of Adam on the filters, falling to zero along a cosine (default: 0.01; 0.002 with "
                          "--unsupervised)")
    run.add_argument("--checkpoint", metavar="C.keras", help="file to go on from after a stop; made if missing")
    run.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def parser():
    """The parser; ``command`` names the action."""
    top = _Parser(
        prog="keras-crsae", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Convolutional dictionary learning with CRsAE: learn filters, encode, denoise, export.")
    top.add_argument("--version", action="version", version=f"keras-crsae {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def command(name, text):
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        return sub

    demo = command("demo", "learn, export and denoise on bundled and simulated data, with figures")
    demo.add_argument("--output", metavar="FOLDER", help="folder for the figures (default: demo-output)")
    demo.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")

    train = command("train", "learn filters and lambda from recordings or images")
    _train(train)

    sort = command("sort", "find the spikes of a recording and the units that fire them")
    _sort(sort)

    encode = command("encode", "write the sparse code of a recording or an image, or a recording's spikes")
    encode.add_argument("model", metavar="M.keras", help="trained model; or a folder that `sort` wrote")
    encode.add_argument("input", metavar="INPUT", help=".npy or .wav (of any length, memory-mapped), .npz or an image; "
                                                       "with a folder whatever `sort` reads")
    encode.add_argument("output", metavar="OUTPUT",
                        help=".npy: dense code (batch, position, filter), float32; .npz: its non-zero values "
                             "as arrays index (batch, position), filter, value, shape; with a folder .csv: time (s), "
                             "unit, amplitude, sample of each spike")
    _recording(encode, "with a folder: default, the sorter's, unless the file tells it")
    encode.add_argument("--sparse", action="store_true", help="insist on the sparse form (.npz)")
    encode.add_argument("--key", metavar="NAME", help="array of a .npz file that holds several")
    encode.add_argument("--window", type=_positive_int, metavar="N",
                        help="samples of a recording encoded in one piece (default: 2^20); smaller needs less memory")

    denoise = command("denoise", "remove noise from an image with a model trained on images")
    denoise.add_argument("input", metavar="IN.png", help="png, jpeg or tiff; 8 or 16 bits, grey or colour")
    denoise.add_argument("output", metavar="OUT.png", help="image to write, of the same type and size")
    denoise.add_argument("--model", default="denoise-gray", metavar="NAME",
                         help="a zoo model (`keras-crsae zoo` lists them), or a .keras or exported .onnx file "
                              "(default: denoise-gray)")
    denoise.add_argument("--shifts", type=_positive_int, metavar="N",
                         help="average N shifts of the stride's grid in place of all: faster, a little less clean")
    denoise.add_argument("--mask", metavar="MASK.png", help="image of the same size; where it is black, pixels are "
                                                            "missing and are filled in")
    denoise.add_argument("--sigma", type=_number_or("estimate"), default="estimate", metavar="X",
                         help="noise standard deviation in grey levels of 0..255, or 'estimate' (default)")

    export = command("export", "write the encoder as an ONNX file for onnxruntime")
    export.add_argument("model", metavar="M.keras", help="trained model")
    export.add_argument("output", metavar="ENCODER.onnx", help="file to write")
    export.add_argument("--outputs", nargs="+", choices=("code", "reconstruction"), default=["code", "reconstruction"],
                        help="what the file computes (default: both)")
    export.add_argument("--validate", action="store_true", help="compare it with Keras first; a file that differs is "
                                                                "not written")

    info = command("info", "tell what a .keras or .onnx file holds")
    info.add_argument("file", metavar="FILE", help=".keras or .onnx file")
    info.add_argument("--json", action="store_true", help="print JSON")

    denoiser = command("train-denoiser", "train a model that takes noise from images")
    _train_denoiser(denoiser)
    zoo = command("zoo", "list the trained models that come with the package")
    zoo.add_argument("--json", action="store_true", help="print all that is known of them as JSON")

    for sub in (train, encode, denoise, denoiser):
        sub.add_argument("--low-pass", type=_not_negative, metavar="X",
                         help="images: a Gaussian blur of this width in pixels is taken away first, as the model knows "
                              "only the rest (default: 2, for denoise and train-denoiser the model's own; 0: nothing)")
    for sub in (demo, train, sort, encode, denoise, export, denoiser):
        sub.add_argument("--overwrite", action="store_true", help="replace an existing output")
    return top
