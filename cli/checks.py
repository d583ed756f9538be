"""The result of a check for those who run it in CI: GitHub's annotations and summary, and JUnit XML.

GitHub reads commands from stdout and a table from the file that GITHUB_STEP_SUMMARY names. JUnit's form is the
common part of what Jenkins, GitLab and others read: suites, a case a check, a failure with its message.
"""

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree

from .output import escape_commands, format_markdown, show_note, show_rows, show_warnings

# What XML 1.0 has no place for, not even escaped.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Case(NamedTuple):
    """One thing that was checked: of what, which, whether it holds, and a sentence about it."""

    group: str
    name: str
    met: bool
    said: str


def show_checked(
    list_rows: Callable[..., Sequence[object]],
    output: Literal["table", "json", "csv", "markdown", "github"],
    name: str,
    doubts: Sequence[str],
    failed: Sequence[str],
    quiet: bool,
) -> None:
    """Print rows, doubts and what failed; with `github` as commands to it, and the rows in its summary.

    `list_rows` takes `marked`, for a reader. Failures are said even where all else is to be quiet.
    """
    if output == "github":
        for line in () if quiet else doubts:
            _annotate("warning", f"vocabkit {name}", line)
        for line in failed:
            _annotate("error", f"vocabkit {name}", line)
        _summarise(f"vocabkit {name}", format_markdown(list_rows(marked=True)), failed)
        return
    show_rows(list_rows(marked=True) if output in ("table", "markdown") else list_rows(), output, name)
    show_warnings(doubts, quiet)
    for line in failed:
        show_note(f"failed: {line}")


def _annotate(kind: str, title: str, message: str) -> None:
    """Print a command of GitHub's: a message of one line, its special characters escaped as GitHub says."""
    text = escape_commands(message).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    sys.stdout.write(f"::{kind} title={title}::{text}\n")


def _summarise(title: str, table: str, failed: Sequence[str]) -> None:
    """Add the verdict and the table to the job's summary; without one, to stdout."""
    verdict = "".join(f"- ❌ {escape_commands(line)}\n" for line in failed) or "✅ nothing failed\n"
    text = f"## {title}\n\n{verdict}\n{table}\n"
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text)
    else:
        sys.stdout.write(text)


def check_junit(path: Path | None, *, force: bool) -> None:
    """Raise OutputError before any work where a JUnit file cannot be written, or something else is there."""
    from vocabkit.core.errors import OutputError

    if path is None:
        return
    if not path.parent.is_dir():
        above = shlex.quote(str(path.parent))
        raise OutputError(f"{path}: {path.parent} is no folder", f"mkdir -p {above}")
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise OutputError(f"{path}: is no regular file", "name a new one, as --junit junit.xml")
    with path.open("rb") as file:
        ours = b"<testsuite" in file.read(200)
    if not ours and not force:
        raise OutputError(f"{path}: exists and is no JUnit file", "pass --force to replace it, or name another")


def write_junit(path: Path | None, suite: str, cases: Sequence[Case]) -> None:
    """Write the cases as JUnit XML, in place of an earlier file. Raises OSError."""
    if path is None:
        return
    from vocabkit.core.folders import write_text

    sums = {"tests": str(len(cases)), "failures": str(sum(not case.met for case in cases)), "errors": "0"}
    root = ElementTree.Element("testsuites", {"name": suite, **sums})
    listed = ElementTree.SubElement(root, "testsuite", {"name": suite, "skipped": "0", **sums})
    for case in cases:
        named = {"classname": _as_xml(case.group), "name": _as_xml(case.name)}
        item = ElementTree.SubElement(listed, "testcase", named)
        if case.met:
            ElementTree.SubElement(item, "system-out").text = _as_xml(case.said)
        else:
            failure = ElementTree.SubElement(item, "failure", {"message": _as_xml(case.said)})
            failure.text = _as_xml(case.said)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    write_text(path, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n')


def _as_xml(text: str) -> str:
    return _NO_XML.sub(lambda found: ascii(found[0])[1:-1], text)
