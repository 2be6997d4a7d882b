"""A user's own corpus: NDJSON with one document a line, as `csplade ingest` reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Document:
    """A document's id, title (may be empty) and body."""

    id: str
    title: str
    body: str

    @property
    def text(self) -> str:
        return f"{self.title} {self.body}".strip()


def read(path: Path) -> Iterator[Document]:
    """All documents with text.  Fields: `_id` or `id`, `title`, and `text`, `body` or `content`.

    Raises ValueError naming the line that is not a JSON object with text.
    """
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                body = next((row[f] for f in ("text", "body", "content") if row.get(f)), "")
                title = row.get("title") or ""
            except (json.JSONDecodeError, AttributeError) as reason:
                raise ValueError(f"{path}, line {number} is not a JSON object: {reason}") from reason
            if not (isinstance(body, str) and isinstance(title, str)):
                raise ValueError(f"{path}, line {number}: title and text must be strings")
            if body or title:
                yield Document(str(row.get("_id", row.get("id", number))), title, body)
