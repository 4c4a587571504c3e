"""The record of a run as one HTML file that refers to nothing outside of itself."""

import html
import json
from pathlib import Path

_HERE = Path(__file__).parent


def page(record: dict) -> str:
    """The file. The record stands in it as JSON, and the script draws it."""
    # Inside a script element only "</" and "<!--" mean anything.
    data = json.dumps(record, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {"@TITLE@": html.escape(f"{record['title']} ({record['file']})"),
             "@STYLE@": (_HERE / "viewer.css").read_text(encoding="utf-8"),
             "@SCRIPT@": (_HERE / "viewer.js").read_text(encoding="utf-8"),
             "@RECORD@": data}
    text = (_HERE / "viewer.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(name, part)
    return text
