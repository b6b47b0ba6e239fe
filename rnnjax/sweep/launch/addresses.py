"""Addresses of other processes."""

from __future__ import annotations

import re
import socket
import time

from rnnjax.config import InputError


def parse_address(text: str, where: str) -> tuple[str, int]:
    """The host and the port that `HOST:PORT` names; a host of version 6 stands in brackets.

    Raises:
      InputError: it is not written so.
    """
    match = re.fullmatch(r"(\[([^\]]+)\]|[^:/]+):(\d{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise InputError(f"'{text}' is no address", where, "write HOST:PORT, such as 10.0.0.1:6379")
    return match[2] or match[1], int(match[3])


def await_answer(host: str, port: int, seconds: float, where: str) -> None:
    """Waits until a connection is accepted.

    Raises:
      InputError: none is within `seconds`.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), timeout=max(0.1, end - time.monotonic())).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(
                    f"nobody answers at {host}:{port}: {error.strerror or error}",
                    where,
                    "see that it runs there, and that this machine may reach that port",
                ) from None
            time.sleep(0.2)
