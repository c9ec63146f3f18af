"""The datagram socket to the agent.

It never blocks, raises nothing and keeps at most one descriptor. What could not be sent is counted and told with the
next message. `events` and `reads` use it.
"""

import os
from time import monotonic

from ringfence import wire

# After a failed connection the next one is tried only so many seconds later: no agent must cost nothing.
RETRY_AFTER = 1.0


class Channel:
    """A connection to the abstract socket `name`, made when it is first needed, and anew after a fork."""

    def __init__(self, name):
        self._address = b"\0" + name
        self._socket = None
        self._identity = None
        self._not_before = 0.0
        self._dropped = 0

    def send(self, message):
        """Sends or drops."""
        if self._dropped:
            message += wire.field(wire.DROPPED, self._dropped)
        try:
            self._connected().send(message)
            self._dropped = 0
        except BlockingIOError:
            self._dropped += 1
        except OSError:
            self._dropped += 1
            self._forget()

    def _connected(self):
        if self._socket is not None and self._identity == self._identify(self._socket):
            return self._socket
        self._forget()
        if monotonic() < self._not_before:
            raise ConnectionRefusedError
        self._not_before = monotonic() + RETRY_AFTER
        self._open()
        self._not_before = 0.0
        return self._socket

    def _open(self):
        from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket

        connection = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        connection.setblocking(False)
        connection.connect(self._address)
        self._socket, self._identity = connection, self._identify(connection)

    @staticmethod
    def _identify(connection):
        # The function may close every descriptor and get our number for a socket of its own: the inode tells.
        status = os.fstat(connection.fileno())
        return os.getpid(), status.st_dev, status.st_ino

    def _forget(self):
        connection, identity = self._socket, self._identity
        self._socket = self._identity = None
        if connection is None:
            return
        try:
            ours = self._identify(connection)[1:] == identity[1:]
        except OSError:
            ours = False
        if ours:
            connection.close()
        else:
            connection.detach()


CHANNEL = Channel(os.fsencode(os.environ.get("RINGFENCE_REPORT", "")))
