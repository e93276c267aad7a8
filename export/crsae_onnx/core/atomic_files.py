"""Files and folders that appear whole, or not at all (standard library alone)."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside(target):
    """A path beside ``target`` to write a file or a folder to; it takes the target's place when the block ends well.

    What fails, or is killed, leaves no half target, and no old one is lost.

    Example:
        >>> with beside("notes.txt") as path:
        ...     _ = path.write_text("whole")
        >>> Path("notes.txt").read_text()
        'whole'
    """
    target = Path(target)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        yield temporary
        if temporary.is_dir() and target.is_dir():
            shutil.rmtree(target)  # a folder cannot be replaced in one step
        os.replace(temporary, target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
