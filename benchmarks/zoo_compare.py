"""What one model for a range of noise costs against models of one level: ``python -m benchmarks.zoo_compare``.

It reads the figures on ``set68`` that the cards hold, and writes the table onto the card of ``denoise-gray`` and into
``docs/denoising.md``.
"""

import json
import re
from pathlib import Path

from benchmarks import common, zoo_card
from benchmarks.train_zoo import START

RANGE = "denoise-gray"
PAGE = Path(__file__).parent.parent / "docs" / "denoising.md"
BEGIN, END = "<!-- python -m benchmarks.zoo_compare -->", "<!-- end of it -->"


def main():
    """Write the table."""
    from keras_crsae import zoo

    rows = compare({name: zoo.metadata(name) for name in zoo.names()})
    path = zoo.path_of(RANGE, zoo.METADATA)
    facts = {**json.loads(path.read_text()), "one_level": rows}
    path.write_text(json.dumps(facts, indent=1) + "\n")
    zoo.path_of(RANGE, zoo.CARD).write_text(zoo_card.card(facts, zoo.load_model_from_zoo(RANGE)))
    PAGE.write_text(page(PAGE.read_text(), rows))
    print(zoo_card.one_level_table(rows))


def compare(zoo_facts):
    """Rows of the table.

    Args:
        zoo_facts: dict of name -> ``metadata.json``, ``RANGE`` among them.

    Returns:
        A list of dicts, by noise level: sigma (grey levels), range and one (dB), name and training of the other model.
    """
    rows = []
    for name, facts in zoo_facts.items():
        levels = facts.get("sigma_in_grey_levels", ())
        if not re.fullmatch(RANGE + r"-\d+", name) or len(levels) > 1:
            continue
        key = f"set68 at sigma {levels[0]:g}"
        if key in facts["metrics"] and key in zoo_facts[RANGE]["metrics"]:
            begun = f" after {START[name]}'s" if name in START else ""
            rows.append({"sigma": f"{levels[0]:g}", "range": zoo_facts[RANGE]["metrics"][key]["psnr"],
                         "one": facts["metrics"][key]["psnr"], "name": name,
                         "training": f"{facts['steps']:,} steps{begun}"})
    return sorted(rows, key=lambda row: float(row["sigma"]))


def page(text, rows):
    """``text`` with a new table between its two marks."""
    head, begun, rest = text.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not begun or not ended:
        raise SystemExit(f"{PAGE} lacks the marks {BEGIN} and {END}, between which the table stands.")
    return f"{head}{BEGIN}\n\n{zoo_card.one_level_table(rows)}\n\n{END}{tail}"


if __name__ == "__main__":
    common.no_options(__doc__)
    main()
