"""What an API process is told when it starts: one line of JSON on its standard input."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass, field

from lab.errors import UsageError

LOOPBACK_NAME = "localhost"


@dataclass(frozen=True)
class Settings:
    """Where the servers are, where to listen, and who may come in.

    `token` None: no token is asked for; refused unless `host` is loopback. `schema` and `prefix` are those of the
    standing mesh unless a test says otherwise. `origins` are the web pages, besides our own, that a browser may call
    from: "http://lab.example:8501".
    """

    dsn: str = field(repr=False)
    redis_url: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 8700
    token: str | None = field(default=None, repr=False)
    schema: str = "public"
    prefix: str = ""
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.token is not None and not self.token.isascii():
            raise UsageError("The API's token must be ASCII: it travels in a header. Choose another MESHLAB_TOKEN.")
        if not self.token and not self.is_loopback:
            raise UsageError(f"The API may not listen on {self.host} without a token. Set MESHLAB_TOKEN.")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the API."""
        return is_loopback(self.host)

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Settings:
        """What `to_line` wrote. Raises UsageError if it is anything else."""
        try:
            values = json.loads(line)
            return cls(**{**values, "origins": tuple(values.get("origins", ()))})
        except (ValueError, TypeError, AttributeError):  # said without the line: it holds passwords
            raise UsageError("The API was started without its settings: one JSON line on standard input.") from None


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == LOOPBACK_NAME
