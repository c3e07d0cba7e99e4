"""The JSON Schemas that tools publish, and what a refused argument is told, both from pydantic models.

Published schemas keep to what every client reads: no `$ref`, no titles, and in the arguments no `anyOf`
with null (an optional parameter is one that is not required; an explicit null is taken as not given)
and no `format` (Gemini refuses most of them).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
    model_validator,
)

from .answers import Failure, Success, invalid

Schema = dict[str, Any]

SHOWN_PROBLEMS = 10
"""How many refused parameters one answer names: the names are the client's, and there may be thousands."""


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("NUL")
    return text


Text = Annotated[str, StringConstraints(max_length=500), AfterValidator(_storable)]
"""A short text, perhaps empty, that Postgres can store: without the character U+0000."""

LongText = Annotated[str, StringConstraints(max_length=50_000), AfterValidator(_storable)]
"""A description; 50,000 characters is the check that some of Archon's databases have."""

Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(_storable)
]
"""A title or a name: one to 500 characters that are not all blank."""

Id = UUID
"""The id of a project or a task."""


class Arguments(BaseModel):
    """The root of every tool's arguments: unknown names are refused, null and "" are as if not given.

    Assistants fill in parameters that they do not need with null or an empty string; only for the
    names in `may_be_empty` is an empty string a value.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    may_be_empty: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_is_not_given(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        absent = {name for name, value in given.items() if value == "" and name not in cls.may_be_empty}
        return {name: value for name, value in given.items() if value is not None and name not in absent}


@cache
def input_schema(model: type[Arguments]) -> Schema:
    """The schema of a tool's arguments as clients see it; not to be changed."""
    schema: Schema = _flat(model.model_json_schema(), {}, plain=True)
    schema.pop("description", None)
    schema.setdefault("properties", {})
    return schema


def output_schema(models: tuple[type[Success], ...]) -> Schema:
    """One schema for all that a tool answers, its refusals too.

    Which keys come together is not in it: clients of the older revisions read only `type`,
    `properties` and `required` at the root.

    Raises:
        ValueError: two answers use one key for different things.
    """
    properties: Schema = {}
    everything: tuple[type[BaseModel], ...] = (*models, Failure)
    for model in everything:
        answer = _flat(model.model_json_schema(mode="serialization"), {}, plain=False)
        for key, schema in answer["properties"].items():
            if key != "success" and properties.setdefault(key, schema) != schema:
                raise ValueError(f"two answers of one tool use {key!r} for different things")
    success = {"type": "boolean", "description": "False when the answer is an error."}
    return {"type": "object", "properties": {"success": success, **properties}, "required": ["success"]}


def _flat(node: Any, definitions: Schema, *, plain: bool) -> Any:
    """A schema with its definitions put in place; `plain` also drops null alternatives and formats."""
    if isinstance(node, list):
        return [_flat(item, definitions, plain=plain) for item in node]
    if not isinstance(node, dict):
        return node
    definitions = node.get("$defs", definitions)
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return _flat({**target, **{k: v for k, v in node.items() if k != "$ref"}}, definitions, plain=plain)
    if plain and "anyOf" in node:
        (kind,) = [option for option in node["anyOf"] if option != {"type": "null"}]
        return _flat({**kind, **{k: v for k, v in node.items() if k != "anyOf"}}, definitions, plain=plain)
    dropped = {"$defs", "title", "format"} if plain else {"$defs", "title"}
    return {
        key: _flat(value, definitions, plain=plain)
        for key, value in node.items()
        if not (key in dropped and not _is_property(key, value)) and not (key == "default" and value is None)
    }


def _is_property(key: str, value: Any) -> bool:
    """Whether `title` or `format` is the name of a property here, not the keyword: then it holds a schema."""
    return key != "$defs" and isinstance(value, dict)


def refusal(tool: str, model: type[Arguments], error: ValidationError) -> Failure:
    """What is wrong with the arguments, parameter by parameter, in words without pydantic's."""
    properties = input_schema(model)["properties"]
    problems: dict[str, str] = {}
    errors = error.errors(include_url=False, include_input=False, include_context=False)[:SHOWN_PROBLEMS]
    for found in errors:
        name = str(found["loc"][0]) if found["loc"] else "arguments"
        problems[_shown(name)] = _problem(found["type"], properties.get(name, {}))
    message = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    if any(found["type"] == "extra_forbidden" for found in errors):
        message += f". The parameters of {tool} are: {', '.join(properties) or 'none'}"
    wrong_action = problems.get("action", "").startswith("must be one of")
    return invalid(message + ".", details={"parameters": problems}, action=wrong_action)


def _problem(kind: str, schema: Schema) -> str:
    if kind == "extra_forbidden":
        return "there is no such parameter"
    if kind.startswith("uuid"):
        return "must be a UUID, as the ids in answers are"
    if kind == "string_unicode":
        return "must be valid Unicode"
    if kind == "value_error":
        return "must not contain the character U+0000"
    return f"{'is required and ' if kind == 'missing' else ''}must be {_allowed(schema)}"


def _allowed(schema: Schema) -> str:
    """What a parameter may be, in words."""
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    noun = {"integer": "a whole number", "boolean": "true or false"}.get(schema["type"], "text")
    unit = " characters" if noun == "text" else ""
    low = schema.get("minimum", schema.get("minLength"))
    high = schema.get("maximum", schema.get("maxLength"))
    match low, high:
        case None, None:
            return noun
        case _, None:
            return f"{noun} of at least {low}{unit}"
        case None, _:
            return f"{noun} of at most {high}{unit}"
        case _:
            return f"{noun} from {low} to {high}{unit}"


def _shown(name: str) -> str:
    """A name that a client sent, made fit for an answer: printable ASCII, at most 60 characters."""
    return name.encode("unicode_escape").decode("ascii")[:60]
