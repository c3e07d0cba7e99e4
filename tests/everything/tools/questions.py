"""Tools that ask the user or the client's model something once."""

from __future__ import annotations

from typing import Any, Final

from ..call import Call, elicit, sample, spoken, summary
from ..toolbox import Toolbox

box = Toolbox()

DEFAULTS: Final[dict[str, Any]] = {
    "name": {"type": "string", "description": "Your name", "default": "John Doe"},
    "age": {"type": "integer", "description": "Your age", "default": 30},
    "score": {"type": "number", "description": "Your score", "default": 95.5},
    "status": {
        "type": "string",
        "description": "Your status",
        "enum": ["active", "inactive", "pending"],
        "default": "active",
    },
    "verified": {"type": "boolean", "description": "Whether you are verified", "default": True},
}
"""A default of every primitive kind."""


def titled(*values: str, title: str) -> list[dict[str, str]]:
    """Choices that are shown under other words than they are sent."""
    return [{"const": value, "title": f"{title} {n}"} for n, value in enumerate(values, 1)]


CHOICES: Final[dict[str, Any]] = {
    "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
    "titledSingle": {"type": "string", "oneOf": titled("value1", "value2", "value3", title="Value")},
    "legacyEnum": {
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option one", "Option two", "Option three"],
    },
    "untitledMulti": {
        "type": "array",
        "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
    },
    "titledMulti": {
        "type": "array",
        "items": {"anyOf": titled("value1", "value2", "value3", title="Choice")},
    },
}
"""A choice of every form: one or several, with titles and without, and the form of earlier revisions."""


@box.tool(
    "test_sampling",
    "Asks the client's model.",
    required=("prompt",),
    prompt={"type": "string", "description": "What the model is asked"},
)
async def sampling(call: Call) -> str:
    answers = await call.ask({"sample": sample(call.text("prompt"), 100)})
    return f"LLM response: {spoken(answers['sample'])}"


@box.tool(
    "test_elicitation",
    "Asks the user for a name and an address.",
    required=("message",),
    message={"type": "string", "description": "What the user is told"},
)
async def elicitation(call: Call) -> str:
    question = elicit(
        call.text("message"),
        ("username", "email"),
        username={"type": "string", "description": "The user's name"},
        email={"type": "string", "description": "The user's e-mail address"},
    )
    answers = await call.ask({"user": question})
    return f"User response: {summary(answers['user'])}"


@box.tool("test_elicitation_sep1034_defaults", "Asks the user with a form that is filled in already.")
async def elicitation_defaults(call: Call) -> str:
    answers = await call.ask({"user": elicit("Please look over these values", **DEFAULTS)})
    return f"Elicitation completed: {summary(answers['user'])}"


@box.tool("test_elicitation_sep1330_enums", "Asks the user to choose, in every form there is.")
async def elicitation_enums(call: Call) -> str:
    answers = await call.ask({"user": elicit("Please choose", **CHOICES)})
    return f"Elicitation completed: {summary(answers['user'])}"


@box.tool("test_streaming_elicitation", "Reports progress, then asks the user for a value.")
async def streaming_elicitation(call: Call) -> str:
    await call.progress(0, 1, "About to ask")
    question = elicit("Please give a value", ("value",), value={"type": "string", "description": "Any value"})
    answers = await call.ask({"user_input": question})
    return f"User response: {summary(answers['user_input'])}"
