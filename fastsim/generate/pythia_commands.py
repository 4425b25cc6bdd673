"""Lines of a Pythia command file: refused where Pythia would read only a part of a value, or another file.

Pythia takes the first word of a value and as much of it as it understands (`Settings::readString` and
`ParticleData::readString` of Pythia 8.3): "13 TeV" is 13, "maybe" is off. Comments are cut off here, so that what is checked
is what Pythia gets.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Any

from fastsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMENT = re.compile(r"(^|\s)(!|#|//).*")
_UNHASHED = "the file that it names could change, and is in no record"
_REFUSED = (
    (re.compile(r"include\b"), "the file that it names could change", "put its lines here"),
    (re.compile(r"main:+subrun\b"), "there is one run", "make a file of each subrun"),
    (
        re.compile(r"(\w+:+(\w*(?<!pro)file|\w*reuse\w*|plugins|meplugin)|beams:+lhef\w*|xmlpath)\b"),
        _UNHASHED,
        "write what it holds as settings here, or let Pythia write HepMC, and read that",
    ),
    (re.compile(r"(hi)?pdf:+\w+[\s=]+lha"), _UNHASHED, "choose one of Pythia's own sets by its number"),
)
_FLAG, _MODE, _PARM = (
    r"(?:on|off|yes|no|true|false|ok|[01])",
    r"[-+]?\d+",
    r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?",
)
_KINDS = {
    "Flag": _FLAG, "Mode": _MODE, "Parm": _PARM, "Word": r"\S*", "FVec": _FLAG, "MVec": _MODE, "PVec": _PARM, "WVec": r".*",
}  # fmt: skip
# Statements about particles in lower case, ":" and "=" read as blanks, behind the PDG code.
_PARTICLE = re.compile(
    rf"""(antiname|name)\ \S+ | names\ \S+\ \S+ | (spintype|chargetype|coltype)\ {_MODE}
    | (m0|mwidth|mmin|mmax|tau0|rescalebr|\d+\ rescalebr|\d+\ bratio)\ {_PARM} | \d+\ memode\ {_MODE}
    | (isresonance|maydecay|doexternaldecay|isvisible|doforcewidth|varwidth|taucalc)\ {_FLAG}
    | (all|new)(\ \S+){{1,2}} | (all|new)(\ \S+){{2}}(\ {_MODE}){{3}}(\ {_PARM}){{0,5}}
    | (\d+\ )?onmode\ ({_FLAG}|\d+) | (on|off|onpos|onneg)if(any|all|match)(\ {_MODE})+ | \d+\ products(\ {_MODE}){{1,8}}
    | (\d+\ all|addchannel|onechannel)\ ({_FLAG}|\d+)\ {_PARM}\ {_MODE}(\ {_MODE}){{0,8}}""",
    re.VERBOSE | re.ASCII,
)


def read_commands(pythia: Any, path: str, text: str) -> None:
    """Give Pythia the lines of a command file; raises InputError with the line that it does not know or would half read."""
    statement = ""
    for where, line in _lines(path, text):
        for pattern, what, hint in _REFUSED:
            if not statement and pattern.match(line.lower()):
                raise InputError(f"{line!r}: {what}", where=where, hint=hint)
        if not pythia.readString(f" {line}", False):
            raise InputError(f"Pythia does not know {line!r}", where=where, hint="see pythia.org/manuals")
        statement += f" {line}"
        if pythia.settings.unfinishedInput():
            continue
        if not _is_whole(pythia.settings, statement.strip()):
            raise InputError(
                f"Pythia would read only a part of {statement.strip()!r}",
                where=where,
                hint="numbers, or on and off, and no more; a comment begins with !",
            )
        statement = ""
    if statement:
        raise InputError("the file ends within { }", where=path, hint="close the brace")


def _lines(path: str, text: str) -> Iterator[tuple[str, str]]:
    """Where each line is, and what it holds beside comments; raises InputError at an open comment."""
    in_comment = False
    for number, line in enumerate(text.splitlines(), 1):
        opening = line.strip()[:2]
        if opening in {"/*", "*/"}:
            in_comment = opening == "/*"
        elif not in_comment and (rest := _COMMENT.sub("", line).strip()):
            yield f"{path}:{number}", rest
    if in_comment:
        raise InputError("the file ends within a comment", where=path, hint="*/ must begin a line")


def _is_whole(settings: Any, statement: str) -> bool:
    """Whether Pythia reads all of a statement; lines that begin with neither letter nor digit are comments to it."""
    if statement[0] in string.digits:
        words = re.split(r"[\s:=]+", statement.lower())[1:]
        return _PARTICLE.fullmatch(" ".join(words).strip()) is not None
    if statement[0] not in string.ascii_letters:
        return True
    head, brace, rest = statement.partition("{")
    name, *words = head.replace("+=", " ").replace("=", " ").split()
    if words[:1] == ["force"]:
        del words[0]
    if words == ["DEFAULT"] and not brace:
        return True
    name = re.sub(":+", ":", name)  # Pythia forgives these
    kind = next(kind for kind in _KINDS if getattr(settings, f"is{kind}")(name))
    items = words
    if kind.endswith("Vec"):
        inside, _, behind = rest.partition("}")
        if (words or behind.strip()) if brace else len(words) != 1:
            return False
        items = [item.strip() for item in (inside if brace else words[0]).split(",")]
    elif brace or len(words) > 1 or (kind != "Word" and not words):
        return kind == "Word" and not words and rest.endswith("}")
    return all(re.fullmatch(_KINDS[kind], item, re.IGNORECASE | re.ASCII) for item in items)
