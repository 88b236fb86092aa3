"""Finished pictures by user. An app has a table of its database in this place."""

from __future__ import annotations

from gallery.webhooks import Event


class Pictures:
    """Addresses of pictures, and the deliveries that brought them."""

    def __init__(self) -> None:
        self._by_user: dict[str, list[str]] = {}
        self._deliveries: set[str] = set()

    def add(self, event: Event, *, delivery: str) -> None:
        """Stores the pictures of a job.

        A delivery is repeated where the answer to it was lost. It counts once.
        """
        if delivery in self._deliveries:
            return
        self._deliveries.add(delivery)
        images = (event.payload or {}).get("images")
        if event.status == "OK" and isinstance(images, list):
            self._by_user.setdefault(event.subject, []).extend(image["url"] for image in images)

    def of_user(self, name: str) -> list[str]:
        """Returns the addresses of the pictures of a user, oldest first."""
        return self._by_user.get(name, [])
