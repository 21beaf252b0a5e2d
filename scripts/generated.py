"""Parts of documents that scripts write: what stands between `<!-- name:begin -->` and `<!-- name:end -->`.

Used by `cost.py` and `scale.py`. `write` puts the parts in; `check` says which are not as they should be, for `make test`.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def replace(text, name, part):
    """The text with another part between its marks; the marks must be there once."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    replaced, count = re.subn(
        f"({re.escape(begin)}\n).*?({re.escape(end)})", lambda found: f"{found[1]}{part}\n{found[2]}", text, flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"the marks of {name} are there {count} times, not once")
    return replaced


def documents(parts):
    """By path: how the document should be. `parts` is by path, then by the part's name."""
    for path, named in parts.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        wanted = text
        for name, part in named.items():
            wanted = replace(wanted, name, part)
        yield path, text, wanted


def write(parts):
    """Puts the parts into their documents."""
    for path, text, wanted in documents(parts):
        if wanted != text:
            (ROOT / path).write_text(wanted, encoding="utf-8")
            print(f"wrote {path}")


def check(parts, command):
    """Prints one line per document, and says whether all are current."""
    current = True
    for path, text, wanted in documents(parts):
        if wanted == text:
            print(f"ok {path} is what {command} writes")
        else:
            print(f"FAILED {path} is not what {command} writes: run it, and look at the difference")
            current = False
    return current


def table(head, rows):
    """A table of Markdown: the first column to the left, numbers to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)] + rows
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
