"""The configuration file as a whole: the one list of its sections."""

from __future__ import annotations

from proxy.config.sections.endpoints import Endpoint
from proxy.config.sections.fal import Fal, StreamsSection
from proxy.config.sections.guests import GuestsSection, RevocationSection
from proxy.config.sections.jobs import JobsSection
from proxy.config.sections.ledger import LedgerSection, PrivacySection, Store
from proxy.config.sections.limits import DEFAULT_LIMITS, BudgetSection, InFlightSection, Limit, OverloadSection
from proxy.config.sections.playground import Playground
from proxy.config.sections.schemas import SchemasSection
from proxy.config.sections.server import Admin, LogSection, Server, TracingSection
from proxy.config.sections.sessions import CookieSection, HandleSecrets, Session
from proxy.config.sections.uploads import RealtimeSection, UploadsSection
from proxy.config.sections.webhooks import WebhooksSection
from proxy.config.value_types import Section


class Document(Section):
    """The whole file; its JSON Schema is shipped as docs/config.schema.json.

    A section that may be repeated is a tuple; an optional one without a default is `Model | None`. The loader
    (proxy/config/loader.py), the reference and the JSON Schema are derived from these fields.
    """

    server: Server
    admin: Admin = Admin()
    log: LogSection = LogSection()
    tracing: TracingSection = TracingSection()
    fal: Fal = Fal()
    streams: StreamsSection = StreamsSection()
    store: Store = Store()
    handles: HandleSecrets = HandleSecrets()
    sessions: tuple[Session, ...] = ()
    cookie: CookieSection | None = None
    guests: GuestsSection = GuestsSection()
    revocation: RevocationSection = RevocationSection()
    schemas: SchemasSection = SchemasSection()
    endpoints: tuple[Endpoint, ...] = ()
    uploads: UploadsSection | None = None
    realtime: RealtimeSection | None = None
    limits: tuple[Limit, ...] = DEFAULT_LIMITS
    ledger: LedgerSection = LedgerSection()
    privacy: PrivacySection = PrivacySection()
    budgets: tuple[BudgetSection, ...] = ()
    in_flight: tuple[InFlightSection, ...] = ()
    overload: OverloadSection = OverloadSection()
    jobs: JobsSection = JobsSection()
    webhooks: WebhooksSection = WebhooksSection()
    playground: Playground = Playground()
