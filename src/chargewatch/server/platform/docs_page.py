"""``/docs``: the OpenAPI document as one page to read, offline, without a script.

It is made once, when the application is. Every text from the document is escaped; the page's policy allows
nothing but its own style, named by hash.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator
from typing import Any, Final

from chargewatch.server.platform.http import Answer, raw_response

_STYLE: Final = """
:root { color-scheme: light dark; --line: #d5dae1; --soft: #f4f6f8; --text: #1c2430; --dim: #5a6675; }
@media (prefers-color-scheme: dark) {
  :root { --line: #38414d; --soft: #1f262f; --text: #e4e8ee; --dim: #9aa6b5; }
  body { background: #14191f; }
}
body { color: var(--text); font: 16px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 60rem;
  padding: 1rem 1.25rem 6rem; }
h1, h2, h3 { line-height: 1.25; }
h2 { border-top: 1px solid var(--line); margin-top: 3rem; padding-top: 1.5rem; }
code, pre { font: .875rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: var(--soft); border-radius: .4rem; overflow: auto; padding: .8rem; white-space: pre; }
table { border-collapse: collapse; margin: .5rem 0 1rem; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .75rem .35rem 0; text-align: left;
  vertical-align: top; }
th { color: var(--dim); font-weight: 600; }
a { color: inherit; }
nav ul { columns: 2 18rem; list-style: none; padding: 0; }
.method { border: 1px solid var(--line); border-radius: .3rem; font-size: .8rem; font-weight: 700;
  padding: .1rem .4rem; }
.dim { color: var(--dim); }
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

Document = dict[str, Any]


def docs_page(document: Document) -> Answer:
    """Returns the page of a document."""
    body = "".join(_page(document))
    return raw_response(body.encode(), "text/html; charset=utf-8", headers=_HEADERS)


def _page(document: Document) -> Iterator[str]:
    info = document["info"]
    calls = [
        (path, method, call)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    ]
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield f"<title>{_text(info['title'])}: the API</title>"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{_STYLE}</style></head><body>"
    yield f'<h1>{_text(info["title"])} <span class="dim">{_text(info["version"])}</span></h1>'
    yield _paragraphs(info["description"])
    yield '<p>For machines: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1).</p>'
    for tag in document["tags"]:
        yield from _contents(tag["name"], calls)
    for path, method, call in calls:
        yield from _call(document, path, method, call)
    yield "<h2>Types</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<h3 id="type-{_text(name)}">{_text(name)}</h3>'
        yield _paragraphs(schema.get("description", ""))
        yield _fields(schema)
    yield "</body></html>"


def _contents(tag: str, calls: list[tuple[str, str, Document]]) -> Iterator[str]:
    yield f"<nav><strong>{_text(tag)}</strong><ul>"
    for path, method, call in calls:
        if tag in call["tags"]:
            link = f'<a href="#{call["operationId"]}"><code>{_text(path)}</code></a>'
            yield f"<li>{_method(method)} {link}</li>"
    yield "</ul></nav>"


def _call(document: Document, path: str, method: str, call: Document) -> Iterator[str]:
    yield f'<h2 id="{call["operationId"]}">{_text(call["summary"])}</h2>'
    yield f"<p>{_method(method)} <code>{_text(path)}</code></p>"
    yield _paragraphs(call.get("description", ""))
    if "parameters" in call:
        yield "<h3>Parameters</h3>" + _parameters(call["parameters"])
    for content in call.get("requestBody", {}).get("content", {}).values():
        yield f"<h3>Body: {_type(content['schema'])}</h3>" + "".join(_examples(content))
    yield "<h3>Answers</h3><table><tr><th>Status</th><th>Meaning</th></tr>"
    for status, response in call["responses"].items():
        yield f"<tr><td>{status}</td><td>{_meaning(document, response)}</td></tr>"
    yield "</table>"
    for response in call["responses"].values():
        for content in response.get("content", {}).values():
            yield from _examples(content)


def _meaning(document: Document, response: Document) -> str:
    if "$ref" in response:
        response = document["components"]["responses"][_last(response["$ref"])]
    types = [
        f'{_type(content["schema"])} <span class="dim">{_text(kind)}</span>'
        for kind, content in response.get("content", {}).items()
    ]
    return " ".join([_inline(response["description"]), *types])


def _parameters(parameters: list[Document]) -> str:
    rows = [
        f"<tr><td><code>{_text(one['name'])}</code></td><td>{_type(one['schema'])}</td>"
        f"<td>{_text(one['in'])}{', required' if one.get('required') else ''}</td>"
        f"<td>{_inline(one.get('description', ''))}</td></tr>"
        for one in parameters
    ]
    return f"<table><tr><th>Name</th><th>Type</th><th>Where</th><th></th></tr>{''.join(rows)}</table>"


def _fields(schema: Document) -> str:
    if "properties" not in schema:
        return f"<p>{_type(schema)}</p>"
    required = schema.get("required", [])
    rows = [
        f"<tr><td><code>{_text(name)}</code></td><td>{_type(field)}</td>"
        f"<td>{'always' if name in required else ''}</td>"
        f"<td>{_inline(field.get('description', ''))}</td></tr>"
        for name, field in schema["properties"].items()
    ]
    return f"<table><tr><th>Field</th><th>Type</th><th>Present</th><th></th></tr>{''.join(rows)}</table>"


def _type(schema: Document) -> str:
    """Returns a schema in a few words; types with a name as links."""
    if "$ref" in schema:
        name = _text(_last(schema["$ref"]))
        return f'<a href="#type-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{_text(json.dumps(value))}</code>" for value in schema["enum"])
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}" if schema.get("items") else "list"
    words = " or ".join(kind) if isinstance(kind, list) else kind
    limits = [f"{label} {_text(str(schema[key]))}" for key, label in _LIMITS.items() if key in schema]
    return ", ".join([_text(words), *limits])


_LIMITS: Final = {
    "format": "as",
    "minLength": "at least",
    "maxLength": "at most",
    "minimum": "from",
    "maximum": "to",
    "default": "default",
}


def _examples(content: Document) -> Iterator[str]:
    for name, example in content.get("examples", {}).items():
        shown = json.dumps(example["value"], indent=2, ensure_ascii=False)
        yield f"<p class='dim'>{_text(name)}</p><pre><code>{_text(shown)}</code></pre>"


def _method(method: str) -> str:
    return f'<span class="method">{_text(method.upper())}</span>'


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n") if part.strip())


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(text))


def _text(text: str) -> str:
    return html.escape(text)


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]
