"""The prompts: plain, with arguments, with every kind of content, and one that has to ask first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import mcp_types as types
from mcp.shared.exceptions import MCPError

from .call import Call, elicit, filled
from .media import embedded, image, words

Messages = list[types.PromptMessage]


def said(*blocks: types.ContentBlock) -> Messages:
    """Each block as a message of the user."""
    return [types.PromptMessage(role="user", content=block) for block in blocks]


async def simple(call: Call) -> Messages:
    return said(words("This is a simple prompt for testing."))


async def with_arguments(call: Call) -> Messages:
    text = f"Prompt with arguments: arg1='{call.text('arg1')}', arg2='{call.text('arg2')}'"
    return said(words(text))


async def with_resource(call: Call) -> Messages:
    resource = embedded(call.text("resourceUri"), "text/plain", "Embedded resource content for testing.")
    return said(resource, words("Please process the embedded resource above."))


async def with_image(call: Call) -> Messages:
    return said(image(), words("Please analyze the image above."))


async def input_required(call: Call) -> Messages:
    context = {"type": "string", "description": "The context"}
    question = elicit("What context should the prompt use?", ("context",), context=context)
    answers = await call.ask({"user_context": question})
    return said(words(f"Use this context: {filled(answers['user_context'], 'context')}"))


def listed(name: str, description: str, **arguments: str) -> types.Prompt:
    """A prompt as it is listed; its arguments, all required, with their descriptions."""
    return types.Prompt(
        name=name,
        description=description,
        arguments=[
            types.PromptArgument(name=each, description=told, required=True)
            for each, told in arguments.items()
        ],
    )


PROMPTS: Final[dict[str, tuple[types.Prompt, Callable[[Call], Awaitable[Messages]]]]] = {
    prompt.name: (prompt, work)
    for prompt, work in (
        (listed("test_simple_prompt", "A text."), simple),
        (
            listed(
                "test_prompt_with_arguments",
                "A text with both arguments.",
                arg1="The first",
                arg2="The second",
            ),
            with_arguments,
        ),
        (
            listed("test_prompt_with_embedded_resource", "A resource.", resourceUri="Its URI"),
            with_resource,
        ),
        (listed("test_prompt_with_image", "A picture."), with_image),
        (listed("test_input_required_result_prompt", "A text that the user is asked for."), input_required),
    )
}


async def get(call: Call) -> types.GetPromptResult:
    """The messages of the prompt that is asked for.

    Raises:
        MCPError: there is none of that name.
    """
    found = PROMPTS.get(call.params.name)
    if found is None:
        raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {call.params.name}")
    prompt, work = found
    return types.GetPromptResult(description=prompt.description, messages=await work(call))
