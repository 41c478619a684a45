"""Parts of the OpenAPI document that depend on the model: schemas of rows, requests and responses, with examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal.serving.request_reader import RequestReader

__all__ = ["ERRORS", "Documents", "describe_responses"]

ERRORS = {
    400: "The body is not valid JSON, or not a valid form.",
    401: "The token is missing or wrong.",
    404: "There is nothing at this address.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body has another content type.",
    422: "A value is not valid. The message names the row and the modality.",
    429: "Too many requests are waiting.",
    503: "The response took too long, or the server is shutting down.",
}
"""Errors by status code."""
ERROR = {
    "type": "object",
    "required": ["error", "status"],
    "properties": {"error": {"type": "string"}, "status": {"type": "integer"}},
}


class Documents:
    """JSON schemas of a model's requests and responses.

    Arguments:
        reader: Reader of the model's requests.
        example: Row of example values.
    """

    def __init__(self, reader: RequestReader, example: Mapping[str, Any]) -> None:
        self.reader, self.example = reader, dict(example)

    def make_row(self) -> dict[str, Any]:
        """Returns the schema of a row of a request: any subset of the modalities."""
        properties = {name: self._make_optional(codec.make_json_schema()) for name, codec in self.reader.codecs.items()}
        return {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1}

    @staticmethod
    def _make_optional(schema: dict[str, Any]) -> dict[str, Any]:
        return {"anyOf": [schema, {"type": "null"}], "description": schema.get("description", "")}

    def _make_names(self) -> dict[str, Any]:
        names = {"type": "array", "items": {"enum": list(self.reader.schema)}, "minItems": 1}
        return {"anyOf": [names, {"type": "null"}], "description": "Names of modalities; by default all."}

    def _make_rows(self) -> dict[str, Any]:
        return {"type": "array", "items": self.make_row(), "minItems": 1, "maxItems": self.reader.limits.rows}

    def make_translation(self) -> dict[str, Any]:
        """Returns the request body of `POST /api/translate`."""
        limits = self.reader.limits
        optional = {
            "samples": {"type": "integer", "minimum": 1, "maximum": limits.samples},
            "seed": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
            "steps": {"type": "integer", "minimum": 1, "maximum": 1000},
            "guidance": {"type": "number", "minimum": 0, "maximum": 1000},
            "temperature": {"type": "number", "minimum": 0, "maximum": 1000},
            "bounds": {"enum": ["observed", "non-negative", "none"]},
            "details": {"type": "boolean"},
        }
        properties = {
            "rows": self._make_rows(),
            "given": self._make_names(),
            "to": self._make_names(),
            **{name: self._make_optional(schema) for name, schema in optional.items()},
        }
        names = list(self.reader.schema)
        given = [name for name in names if name in self.example][:1]
        example: dict[str, Any] = {"rows": [{name: self.example[name] for name in given}]}
        example["to"] = [name for name in names if name not in given] or names
        return self._make_body({"required": ["rows"], "properties": properties}, example)

    def make_embedding(self) -> dict[str, Any]:
        """Returns the request body of `POST /api/embed`."""
        properties = {"rows": self._make_rows(), "given": self._make_names()}
        return self._make_body({"required": ["rows"], "properties": properties}, {"rows": [self.example]})

    def make_sample(self) -> dict[str, Any]:
        """Returns the request body of `POST /api/sample`."""
        properties = {
            "n": {"type": "integer", "minimum": 1, "maximum": self.reader.limits.rows, "default": 1},
            "to": self._make_names(),
            "seed": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "default": 0},
        }
        return self._make_body({"properties": properties}, {"n": 4, "seed": 1})

    @staticmethod
    def _make_body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
        content = {"schema": {"type": "object", "additionalProperties": False, **schema}, "example": example}
        return {"requestBody": {"required": True, "content": {"application/json": content}}}

    @staticmethod
    def make_file() -> dict[str, Any]:
        """Returns the request body of `POST /api/impute`."""
        text = {"type": "string"}
        properties = {
            "file": {"type": "string", "format": "binary", "description": "CSV or Parquet file."},
            "given": {**text, "description": "Names of modalities to condition on, separated by commas."},
            "to": {**text, "description": "Names of modalities to impute, separated by commas."},
            "sure": {"enum": ["true", "false"]},
            "marked": {"enum": ["true", "false"]},
            "interval": {**text, "description": "Probability of intervals of imputed numbers, such as 0.9."},
            "bounds": {"enum": ["observed", "non-negative", "none"]},
        }
        schema = {"type": "object", "required": ["file"], "properties": properties, "additionalProperties": False}
        return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def describe_responses(statuses: Sequence[int], content: Mapping[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Returns the `responses` of an endpoint.

    Arguments:
        statuses: Status codes of its errors.
        content: Content of a successful response, by media type.
    """
    errors = {
        status: {"description": ERRORS[status], "content": {"application/json": {"schema": ERROR}}}
        for status in sorted(statuses)
    }
    return {200: {"description": "Success.", "content": dict(content)}, **errors}
