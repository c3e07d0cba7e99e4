"""The protocol itself, decided without doing: no sockets, no clock, no tasks, no logging."""
