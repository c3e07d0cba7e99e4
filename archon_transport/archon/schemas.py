"""The JSON Schemas that tools publish, and what a refused argument is told, both from pydantic models.

Published schemas keep to what every client reads: no `$ref`, no titles, and in the arguments no `anyOf`
with null (an optional parameter is one that is not required; an explicit null is taken as not given)
and no `format` (Gemini refuses most of them).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from .answers import Described, Failure, Success, invalid

Schema = dict[str, Any]

_IN_EVERY_ANSWER: Schema = {
    "success": {"type": "boolean"},
    "note": {"type": "string", "description": "Says what was left out."},
    "error": {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("type", "message", "suggestion")},
        "required": ["type", "message"],
    },
}

_NOUNS = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "array": "a list"}

SHOWN_PROBLEMS = 10
"""How many refused parameters one answer names: the names are the client's, and there may be thousands."""


def storable(text: str) -> str:
    """The text, if Postgres can store it: without the character U+0000."""
    if "\0" in text:
        raise ValueError("must not contain the character U+0000")
    return text


def unpacked(value: object) -> object:
    """A list or an object that came as its JSON text, as some assistants send them; else the value itself."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def _named(value: object) -> object:
    """A list of words; a text stands for the words between its commas."""
    value = unpacked(value)
    return [word for word in value.split(",") if word.strip()] if isinstance(value, str) else value


Text = Annotated[str, StringConstraints(max_length=500), AfterValidator(storable)]
"""A short text, perhaps empty, that Postgres can store: without the character U+0000."""

LongText = Annotated[str, StringConstraints(max_length=50_000), AfterValidator(storable)]
"""A description; 50,000 characters is the check that some of Archon's databases have."""

Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(storable)
]
"""A title or a name: one to 500 characters that are not all blank."""

Names = Annotated[list[Name], BeforeValidator(_named), Field(max_length=100)]
"""A list of names, such as tags; a text with commas is taken as one."""

Id = UUID
"""The id of a project or a task."""


class Arguments(Described):
    """The root of every tool's arguments: unknown names are refused, null and "" are as if not given.

    Assistants fill in parameters that they do not need with null or an empty string; only for the
    names in `may_be_empty` is an empty string a value. `needs` says what each action needs, `changeable`
    what the action update may change.
    """

    model_config = ConfigDict(extra="forbid")
    may_be_empty: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    changeable: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_is_not_given(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        absent = {name for name, value in given.items() if value == "" and name not in cls.may_be_empty}
        return {name: value for name, value in given.items() if value is not None and name not in absent}

    def problem(self) -> str | None:
        """What is wrong with the arguments together."""
        action = getattr(self, "action", "")
        if missing := [name for name in self.needs.get(action, ()) if getattr(self, name) is None]:
            return "; ".join(f"{name}: is required for {action}" for name in missing) + "."
        if action == "update" and all(getattr(self, name) is None for name in self.changeable):
            return f"Nothing to change: give {', '.join(self.changeable[:-1])} or {self.changeable[-1]}."
        if action != "create" and getattr(self, "idempotency_key", None) is not None:
            return "idempotency_key: is only for create."
        return None


class NoArguments(Arguments):
    """For the tools that take nothing."""


@cache
def input_schema(model: type[Arguments]) -> Schema:
    """The schema of a tool's arguments as clients see it; not to be changed."""
    schema: Schema = _flat(model.model_json_schema(), {}, plain=True)
    schema.setdefault("properties", {})
    return schema


@cache
def output_schema(models: tuple[type[Success], ...]) -> Schema:
    """One schema for all that a tool answers, its refusals too; not to be changed.

    Which keys come together is not in it: clients of the older revisions read only `type`,
    `properties` and `required` at the root.

    Raises:
        ValueError: two answers use one key for different things.
    """
    properties = dict(_IN_EVERY_ANSWER)
    for model in models:
        answer = _flat(model.model_json_schema(mode="serialization"), {}, plain=False)
        for key, schema in answer["properties"].items():
            if key != "success" and properties.setdefault(key, schema) != schema:
                raise ValueError(f"two answers of one tool use {key!r} for different things")
    for schema in properties.values():  # `fields` leaves keys out
        schema.get("items", {}).pop("required", None)
    return {"type": "object", "properties": properties, "required": ["success"]}


def one_line(text: str | None) -> str:
    """A text of the source without its line breaks."""
    return " ".join((text or "").split())


def _flat(node: Any, definitions: Schema, *, plain: bool) -> Any:
    """A schema with its definitions put in place; `plain` also drops null alternatives and formats."""
    if isinstance(node, list):
        return [_flat(item, definitions, plain=plain) for item in node]
    if not isinstance(node, dict):
        return node
    definitions = node.get("$defs", definitions)
    for instead in ("$ref", "anyOf"):
        if instead in node and (target := _target(node[instead], definitions, plain=plain)):
            rest = {key: value for key, value in node.items() if key != instead}
            return _flat({**target, **rest}, definitions, plain=plain)
    dropped = {"$defs", "title", "format"} if plain else {"$defs", "title"}
    flat = {
        key: _flat(value, definitions, plain=plain)
        for key, value in node.items()
        if not (key in dropped and not _is_property(key, value)) and not (key == "default" and value is None)
    }
    if flat.get("type") == "object" and "properties" in flat:
        flat.pop("description", None)  # it is about the class
    elif isinstance(flat.get("description"), str):
        flat["description"] = one_line(flat["description"])
    return flat


def _is_property(key: str, value: Any) -> bool:
    """Whether `title` or `format` is the name of a property here, not the keyword: then it holds a schema."""
    return key != "$defs" and isinstance(value, dict)


def _target(value: Any, definitions: Schema, *, plain: bool) -> Schema | None:
    """What stands for a reference, or for the one alternative to null."""
    if isinstance(value, str):
        return dict(definitions[value.rpartition("/")[2]])
    others = [option for option in value if option != {"type": "null"}]
    if len(others) > 1 or len(others) == len(value):
        return None
    if plain:
        return dict(others[0])
    kind = others[0].get("type")
    return (
        {**others[0], "type": [kind, "null"]} if isinstance(kind, str) and "enum" not in others[0] else None
    )


def refusal(tool: str, model: type[Arguments], error: ValidationError) -> Failure:
    """What is wrong with the arguments, parameter by parameter, in words without pydantic's."""
    properties = input_schema(model)["properties"]
    problems: dict[str, str] = {}
    errors = error.errors(include_url=False, include_input=False, include_context=False)[:SHOWN_PROBLEMS]
    for found in errors:
        name = str(found["loc"][0]) if found["loc"] else "arguments"
        problems[_shown(name)] = _problem(found, properties.get(name, {}))
    message = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    if any(found["type"] == "extra_forbidden" and len(found["loc"]) == 1 for found in errors):
        message += f". The parameters of {tool} are: {', '.join(properties) or 'none'}"
    wrong_action = problems.get("action", "").startswith("must be one of")
    return invalid(message + ".", details={"parameters": problems}, action=wrong_action)


def _problem(found: ErrorDetails, schema: Schema) -> str:
    kind, place = found["type"], found["loc"][1:]
    if kind == "extra_forbidden":
        return f"must be {_allowed(schema)}" if place else "there is no such parameter"
    if kind.startswith("uuid"):
        return "must be a UUID, as the ids in answers are"
    if kind == "string_unicode":
        return "must be valid Unicode"
    if kind == "value_error":
        return found["msg"].removeprefix("Value error, ")
    return f"{'is required and ' if kind == 'missing' else ''}must be {_allowed(schema)}"


def _allowed(schema: Schema) -> str:
    """What a parameter may be, in words."""
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if schema["type"] == "object":
        properties, required = schema.get("properties", {}), schema.get("required", [])
        keys = (
            f"{name}: {_allowed(each)}" + " (required)" * (name in required)
            for name, each in properties.items()
        )
        return " of ".join(filter(None, ("an object", "; ".join(keys))))
    noun = _NOUNS.get(schema["type"], "text")
    unit = " characters" if noun == "text" else ""
    low = schema.get("minimum", schema.get("minLength"))
    high = schema.get("maximum", schema.get("maxLength", schema.get("maxItems")))
    if noun == "a list":
        return f"a list of at most {high}, each {_allowed(schema['items'])}"
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
