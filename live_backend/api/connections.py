"""What a connection may send before it is answered: uvicorn's own parser knows no bound for headers, neither in bytes
nor in time.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lab.limits import API_HEADER_BYTES_MAX, API_HEADER_S_MAX

PROBLEM: Final = (
    b'{"type":"about:blank","title":"Request Header Fields Too Large","status":431,'
    b'"detail":"The headers, or the address, are larger than %d bytes. Send fewer."}' % API_HEADER_BYTES_MAX
)
TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(PROBLEM), PROBLEM)
)


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1; a request's address and headers must come soon, and be small."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_headers = False
        self._header_bytes = 0
        self._too_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > API_HEADER_BYTES_MAX and not self.transport.is_closing():
                self.transport.write(TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_headers, self._header_bytes = True, 0
        self._expect_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """It is understood, and will be answered."""
        self._in_headers = False
        self._in_time()
        super().on_headers_complete()

    def _expect_headers(self) -> None:
        self._in_time()
        self._too_late = self.loop.call_later(API_HEADER_S_MAX, self.transport.close)

    def _in_time(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None
