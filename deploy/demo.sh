#!/usr/bin/env bash
# A session outlives kill -9 of its server. Takes ten seconds, an empty directory, curl and the Python that
# has archon_transport; leaves nothing behind.
set -euo pipefail
PYTHON=${PYTHON:-.venv/bin/python}
PORT=${PORT:-8051}
DATA=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$DATA"' EXIT
(: <>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null && { echo "Port $PORT is taken; choose another: PORT=8052 $0" >&2; exit 1; }
start() {
  "$PYTHON" -m archon_transport --data-dir "$DATA" --port "$PORT" --log-level warning &
  curl -sf --retry 30 --retry-delay 1 --retry-all-errors -o /dev/null "http://127.0.0.1:$PORT/ready"
}
post() {  # a JSON-RPC message
  curl -sS --fail-with-body "http://127.0.0.1:$PORT/mcp" -H "Mcp-Session-Id: ${SESSION:-}" -d "$@" \
    -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream'
}
call() {  # a tool and its arguments
  post '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "'"$1"'", "arguments": '"$2"'}}'
}
echo '1. Start the server and open a session.'
start
SESSION=$(post '{"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
  "capabilities": {}, "clientInfo": {"name": "demo", "version": "1"}}}' -o /dev/null -D - |
  tr -d '\r' | sed -n 's/^Mcp-Session-Id: //Ip')
echo "   session ${SESSION%.*}"
echo '2. Make a project and a task.'
PROJECT=$(call manage_project '{"action": "create", "title": "Demo"}' | sed 's/.*"project_id":"\([^"]*\)".*/\1/')
call manage_task '{"action": "create", "project_id": "'"$PROJECT"'", "title": "Outlive the server"}' >/dev/null
echo "   project $PROJECT"
echo '3. kill -9 the server, and start it again.'
kill -9 $!
wait $! 2>/dev/null || true
start
echo '4. The same client goes on, with the same session id.'
call session_info '{}' | grep -o "\"session_id\":\"${SESSION%.*}\""
call find_tasks '{"project_id": "'"$PROJECT"'"}' | grep -o '"title":"Outlive the server"'
echo 'The session and its work are still there.'
