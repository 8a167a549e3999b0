"""The typed Python client of the HTTP API: `Client`, and `AsyncClient` with the same methods to await.

    with Client() as mesh:
        receipt = mesh.submit("DEVELOPER", {"issue": 4})
        print(mesh.wait(receipt.id).result)

Without an address it talks to MESHLAB_API, else to the `meshlab up` of this user, else to http://127.0.0.1:8700.
What may be repeated without harm is repeated by itself (`retrying.py`), also submissions, since each carries a key.
"""

from live_backend.client.client import AsyncClient, Client
from live_backend.client.retrying import ApiAway, Conflict, NotFinished, NotFound, Refused
from live_backend.client.values import (
    DeadLetter,
    Event,
    Overview,
    Queue,
    Receipt,
    Task,
    TaskRequest,
    Transition,
    Worker,
)

__all__ = [
    "ApiAway",
    "AsyncClient",
    "Client",
    "Conflict",
    "DeadLetter",
    "Event",
    "NotFinished",
    "NotFound",
    "Overview",
    "Queue",
    "Receipt",
    "Refused",
    "Task",
    "TaskRequest",
    "Transition",
    "Worker",
]
