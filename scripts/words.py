"""The message catalogues of the site: `make words` brings them up to date with the templates and the code.

    python -m scripts.words            write each catalogue anew, with what is there kept
    python -m scripts.words --check    say what is missing or stale, with status 1 if anything is

Messages that are new have no translation yet: fill them in, in `src/oklp/web/pages/locale/`.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

PAGES = Path(__file__).resolve().parent.parent / "src" / "oklp" / "web" / "pages"
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2")]
OPTIONS = {"templates/**.html": {"trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}}
PLACEHOLDER = re.compile(r"%\([a-z_]+\)[sd]")


def found() -> Catalog:
    """Every message of the pages, in the order of the files."""
    catalogue = Catalog(project="OKLP", charset="utf-8")
    for file, line, message, comments, _context in extract_from_dir(PAGES, METHODS, OPTIONS):
        catalogue.add(message, locations=[(file, line)], auto_comments=comments)
    return catalogue


def catalogues() -> dict[str, Path]:
    return {path.parents[1].name: path for path in sorted(PAGES.glob("locale/*/LC_MESSAGES/messages.po"))}


def read(path: Path, language: str) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=language)


def faults(language: str, path: Path) -> list[str]:
    """What keeps this language from being complete."""
    wanted = {message.id for message in found() if message.id}
    known = {message.id: message for message in read(path, language) if message.id}
    wrong = [f"{language}: not in the catalogue: {each!r}" for each in sorted(wanted - known.keys(), key=str)]
    wrong += [f"{language}: no longer said: {each!r}" for each in sorted(known.keys() - wanted, key=str)]
    for key in wanted & known.keys():
        said = known[key].string
        texts = [text or "" for text in (said if isinstance(said, tuple | list) else [said])]
        sources = key if isinstance(key, tuple | list) else [key]
        if known[key].fuzzy or not all(texts):
            wrong.append(f"{language}: not translated: {key!r}")
        elif any(set(PLACEHOLDER.findall(text)) - set(PLACEHOLDER.findall(" ".join(sources))) for text in texts):
            wrong.append(f"{language}: other placeholders than {key!r}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        wrong = [fault for language, path in catalogues().items() for fault in faults(language, path)]
        print("\n".join(wrong) or "All messages are translated.")
        return 1 if wrong else 0
    for language, path in catalogues().items():
        catalogue = read(path, language)
        catalogue.update(found(), no_fuzzy_matching=True)
        catalogue.obsolete.clear()
        with path.open("wb") as file:
            write_po(file, catalogue, width=100, no_location=True, omit_header=False, sort_output=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
