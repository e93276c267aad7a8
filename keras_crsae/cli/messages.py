"""What the command line says to its user, on standard error."""

from __future__ import annotations

import sys


def say(text: object) -> None:
    """Print one line, whatever the text's own line breaks; on a terminal it takes the place of an unfinished bar.

    Example:
        >>> from keras_crsae.cli.messages import say
        >>> say("two\\nlines")
    """
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{clear}keras-crsae: {' '.join(str(text).split())}", file=sys.stderr, flush=True)
