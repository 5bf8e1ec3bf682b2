"""The message catalogues of the site: `make words` brings them up to date with the templates and the code.

    python -m scripts.words            write each catalogue anew, with what is there kept
    python -m scripts.words --check    say what is missing or stale, with status 1 if anything is

Each surface has a catalogue of its own, so that people who write different pages do not meet in a file; what the shared
pages say is in `messages.po` and not said again. Messages that are new have no translation yet: fill them in, in
`src/oklp/web/pages/locale/`.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from oklp.domain.faults import KINDS

PAGES = Path(__file__).resolve().parent.parent / "src" / "oklp" / "web" / "pages"
LOCALES = PAGES / "locale"
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2")]
OPTIONS = {"templates/**.html": {"trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}}
PLACEHOLDER = re.compile(r"%\([a-z_]+\)[sd]")
# Headers that would change with each run, or say nothing.
UNWANTED = tuple(
    f'"{header}'
    for header in (
        "POT-Creation-Date",
        "PO-Revision-Date",
        "Last-Translator",
        "Language-Team",
        "Report-Msgid-Bugs-To",
        "Generated-By",
    )
)
SHARED = "messages"
SURFACES = ("operator", "studio")


def surface_of(file: str) -> str:
    """Whose catalogue the messages of a file are in, by the folder that it is in."""
    folder = file.removeprefix("templates/").partition("/")[0]
    return folder if folder in SURFACES else SHARED


def found() -> dict[str, Catalog]:
    """Every message of the pages, by surface."""
    catalogues = {surface: Catalog(project="OKLP", charset="utf-8") for surface in (SHARED, *SURFACES)}
    for file, line, message, comments, _context in extract_from_dir(PAGES, METHODS, OPTIONS):
        catalogues[surface_of(file)].add(message, locations=[(file, line)], auto_comments=comments)
    # What faults do is in the domain: the command line and docs/faults.md say it too.
    for kind in KINDS.values():
        for text in (kind.help, kind.expect):
            catalogues["studio"].add(text)
    shared = {message.id for message in catalogues[SHARED] if message.id}
    for surface in SURFACES:
        for key in [message.id for message in catalogues[surface] if message.id in shared]:
            catalogues[surface].delete(key)
    return catalogues


def languages() -> list[str]:
    return sorted(path.name for path in LOCALES.iterdir() if path.is_dir())


def path_of(language: str, surface: str) -> Path:
    return LOCALES / language / "LC_MESSAGES" / f"{surface}.po"


def read(language: str, surface: str) -> Catalog:
    path = path_of(language, surface)
    if not path.exists():
        return Catalog(locale=language, project="OKLP", charset="utf-8")
    with path.open("rb") as file:
        return read_po(file, locale=language)


def faults(language: str) -> list[str]:
    """What keeps this language from being complete."""
    return [fault for surface, wanted in found().items() for fault in _faults(language, surface, wanted)]


def _faults(language: str, surface: str, catalogue: Catalog) -> list[str]:
    place = f"{language}, {surface}.po"
    wanted = {message.id for message in catalogue if message.id}
    known = {message.id: message for message in read(language, surface) if message.id}
    wrong = [f"{place}: not in the catalogue (make words): {each!r}" for each in sorted(wanted - known.keys(), key=str)]
    wrong += [f"{place}: no longer said (make words): {each!r}" for each in sorted(known.keys() - wanted, key=str)]
    for key in wanted & known.keys():
        said = known[key].string
        texts = [text or "" for text in (said if isinstance(said, tuple | list) else [said])]
        sources = key if isinstance(key, tuple | list) else [key]
        if known[key].fuzzy or not all(texts):
            wrong.append(f"{place}: not translated: {key!r}")
        elif any(set(PLACEHOLDER.findall(text)) - set(PLACEHOLDER.findall(" ".join(sources))) for text in texts):
            wrong.append(f"{place}: other placeholders than {key!r}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        wrong = [fault for language in languages() for fault in faults(language)]
        print("\n".join(wrong) or "All messages are translated.")
        return 1 if wrong else 0
    for language in languages():
        for surface, wanted in found().items():
            catalogue = read(language, surface)
            catalogue.update(wanted, no_fuzzy_matching=True)
            catalogue.obsolete.clear()
            out = io.BytesIO()
            write_po(out, catalogue, width=100, no_location=True, omit_header=False, sort_output=True)
            lines = out.getvalue().decode().splitlines(keepends=True)
            kept = "".join(line for line in lines if not line.startswith(UNWANTED))
            path_of(language, surface).write_text(kept, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
