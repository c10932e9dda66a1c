"""Subscriptions kept in the job store: the store knows no SOAP, event sources know no database."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from postscan.dpws.subscriptions import StoredSubscription
from postscan.jobs.store import JobStore
from postscan.jobs.subscriptions import SubscriptionRow, SubscriptionRows


class JobStoreSubscriptions:
    """The subscriptions of one hosted service, named ``service``; any number may share a job store."""

    def __init__(self, store: JobStore, service: str) -> None:
        self._service = service
        self._rows = SubscriptionRows(store, service)

    async def load(self) -> Sequence[StoredSubscription]:
        """Return everything that is kept; raises StorageUnavailable, as every method here."""
        return [
            StoredSubscription(row.identifier, row.content, row.until, row.seconds_left, row.confirmed)
            for row in await self._rows.load()
        ]

    def save(self, kept: StoredSubscription) -> Awaitable[None]:
        """Keep a subscription, in place of the one with its identifier if there is one."""
        return self._rows.save(
            SubscriptionRow(
                identifier=kept.identifier,
                service=self._service,
                content=kept.content,
                until=kept.until,
                seconds_left=kept.seconds_left,
                confirmed=kept.confirmed,
            )
        )

    def remove(self, identifiers: Sequence[str]) -> Awaitable[None]:
        """Forget subscriptions; unknown ones are no error."""
        return self._rows.remove(identifiers)

    def confirm(self, marks: Mapping[str, int]) -> Awaitable[None]:
        """Set ``confirmed`` by identifier; unknown ones are no error."""
        return self._rows.confirm(marks)
