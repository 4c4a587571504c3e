"""What a crash is about: the smallest scenario that fails in the same way, and the rules that it breaks."""

import hashlib
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fuzz.campaign.crashes import Title
from fuzz.campaign.disk import write_whole

# A crash of usual size takes a fraction of a second.
_SECONDS = 60.0


@dataclass(frozen=True)
class Story:
    """The minimised scenario of a crash, and the file that holds it."""

    title: Title
    rules: str  # "R1, R2", or nothing
    lines: tuple[str, ...]  # of the scenario, without its head and comments
    file: Path

    @property
    def key(self) -> str:
        """Equal for crashes with the same smallest scenario, which fails in the same way."""
        return "\n".join([self.title.oracle, self.rules, *self.lines])


def _rules(promise: str) -> str:
    return ", ".join(dict.fromkeys(re.findall(r"\b[RM]\d+\b", promise)))


def minimised(reproducer: Path, form: list[str], file: Path, title: Title) -> Story | None:
    """The story of a crash file, which is kept beside it; nothing if the reproducer does not tell one in time."""
    try:
        run = subprocess.run([str(reproducer), "--json", *form, "--minimise", str(file)], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_SECONDS, check=False)
        record = json.loads(run.stdout) if run.returncode == 1 else {}
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    verdict = record.get("verdict")
    if not verdict or verdict["oracle"] != title.oracle:
        return None
    scenario = record["scenario"]
    told = Title(verdict["oracle"], verdict["title"])
    text = "\n".join([f"# {told}", f"# {verdict['detail']}", *scenario]) + "\n"
    digest = hashlib.sha1("\n".join(scenario).encode()).hexdigest()
    oracle = re.sub(r"[^A-Za-z0-9]+", "", told.oracle) or "X"
    kept = file.with_name(f"{oracle}-{digest[:12]}.txt")
    try:
        write_whole(kept, text.encode())
    except OSError:
        return None
    lines = tuple(line for line in scenario[1:] if not line.startswith("#"))
    return Story(told, _rules(verdict["promise"]), lines, kept)
