"""HTTP clients that read no more of an answer than is used: an endless body, or two megabytes that unpack to
two gigabytes, would fill the memory before anybody saw how long it is (faults.md S36).
"""

from typing import Any

import httpx2

from curation.teacher_client import LONGEST_REPLY

# Said of the body as it came; ours is whole and unpacked.
OF_TRANSPORT = ("content-encoding", "content-length", "transfer-encoding")


class ShortAnswers(httpx2.Client):
    """A client whose answers end one byte beyond LONGEST_REPLY; those that are asked for as a stream and
    are good ones do not."""

    def send(self, request: httpx2.Request, *, stream: bool = False, **how: Any) -> httpx2.Response:
        response = super().send(request, stream=True, **how)
        if stream and response.is_success:
            return response
        read = bytearray()
        try:
            for piece in response.iter_bytes():
                read += piece
                if len(read) > LONGEST_REPLY:
                    break
        finally:
            response.close()
        return _with(response, read)


class ShortAnswersAsync(httpx2.AsyncClient):
    """The same in an event loop, for answers that are not asked for as a stream."""

    async def send(self, request: httpx2.Request, *, stream: bool = False, **how: Any) -> httpx2.Response:
        response = await super().send(request, stream=True, **how)
        read = bytearray()
        try:
            async for piece in response.aiter_bytes():
                read += piece
                if len(read) > LONGEST_REPLY:
                    break
        finally:
            await response.aclose()
        return _with(response, read)


def _with(response: httpx2.Response, read: bytearray) -> httpx2.Response:
    """Give a response with what was read of its body."""
    headers = [pair for pair in response.headers.multi_items() if pair[0].lower() not in OF_TRANSPORT]
    return httpx2.Response(
        response.status_code,
        headers=headers,
        content=bytes(read[: LONGEST_REPLY + 1]),
        request=response.request,
        extensions=response.extensions,
    )
