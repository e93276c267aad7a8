"""What the command line says to its user, on standard error."""

from __future__ import annotations

import sys


def say(text: object) -> None:
    """Print one line, whatever the text's own line breaks.

    Example:
        >>> from keras_crsae.cli.messages import say
        >>> say("two\\nlines")
    """
    print(f"keras-crsae: {' '.join(str(text).split())}", file=sys.stderr, flush=True)
