"""The page that documents the REST API, made from the OpenAPI document. It needs no script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["write_docs_page"]

MOST_LETTERS = 600
"""Most characters of an example that are shown; images in base64 are long."""


def write_docs_page(document: Mapping[str, Any]) -> str:
    """Returns the page of an OpenAPI document, in HTML.

    Arguments:
        document: The OpenAPI document of a server.
    """
    info = document["info"]
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    links = "".join(f'<li><a href="#{_name(path)}"><code>{escape(path)}</code></a></li>' for _, path, _ in operations)
    sections = "".join(_write_operation(*one) for one in operations)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API of {escape(info["title"])}</title>
<link rel="icon" href="/page/icon.svg">
<link rel="stylesheet" href="/page/docs.css">
</head>
<body>
<header>
<h1>API of {escape(info["title"])}</h1>
<p>{escape(info.get("description", ""))} Version {escape(info["version"])}.
<a href="/">Try it in the browser</a> or read <a href="/openapi.json">the OpenAPI document</a>.</p>
<nav aria-label="Endpoints"><ul>{links}</ul></nav>
</header>
<main>{sections}</main>
</body>
</html>
"""


def _name(path: str) -> str:
    return escape(path.strip("/").replace("/", "-"))


def _write_operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    text = escape(operation.get("description", ""))
    parts = [
        f'<section id="{_name(path)}"><h2><span>{method.upper()}</span> <code>{escape(path)}</code></h2><p>{text}</p>'
    ]
    for parameter in operation.get("parameters", ()):
        kind = _describe(parameter["schema"])
        parts.append(f"<p>Parameter <code>{escape(parameter['name'])}</code>: {escape(kind)}.</p>")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h3>Request body: {escape(media)}</h3>{_write_fields(content['schema'])}")
        if "example" in content:
            parts.append(_write_example(path, content["example"]))
        elif media == "multipart/form-data":
            parts.append(
                f'<h3>Example</h3><pre tabindex="0">curl -F file=@table.csv -OJ http://HOST{escape(path)}</pre>'
            )
    parts.append(_write_responses(operation["responses"]))
    return "".join(parts) + "</section>"


def _write_fields(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(name)}</code></th><td>{escape(_describe(field))}</td>'
        f"<td>{'required' if name in required else 'optional'}</td></tr>"
        for name, field in schema["properties"].items()
    )
    head = '<thead><tr><th scope="col">Field</th><th scope="col">Value</th><th scope="col">Needed</th></tr></thead>'
    return f"<table>{head}<tbody>{rows}</tbody></table>"


def _write_example(path: str, example: Any) -> str:
    text = json.dumps(_shorten(example), ensure_ascii=False)
    if len(text) > MOST_LETTERS:
        text = text[:MOST_LETTERS] + " ..."
    quoted = text.replace("'", "'\\''")
    command = f"curl http://HOST{path} -H 'Content-Type: application/json' -d '{quoted}'"
    return f'<h3>Example</h3><pre tabindex="0">{escape(command)}</pre>'


def _write_responses(responses: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(status)}</th><td>{escape(response["description"])}</td>'
        f"<td>{escape(', '.join(response.get('content', {})))}</td></tr>"
        for status, response in responses.items()
    )
    head = '<thead><tr><th scope="col">Status</th><th scope="col">Meaning</th><th scope="col">Format</th></tr></thead>'
    return f"<h3>Responses</h3><table>{head}<tbody>{rows}</tbody></table>"


def _describe(schema: Mapping[str, Any]) -> str:
    """Returns a description of a JSON schema in a few words."""
    if "anyOf" in schema:
        some = [_describe(one) for one in schema["anyOf"] if one.get("description") != schema.get("description")]
        return "; ".join(
            dict.fromkeys([*filter(None, [schema.get("description", "").removesuffix(".")]), " or ".join(some)])
        )
    if schema.get("description"):
        return schema["description"].removesuffix(".")
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list, each {_describe(schema['items'])}"
    if schema.get("properties"):
        return "object with any of " + ", ".join(schema["properties"])
    ends = [f"{schema[end]:,.0f}" for end in ("minimum", "maximum") if end in schema]
    kind = schema.get("type", "any value")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    return f"{kind} from {' to '.join(ends)}" if len(ends) == 2 else kind


def _shorten(value: Any) -> Any:
    """Returns an example with long texts and lists cut off."""
    if isinstance(value, dict):
        return {name: _shorten(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_shorten(one) for one in value[:6]] + (["..."] if len(value) > 6 else [])
    return f"{value[:24]}..." if isinstance(value, str) and len(value) > 60 else value
