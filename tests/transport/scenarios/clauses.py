"""The clauses of the handshake era's streams, as plain data: id, how binding it is, and what it asks.

From the 2025-03-26, 2025-06-18 and 2025-11-25 revisions (transports; utilities: ping, cancellation, progress) and
SEP-1699 and SEP-2260. Level `duty` is what follows from the text without standing in it. Each scenario names those
it shows; none may be left out.
"""

from __future__ import annotations

from typing import Final

CLAUSES: Final[dict[str, tuple[str, str]]] = {
    # The stream that answers a POST.
    "H-10": ("SHOULD", "The stream eventually carries the response of each request in the POST."),
    "H-11": ("MAY", "Requests and notifications of the server come before the response."),
    "H-12": ("SHOULD", "They relate to that request; only a ping may be asked outside of one."),
    "H-13": ("SHOULD NOT", "Before 2025-11-25 the stream is not closed before the response."),
    "H-14": ("SHOULD", "From 2025-11-25 on it begins with an event id and empty data."),
    "H-15": ("MAY", "From 2025-11-25 on the server closes the connection; the client comes back."),
    "H-16": ("SHOULD", "It sends a retry field before it does."),
    "H-17": ("duty", "Older clients, which parse every data field, get no empty one."),
    "H-18": ("MAY", "The stream is terminated when the session expires."),
    "H-19": ("SHOULD", "The stream is terminated after the response."),
    "H-20": ("SHOULD NOT", "A dropped connection is no cancellation."),
    "H-21": ("MAY", "The stream can be resumed, so that nothing is lost."),
    "H-22": ("duty", "One JSON-RPC message per event, as `message`, without raw newlines."),
    # The stream that a GET opens.
    "H-25": ("MUST", "GET answers text/event-stream, or 405."),
    "H-26": ("MUST", "A client's GET accepts text/event-stream, else 406."),
    "H-27": ("MAY", "Messages on it are unrelated to any running request."),
    "H-28": ("MUST NOT", "No response on it, unless it resumes a request's stream."),
    "H-29": ("MAY", "Either side closes it at any time; the server sends a retry field first."),
    "H-30": ("MUST", "Each message goes out on exactly one stream."),
    "H-31": ("duty", "A client that comes back is not locked out by its own dead connection."),
    # Coming back.
    "H-35": ("MAY", "Events have ids."),
    "H-36": ("MUST", "Ids are unique across all streams of the session."),
    "H-37": ("SHOULD", "The id names its stream."),
    "H-38": ("MAY", "A GET with Last-Event-ID brings what followed on that stream, and goes on with it."),
    "H-39": ("MUST NOT", "It brings nothing of another stream, session or user."),
    "H-40": ("duty", "A GET resumes a POST's stream too, and may carry its response."),
    "H-41": ("duty", "That GET ends with the response."),
    "H-42": ("duty", "An id that is malformed or foreign is 400, an expired one never another's data."),
    # Ping, cancellation, progress.
    "H-90": ("MUST", "A ping is answered, also before the session is initialized."),
    "H-91": ("SHOULD", "Silent streams show signs of life; over HTTP, comments."),
    "H-92": ("SHOULD", "A cancelled request's work is stopped."),
    "H-93": ("MAY", "A cancellation of what is unknown, finished or malformed is ignored, with 202."),
    "H-94": ("MUST NOT", "initialize is not cancelled."),
    "H-95": ("MUST", "Tasks are cancelled by tasks/cancel, which only a server with tasks has."),
    "H-96": ("MUST", "The server cancels only its own questions, on the stream where it asked."),
    "H-97": ("MUST", "A cancelled id is looked for in the sending session only."),
    "H-98": ("MUST", "A cancellation that crosses the response does no harm."),
    "H-99": ("duty", "The cancelled request's exchange ends, with -32800."),
    "H-100": ("MUST", "Progress uses a token of an active request, and stops with it."),
    "H-101": ("SHOULD", "Progress is not sent faster than it can be taken."),
    "H-102": ("duty", "Progress and logs of a request go on its stream; in a JSON answer they have no wire."),
    # The client's features, as far as streams carry them.
    "H-110": ("MUST", "logging/setLevel takes the eight levels, -32602 otherwise."),
    "H-111": ("duty", "The level is kept with the session and filters."),
    "H-115": ("SHOULD", "List changes are told on the GET stream."),
    "H-116": ("duty", "Resource updates are told to subscribed sessions only."),
    "H-118": ("MUST NOT", "Nothing is asked that the client did not declare."),
    "H-120": ("MUST", "An answer finds its question in its own session; an unknown one is 202."),
    # Batches of 2025-03-26.
    "H-60": ("MUST", "A batch is taken at 2025-03-26."),
    "H-63": ("MUST", "A batch with a request is answered with a JSON array or a stream."),
    "H-64": ("SHOULD", "That stream ends after the response of each request, not before."),
    # Questions that wait, and whose they are.
    "J-19": ("SHOULD", "A question waits for so long only."),
    "S-08": ("MUST", "A stream is resumed by its own session and person only."),
    "S-11": ("MUST NOT", "A question belongs to the person who was asked, not to a session id alone."),
    # Corners.
    "C-20": ("corner", "GET without a session or the right Accept."),
    "C-21": ("corner", "The newest GET wins."),
    "C-22": ("corner", "GET with Last-Event-ID is always answered."),
    "C-23": ("corner", "Nothing is replayed to another session."),
    "C-24": ("corner", "A finished stream that is resumed ends after its response."),
    "C-25": ("corner", "DELETE is 200, and 404 once more."),
    "C-26": ("corner", "DELETE ends what runs."),
    "C-28": ("corner", "An answer that nobody waits for is 202."),
    "C-35": ("corner", '1 and "1" are two ids.'),
    "C-36": ("corner", "GET streams are primed too."),
}
