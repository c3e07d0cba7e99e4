"""Runs the official MCP conformance suite against `tests.everything`, or any server that has the same.

    python -m tests.conformance [--suite 0.1.16|0.2.0-alpha.12/REVISION|all] [--url URL]

The suite prints a tick for a scenario in which it could check nothing. Here a scenario has passed only where
a check of its own succeeded and none failed, by the `checks.json` that the suite writes.
"""
