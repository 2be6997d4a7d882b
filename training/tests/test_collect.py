"""Training data comes from named sources, reproducibly, and carries no path of the machine."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from csplade_train import cli
from csplade_train.data import catalogue
from csplade_train.data.collect import presentable
from csplade_train.data.pairs import Pair

OURS = Path(__file__).parents[1] / "data" / "sources.yaml"
PROSE = (
    "The {0} flows past the {1} and slows near the wall. " * 3 + "A boundary layer grows there. It carries {0} away. "
)
PAGE = "<html><head><title>{0} manual - x</title></head><body><h2>About {0}</h2><p>{1}</p></body></html>"


def git(directory: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    end = subprocess.run(["git", "-C", str(directory), *identity, *words], capture_output=True, text=True, check=True)
    return end.stdout.strip()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A catalogue of a Markdown repository and an unpacked manual, both made here."""
    clone = tmp_path / "clones" / "someone+notes"
    (clone / "guide").mkdir(parents=True)
    git(clone, "init", "--quiet")
    for name in ("river", "turbine", "valve", "pump"):
        text = f"# {name} basics\n\n{PROSE.format(name, 'bank')}\n"
        (clone / "guide" / f"{name}.md").write_text(text, encoding="utf-8")
    (clone / "draft.md").write_text("# never read\n\n" + PROSE.format("draft", "draft"), encoding="utf-8")
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "-m", "notes")
    manual = tmp_path / "unpacked" / "usr" / "share" / "doc" / "tool"
    manual.mkdir(parents=True)
    for name in ("gasket", "bearing", "spindle"):
        (manual / f"{name}.html").write_text(PAGE.format(name, PROSE.format(name, "axle")), encoding="utf-8")
    entries = [
        {
            "name": "notes", "title": "Notes", "kind": "markdown", "license": "CC-BY-4.0", "quota": "prose",
            "repository": "someone/notes", "commit": git(clone, "rev-parse", "HEAD"), "files": "guide/.*",
        },
        {
            "name": "docs/tool", "title": "Tool manual", "kind": "html", "license": "MIT", "quota": "manuals",
            "package": "tool-doc", "version": "1.0-1", "globs": ["doc/tool/*.html"],
        },
    ]  # fmt: skip
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({"seed": 3, "quotas": {"prose": 3, "manuals": 50}, "sources": entries}), "utf-8")
    return path


def collect(sources: Path, out: Path) -> list[Pair]:
    folder = sources.parent
    words = ["collect", "--sources", str(sources), "--cache", str(folder / "cache"), "--out", str(out)]
    words += ["--repositories", str(folder / "clones"), "--unpacked", str(folder / "unpacked")]
    assert cli.main(words) == 0
    return [Pair(**json.loads(line)) for line in out.read_text(encoding="utf-8").splitlines()]


def test_collecting_twice_gives_the_same_file_within_quotas_and_without_paths(sources: Path, tmp_path: Path) -> None:
    made = collect(sources, tmp_path / "a.jsonl")
    collect(sources, tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    counts = Counter(p.source for p in made)
    assert counts["notes"] == 3 and counts["docs/tool"] >= 3
    assert not any("draft" in p.passage for p in made), "only the named files are read"
    assert not any(str(tmp_path) in p.group for p in made)
    assert {p.group for p in made if p.source == "docs/tool"} <= {
        f"docs/tool/doc/tool/{n}.html" for n in ("gasket", "bearing", "spindle")
    }


def test_a_source_that_gives_nothing_is_an_error_and_not_a_smaller_file(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources.write_text(sources.read_text(encoding="utf-8").replace("guide/.*", "elsewhere/.*"), encoding="utf-8")
    words = ["collect", "--sources", str(sources), "--cache", str(tmp_path), "--out", str(tmp_path / "x.jsonl")]
    assert cli.main([*words, "--repositories", str(sources.parent / "clones")]) == 2
    assert "notes gave no pair" in capsys.readouterr().err
    assert not (tmp_path / "x.jsonl").exists()


def test_our_catalogue_is_whole_and_its_table_names_every_source_and_licence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours = catalogue.load(OURS)
    assert len(ours.sources) > 40
    assert not [s.name for s in ours.sources if any(word in s.license for word in ("-NC", "-SA", "-ND"))]
    assert cli.main(["sources", "--sources", str(OURS), "--markdown"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == len(ours.sources) + 2
    for source, row in zip(ours.sources, table[2:], strict=True):
        assert source.title in row and source.license in row


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"license": " "}, "license must be one"),
        ({"license": "each file's own"}, "license must be one"),
        ({"commit": "HEAD"}, "whole commit"),
        ({"quota": "nothing"}, "not among quotas"),
        ({"kind": "pdf"}, "kind must be"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_catalogue_entry_that_cannot_be_reproduced_is_refused(
    sources: Path, change: dict[str, str], message: str
) -> None:
    document = yaml.safe_load(sources.read_text(encoding="utf-8"))
    document["sources"][0] |= change
    sources.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        catalogue.load(sources)


def test_debris_of_manuals_is_left_out_and_prose_kept() -> None:
    passage = "A valve closes when the pressure behind it falls below the pressure ahead of it."
    assert presentable(Pair("how a valve closes", passage, "docs/tool", "g"))
    assert not presentable(Pair("tool.valve.close()", passage, "docs/tool", "g"))
    assert not presentable(Pair("Review Questions", passage, "openstax/physics", "g"))
