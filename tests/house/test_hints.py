"""A hint that begins as a command is one: it can be pasted into a shell as it is printed.

What is not part of the command stands behind a `#`. A hint of other words is prose, and is not looked at.
"""

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"(vocabkit|pip|torchrun|python|ls|mv|cp|df|ulimit)\s|--[a-z]")
# What is put into a hint without quotes, and needs none: numbers, names of ours, what was read as a number.
PLAIN = re.compile(
    r".*:_|len\(.*|math\.ceil\(.*|NEEDED|LONGEST|possible|reachable|number|least|enough|verb|extra|name|command|"
    r"above|spelled|_find_verb\(\)|size|shares|ENCODINGS\[0\]|text|text\.strip\(\)"
)
HINT = "hint|HINT|_AGAIN|_ANEW"
HOSTILE = "two words; $(touch x) 'y"


def write_out(node: ast.expr) -> str | None:
    """The text of a hint with hostile text in its places; None for what is not written out where it is used."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return None
    parts = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
        elif isinstance(part, ast.FormattedValue):
            said = ast.unparse(part.value)
            if said.startswith(("shlex.quote(", "quote(", "shlex.join(")):
                parts.append(shlex.quote(HOSTILE))
            else:
                parts.append("8" if PLAIN.fullmatch(said) else HOSTILE)
    return "".join(parts)


def find_hints() -> Iterator[tuple[str, str]]:
    """Every hint written in the source, with its place: what errors get second, and what is called hint."""
    for path in sorted([*(ROOT / "vocabkit").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found: list[ast.expr] = []
            if isinstance(node, ast.Call) and re.search(r"(Error|Extra)\)?$", ast.unparse(node.func)):
                found = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "hint")]
            elif isinstance(node, ast.Assign) and re.search(HINT, ast.unparse(node.targets[0])):
                found = [node.value]
            else:
                continue
            for value in found:
                for one in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
                    text = write_out(one)
                    if text is not None and COMMAND.match(text):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def test_hints_that_begin_as_a_command_parse_in_a_shell() -> None:
    hints = list(find_hints())
    assert len(hints) > 60
    for place, hint in hints:
        words = shlex.split(hint, comments=True)
        assert not [word for word in words if word.endswith((",", ":", "…"))], f"{place}: {hint}"
        assert "touch" not in words, f"{place}: a value needs shlex.quote: {hint}"
        assert not re.search(r"[<>|]", re.sub(r"'[^']*'|#.*", "", hint)), f"{place}: {hint}"
    # `echo` takes the words, so that the shell reads each and runs none.
    script = "".join(f"echo {hint} >/dev/null\n" for _, hint in hints)
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
