"""Tools that ask several things, one after the other, or bound to a state which the client carries back.

The names are those of the 2026-07-28 suite, where each question is a round of its own; a client of the
handshake eras is asked the same things live. The state is sealed by the server's boundary.
"""

from __future__ import annotations

import json
from typing import Any, Final

import mcp_types as types

from ..call import Call, elicit, filled, sample, spoken
from ..toolbox import Toolbox

box = Toolbox()

NAME: Final[dict[str, Any]] = {"name": {"type": "string", "description": "Your name"}}
OK: Final[dict[str, Any]] = {"ok": {"type": "boolean", "description": "Whether it is all right"}}


@box.tool("test_input_required_result_elicitation", "Greets the user by name.")
async def by_elicitation(call: Call) -> str:
    answers = await call.ask({"user_name": elicit("What is your name?", ("name",), **NAME)})
    return f"Hello, {filled(answers['user_name'], 'name')}!"


@box.tool("test_input_required_result_sampling", "Asks the client's model for a capital.")
async def by_sampling(call: Call) -> str:
    answers = await call.ask({"capital_question": sample("What is the capital of France?", 100)})
    return f"The model says: {spoken(answers['capital_question'])}"


@box.tool("test_input_required_result_list_roots", "Counts the client's roots.")
async def by_roots(call: Call) -> str:
    answers = await call.ask({"client_roots": types.ListRootsRequest()})
    return f"The client has {len(answers['client_roots'].roots)} roots."


async def confirmed(call: Call, state: str) -> str:
    """Have the user confirm, with a state that has to come back."""
    answers = await call.ask({"confirm": elicit("Please confirm", ("ok",), **OK)}, state)
    return f"state-ok, confirmed: {filled(answers['confirm'], 'ok')}"


@box.tool("test_input_required_result_request_state", "Has the user confirm, and remembers that it asked.")
async def by_state(call: Call) -> str:
    return await confirmed(call, "asked for confirmation")


@box.tool("test_input_required_result_tampered_state", "Has the user confirm, and notices a forged state.")
async def by_sealed_state(call: Call) -> str:
    return await confirmed(call, "asked for a sealed confirmation")


@box.tool("test_input_required_result_multiple_inputs", "Asks the user, the model and for roots at once.")
async def by_all(call: Call) -> str:
    answers = await call.ask(
        {
            "user_name": elicit("What is your name?", ("name",), **NAME),
            "greeting": sample("Generate a greeting", 50),
            "client_roots": types.ListRootsRequest(),
        },
        "asked for three things",
    )
    name, roots = filled(answers["user_name"], "name"), len(answers["client_roots"].roots)
    return f"{spoken(answers['greeting'])} {name}, with {roots} roots."


@box.tool("test_input_required_result_multi_round", "Asks for a name, then for a color.")
async def by_rounds(call: Call) -> str:
    state = remembered(call)
    if "name" not in state:
        question = elicit("Step 1: What is your name?", ("name",), **NAME)
        first = await call.ask({"step1": question}, json.dumps({"step": 1}))
        state = {"step": 2, "name": filled(first["step1"], "name")}
    color = {"type": "string", "description": "Your favorite color"}
    question = elicit("Step 2: What is your favorite color?", ("color",), color=color)
    second = await call.ask({"step2": question}, json.dumps(state))
    return f"{state['name']} likes {filled(second['step2'], 'color')}."


def remembered(call: Call) -> dict[str, Any]:
    """What the last round left for this one, sealed and therefore this tool's own words."""
    state: dict[str, Any] = json.loads(call.params.request_state or "{}")
    return state


@box.tool("test_input_required_result_capabilities", "Asks only for what the client declared.")
async def by_capabilities(call: Call) -> str:
    questions: dict[str, types.InputRequest] = {}
    if call.can("sampling"):
        questions["sample"] = sample("Say something", 50)
    if call.can("elicitation"):
        questions["ask"] = elicit("What is your name?", ("name",), **NAME)
    if not questions:
        return "There is nobody to ask."
    answers = await call.ask(questions)
    return f"Answered: {', '.join(answers)}."
