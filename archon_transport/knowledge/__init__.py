"""Getting knowledge in and finding it again: fetch, parse, chunk, jobs; embed, search, evaluate.

Nothing here knows MCP, sessions or settings. What it works on is handed in: a connection or a pool whose
search path has Archon's tables, an embedder, a query.
"""
