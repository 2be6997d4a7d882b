"""Readers of each kind of source: CNXML textbooks, HTML and Markdown manuals, WordNet."""

from __future__ import annotations

import html
import random
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from . import wordnet
from .pairs import MIN_WORDS, Pair, from_section, question, tidy

CNXML = "{http://cnx.rice.edu/cnxml}"
SKIPPED = {"math", "figure", "table", "exercise", "media", "metadata", "footnote", "equation", "list-table"}


def repository_files(repository: Path, commit: str, suffix: str) -> Iterator[tuple[str, str]]:
    """(path, text) of the files of one commit, read from a git directory without a work tree."""
    git = ["git", "-C", str(repository)]
    names = subprocess.run([*git, "ls-tree", "-r", "--name-only", commit], capture_output=True, text=True, check=True)
    for name in names.stdout.splitlines():
        if name.endswith(suffix):
            shown = subprocess.run([*git, "show", f"{commit}:{name}"], capture_output=True, check=False)
            if shown.returncode == 0:
                yield name, shown.stdout.decode("utf-8", "replace")


def _local(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]


def _flat(element: ET.Element) -> str:
    if _local(element.tag) in SKIPPED:
        return " "
    pieces = [element.text or ""]
    for child in element:
        pieces.append(_flat(child))
        pieces.append(child.tail or "")
    return "".join(pieces)


def cnxml(text: str, source: str, group: str, rng: random.Random) -> Iterator[Pair]:
    """A textbook module: section titles, paragraphs, glossary, solved questions."""
    try:
        root = ET.fromstring(text)
    except ET.ParseError:
        return
    title = tidy("".join(root.findtext(f"{CNXML}title") or ""))
    content = root.find(f"{CNXML}content")
    if content is None:
        return

    def sections(node: ET.Element, heading: str) -> Iterator[tuple[str, str]]:
        prose: list[str] = []
        for child in node:
            kind = _local(child.tag)
            if kind in ("section", "note", "example"):
                named = child.find(f"{CNXML}title")
                inner = tidy(_flat(named)) if named is not None else heading
                yield from sections(child, inner or heading)
            elif kind in ("para", "list"):
                prose.append(tidy(_flat(child)))
        if prose:
            yield heading, " ".join(prose)

    for heading, prose in sections(content, title):
        yield from from_section(heading, title, prose, source, group, rng)
    glossary = root.find(f"{CNXML}glossary")
    terms = []
    for definition in glossary if glossary is not None else []:
        term, meaning = definition.find(f"{CNXML}term"), definition.find(f"{CNXML}meaning")
        if term is not None and meaning is not None:
            terms.append((tidy(_flat(term)), tidy(_flat(meaning))))
    for word, gloss in terms:
        if len(gloss.split()) >= 5:
            if rng.random() < 0.5:
                yield Pair(question(word, rng), f"{title}. {gloss}", source, f"{group}#{word}")
            else:
                yield Pair(gloss, f"{word}. {title}", source, f"{group}#{word}")
    for exercise in root.iter(f"{CNXML}exercise"):
        problem, solution = exercise.find(f"{CNXML}problem"), exercise.find(f"{CNXML}solution")
        if problem is None or solution is None:
            continue
        asked, answer = tidy(_flat(problem)), tidy(_flat(solution))
        if 5 <= len(asked.split()) <= 40 and len(answer.split()) >= 15:
            yield Pair(asked, " ".join(answer.split()[:120]), source, f"{group}#{len(asked)}")


BLOCKED = frozenset(
    {"script", "style", "pre", "nav", "table", "footer", "header", "code-block", "math", "svg", "form", "select"}
)


class _Sections(HTMLParser):
    """Headings and the prose beneath them; code, tables and navigation are left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str]] = []
        self.title = ""
        self._heading: list[str] = []
        self._prose: list[str] = []
        self._blocked = 0
        self._in_heading = self._in_paragraph = self._in_title = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in BLOCKED:
            self._blocked += 1
        elif tag in ("h1", "h2", "h3", "h4"):
            self.flush()
            self._heading = []
            self._in_heading = 1
        elif tag in ("p", "dd", "li"):
            self._in_paragraph += 1
            self._prose.append(" ")
        elif tag == "title":
            self._in_title = 1

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKED:
            self._blocked = max(0, self._blocked - 1)
        elif tag in ("h1", "h2", "h3", "h4"):
            self._in_heading = 0
        elif tag in ("p", "dd", "li"):
            self._in_paragraph = max(0, self._in_paragraph - 1)
        elif tag == "title":
            self._in_title = 0

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif self._blocked:
            return
        elif self._in_heading:
            self._heading.append(data)
        elif self._in_paragraph:
            self._prose.append(data)

    def flush(self) -> None:
        heading = tidy("".join(self._heading)).strip("\u00b6# ")
        prose = tidy("".join(self._prose))
        if len(prose.split()) >= MIN_WORDS:
            self.found.append((re.sub(r"^[\d.]+\s+", "", heading), prose))
        self._prose = []


def html_manual(text: str, source: str, group: str, rng: random.Random) -> Iterator[Pair]:
    parser = _Sections()
    parser.feed(text)
    parser.flush()
    title = tidy(re.split(r"[\u2014|\u00b6]|&#8212;| - ", parser.title)[0])
    for heading, prose in parser.found:
        yield from from_section(heading or title, title, prose, source, group, rng, crops=0.3)


def markdown(text: str, source: str, group: str, rng: random.Random) -> Iterator[Pair]:
    """Sections by `#` headings; code blocks, tables, front matter and link targets are removed."""
    front = re.match(r"(?s)---\n(.*?)\n---\n", text)
    title = ""
    if front:
        named = re.search(r"(?m)^title:\s*(.+)$", front.group(1))
        title = named.group(1).strip("\"' ") if named else ""
        text = text[front.end() :]
    text = re.sub(r"(?s)```.*?```|\{%.*?%\}|\{:.*?\}|<!--.*?-->|\{\{.*?\}\}", " ", text)
    text = re.sub(r"(?m)^\s*\|.*$|^\s*!\[.*$|^\s*\[[^\]]+\]:.*$", " ", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = html.unescape(re.sub(r"<[^>]+>|[*`_]{1,3}", "", text))
    heading = title
    for piece in re.split(r"(?m)^(#{1,4}\s.*)$", text):
        if re.match(r"#{1,4}\s", piece):
            heading = tidy(piece.lstrip("# "))
            title = title or heading
        elif len(piece.split()) >= MIN_WORDS:
            yield from from_section(heading, title, tidy(piece), source, group, rng, crops=0.3)


def wordnet_pairs(directory: Path, count: int, rng: random.Random) -> Iterator[Pair]:
    """Lemma to gloss, gloss to lemmas, and example to gloss, of a sample of senses."""
    senses = [s for s in wordnet.read(directory) if len(s.definition.split()) >= 6]
    for n, sense in enumerate(rng.sample(senses, min(count, len(senses)))):
        lemma, *others = sense.lemmas
        rest = "; ".join([sense.definition, *sense.examples])
        named = f"{', '.join(others)}: {rest}" if others else rest
        kind = rng.random()
        if kind < 0.5:
            query, passage = question(lemma, rng), named
        elif kind < 0.8:
            query, passage = sense.definition, "; ".join([", ".join(sense.lemmas), *sense.examples])
        else:
            query, passage = (
                (sense.examples[0] if sense.examples else lemma),
                f"{', '.join(sense.lemmas)}: {sense.definition}",
            )
        yield Pair(query, passage, "wordnet", f"wordnet#{n}")
