"""``keras-crsae``: learn filters, encode, denoise and export from the command line."""

from __future__ import annotations

import importlib
import traceback
import warnings
from collections.abc import Sequence

from crsae_onnx.core.optional import install_hint

from keras_crsae.cli.messages import say
from keras_crsae.cli.parser import parser
from keras_crsae.cli.startup import Failure

#: Command -> module and function that does it. Each module is imported when its command is given, and starts Keras
#: after its checks, so that --help and refused input cost no start of TensorFlow.
ACTIONS = {
    "demo": ("demo", "demo"), "train": ("train", "train"), "encode": ("encode", "encode"),
    "denoise": ("denoise", "denoise"), "export": ("model_files", "export"), "info": ("model_files", "info"),
    "zoo": ("model_files", "zoo"), "sort": ("sort", "sort"), "events": ("events", "events"),
    "train-denoiser": ("train_denoiser", "train"), "curate": ("curate", "curate"),
    "follow": ("follow", "follow"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: words after the program's name; None: those of the process.

    Returns:
        Exit status: 0; 2 when the input, an option or an output is invalid; 1 when the work failed; 130 after Ctrl-C.
    """
    args = parser().parse_args(arguments)
    module, function = ACTIONS[args.command]
    with warnings.catch_warnings():
        # Of the libraries below, only what is addressed to the user.
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
        try:
            getattr(importlib.import_module(f"keras_crsae.cli.{module}"), function)(args)
        except (KeyboardInterrupt, Exception) as error:
            return _report(error)
    return 0


def _report(error: BaseException) -> int:
    """Say what went wrong in one line, and give the exit status."""
    if isinstance(error, KeyboardInterrupt):
        say("interrupted; no output was written.")
        return 130
    if isinstance(error, ModuleNotFoundError):
        return _report_missing(error)
    if isinstance(error, ValueError | FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError):
        say(error)
        return 2
    if isinstance(error, Failure | OSError):
        say(error)
    elif isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
        say("out of memory. Use a smaller --batch-size or --window.")
    else:
        traceback.print_exception(error)
        say("this is a defect of keras-crsae, not of your input. Please report it with the lines above.")
    return 1


def _report_missing(error: ModuleNotFoundError) -> int:
    hint = install_hint(error.name or "")
    if hint is None:
        traceback.print_exception(error)
        say(f"the module {error.name} is missing: the installation is damaged. Reinstall keras-crsae.")
        return 1
    say(hint)
    return 2
