"""The page at /docs: the OpenAPI document for people, as plain HTML. No script, and nothing from elsewhere, so it works
without a network and under a strict content security policy.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import Any, Final

from starlette.responses import Response

STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a;
       background: #fff; }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: #f2f2f0; }
pre { padding: .6rem; overflow-x: auto; }
summary { cursor: pointer; padding: .3rem 0; }
.verb { display: inline-block; min-width: 3.5rem; font-weight: 600; }
table { border-collapse: collapse; } td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
@media (prefers-color-scheme: dark) { body { color: #e8e8e6; background: #161616; } code, pre { background: #262626; }
       a { color: #8ab4f8; } }
"""
STYLE_HASH: Final = b64encode(sha256(STYLE.encode()).digest()).decode()
POLICY: Final = f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"


def page(document: dict[str, Any]) -> Response:
    """The page of an OpenAPI document."""
    info = document["info"]
    operations = "".join(
        _operation(document, path, verb, operation)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    )
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body><main>'
        f"<h1>{escape(info['title'])}</h1><p>{escape(info.get('description', ''))}</p>"
        f'<p>For programs: <a href="/openapi.json">/openapi.json</a></p>{operations}</main></body></html>'
    )
    return Response(html, media_type="text/html", headers={"Content-Security-Policy": POLICY})


def _operation(document: dict[str, Any], path: str, verb: str, operation: dict[str, Any]) -> str:
    return (
        f'<details><summary><span class="verb">{verb.upper()}</span> <code>{escape(path)}</code> '
        f"{escape(operation.get('summary', ''))}</summary><p>{escape(operation.get('description', ''))}</p>"
        f"{_parameters(operation)}{_example(document, operation)}{_answers(operation)}</details>"
    )


def _parameters(operation: dict[str, Any]) -> str:
    return _table(
        [(f"{each['name']} ({each['in']})", each.get("description", "")) for each in operation.get("parameters", [])]
    )


def _answers(operation: dict[str, Any]) -> str:
    return _table([(status, each["description"]) for status, each in sorted(operation["responses"].items())])


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{cells}</table>" if cells else ""


def _example(document: dict[str, Any], operation: dict[str, Any]) -> str:
    """The first example of the body, if there is a body."""
    if "requestBody" not in operation:
        return ""
    name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    examples = document["components"]["schemas"][name]["examples"]
    return "".join(f"<pre>{escape(json.dumps(example, indent=2))}</pre>" for example in examples)
