"""Refuses every connection of a process that has this folder on its path, and notes what was asked for.

Noted too, since what asks may go on without an answer: the file ``$NETWORK_ASKED`` tells whether anything has asked.
"""

import os
import sys

_NAMES = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_ADDRESSES = {"socket.connect", "socket.sendto", "socket.sendmsg"}


def _refuse(event: str, arguments: tuple) -> None:
    # The processes of this machine have a path for an address, and what is connected already has none.
    if event not in _NAMES and not (event in _ADDRESSES and isinstance(arguments[1], tuple)):
        return
    asked = f"{event} {arguments!r}"
    with open(os.environ["NETWORK_ASKED"], "a", encoding="utf-8") as noted:  # noqa: PTH123 - nothing more is imported
        noted.write(asked + "\n")
    raise OSError(f"the network is refused here: {asked}")


sys.addaudithook(_refuse)
