"""Docstrings as they are written, in plain text: `names` in backticks, equations and tables set off by their indent.

reStructuredText would read `|w|`, `w_1` or `2 * x` as markup; here only backticks and lists mean anything.
"""

import re

_CODE = re.compile(r"(``.+?``|`[^`]+`)")
_ALIGNED = re.compile(r"\S {3,}\S")  # columns of a table
_OWN_PARAGRAPH = re.compile(r"(Raises |Sources?: )")


def convert(lines):
    """The lines of a docstring as lines of reStructuredText."""
    result = []
    for block in _blocks(lines):
        if block[0].startswith(("- ", "* ")):
            result += [_escaped(line) if line[0] != "*" else "-" + _escaped(line[1:]) for line in block]
        elif any(line[0] == " " or _ALIGNED.search(line) for line in block):
            result += ["::", "", *("    " + line for line in block)]
        else:
            result += _paragraph(block)
        result.append("")
    return result


def _blocks(lines):
    """Runs of lines without a blank one; an indented run ends where the indent does, and what leads it in before it."""
    block = []
    for line in [*lines, ""]:
        if block and (not line.strip() or _starts_another(block, line)):
            yield block
            block = []
        if line.strip():
            block.append(line.rstrip())


def _starts_another(block, line):
    indented, was = line[0] == " ", block[-1][0] == " "
    leads_in = len(block) >= 1 and block[-1].rstrip().endswith(":") and not was
    return (indented and leads_in) or bool(_OWN_PARAGRAPH.match(line) and not was)


def _paragraph(block):
    last = block[-1]
    return [_escaped(line) for line in [*block[:-1], last[:-1] if last.endswith("::") else last]]


def _escaped(line):
    parts = _CODE.split(line)
    return "".join(part if i % 2 else re.sub(r"([\\*|_])", r"\\\1", part) for i, part in enumerate(parts))


def setup(app):
    app.connect("autodoc-process-docstring", lambda app, what, name, obj, options, lines: _convert_in_place(lines))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _convert_in_place(lines):
    lines[:] = convert(lines)
