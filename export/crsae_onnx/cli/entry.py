"""Run the command line ``crsae-onnx``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from crsae_onnx.cli.parser import parser
from crsae_onnx.core.optional import MissingPackageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors of the user's input become one line on stderr.

    Args:
        arguments: of the command line; None: ``sys.argv``.

    Returns:
        Exit status: 0, or 2 after an error of the input.
    """
    args = parser().parse_args(arguments)
    try:
        args.action(args)
    except MissingPackageError as error:
        return _fail(f"{error}")
    except ModuleNotFoundError as error:  # a loader's: Keras, TensorFlow
        return _fail(f"{error}. Install it with: pip install 'keras-crsae[export]'")
    except (ValueError, OSError) as error:
        return _fail(" ".join(str(error).split()))
    return 0


def _fail(message: str) -> int:
    print(f"crsae-onnx: {message}", file=sys.stderr)
    return 2
