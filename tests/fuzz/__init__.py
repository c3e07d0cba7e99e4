"""Generated requests over a real socket, in bulk: whatever arrives, a server answers and stays as it was.

    python -m tests.fuzz --requests 200000 [--seed N]

`requests` makes them (a good one of either era with a few things spoiled, and plain noise), `client` sends them
over a few connections and judges each answer, `run` starts the server and watches its memory and its log. A seed
makes the same requests again; session ids, which the server chooses, differ.
"""
