"""Run the command line ``crsae-onnx``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from crsae_onnx.cli.parser import parser
from crsae_onnx.core.optional import MissingPackageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors of the user's input become one line on stderr.

    Args:
        arguments: of the command line; None: ``sys.argv``.

    Returns:
        Exit status: 0; 2 after an error of the input; 130 after Ctrl-C.
    """
    args = parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
        try:
            args.action(args)
        except MissingPackageError as error:
            return _fail(error)
        except ModuleNotFoundError as error:  # a loader's: Keras, TensorFlow
            return _fail(f"{error}. Install it with: pip install 'keras-crsae[export]'")
        except (ValueError, OSError) as error:
            return _fail(error)
        except KeyboardInterrupt:
            _say("interrupted; no output was written.")
            return 130
    return 0


def _fail(message: object) -> int:
    _say(message)
    return 2


def _say(message: object) -> None:
    """Print one line on standard error; on a terminal it takes the place of an unfinished bar."""
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{clear}crsae-onnx: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
