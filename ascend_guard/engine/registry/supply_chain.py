"""The components that an organization's agents consist of, and which agents contain a component."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from ascend_guard.api.supply_chain import ComponentStats
from ascend_guard.model import RiskLevel
from ascend_guard.store.port import Reader, Transaction

from .agents import AGENTS
from .models import MODELS
from .records import Entry, Logged, Registry


class ComponentType(StrEnum):
    """The type of a component (SDK document, "Register a supply-chain component")."""

    LIBRARY = "library"
    MODEL = "model"
    DATASET = "dataset"
    FRAMEWORK = "framework"
    TOOL = "tool"
    SERVICE = "service"


class Vulnerability(Struct, frozen=True):
    """A known vulnerability of a component. People and their tools record it; no feed is read.

    Args:
        vulnerability_id: such as CVE-2026-1234.
        severity: low to critical.
        description: free text.
        fixed_version: the version in which it is fixed.
    """

    vulnerability_id: str
    severity: RiskLevel
    description: str | None = None
    fixed_version: str | None = None


class Component(Struct, frozen=True):
    """A registered component. Its fields are described in the API (SDK document, "Register a supply-chain component")."""

    component_name: str
    component_type: ComponentType
    provider: str | None = None
    version: str | None = None
    latest_version: str | None = None
    license_type: str | None = None
    source_url: str | None = None
    provenance_verified: bool = False
    risk_level: RiskLevel = RiskLevel.MEDIUM
    compliance_notes: str | None = None
    package_name: str | None = None
    package_ecosystem: str | None = None
    vulnerabilities: list[Vulnerability] = field(default_factory=list)
    active: bool = True
    registered_by: str = ""

    @property
    def outdated(self) -> bool:
        """Whether a later version is known."""
        return self.latest_version is not None and self.latest_version != self.version


class Dependencies(Struct, frozen=True):
    """The components of an agent, by their numbers."""

    components: list[int]


class _Components(Registry[Component]):
    """Components. Each newly reported vulnerability has an audit record of its own, from which an alert is made."""

    def written(
        self, tx: Transaction, organization: str, entry: Entry[Component], before: Component | None, by: str
    ) -> None:
        known = [] if before is None else [old.vulnerability_id for old in before.vulnerabilities]
        for vulnerability in entry.value.vulnerabilities:
            if vulnerability.vulnerability_id not in known:
                tx.record(
                    "COMPONENT_VULNERABILITY",
                    organization=organization,
                    actor=by,
                    component_id=entry.name,
                    vulnerability_id=vulnerability.vulnerability_id,
                    severity=vulnerability.severity,
                )


COMPONENTS = _Components("component", Component, "component", key="component_id", by_number=True)
_DEPENDENCIES = Logged("dependencies", Dependencies, "agent")


def listed(
    reader: Reader,
    organization: str,
    *,
    component_type: ComponentType | None = None,
    risk_level: RiskLevel | None = None,
    has_vulnerabilities: bool | None = None,
    active_only: bool = True,
) -> Iterator[Entry[Component]]:
    """The components that match, oldest first."""
    for entry in COMPONENTS.all(reader, organization):
        if (
            component_type in (None, entry.value.component_type)
            and risk_level in (None, entry.value.risk_level)
            and has_vulnerabilities in (None, bool(entry.value.vulnerabilities))
            and (entry.value.active or not active_only)
        ):
            yield entry


def statistics(reader: Reader, organization: str) -> ComponentStats:
    """Statistics of all active components."""
    components = [entry.value for entry in listed(reader, organization)]
    vulnerabilities = [known for component in components for known in component.vulnerabilities]
    return ComponentStats(
        total_components=len(components),
        by_type=_counted(ComponentType, [component.component_type for component in components]),
        by_risk_level=_counted(RiskLevel, [component.risk_level for component in components]),
        vulnerable_components=sum(bool(component.vulnerabilities) for component in components),
        total_vulnerabilities=len(vulnerabilities),
        vulnerabilities_by_severity=_counted(RiskLevel, [known.severity for known in vulnerabilities]),
        provenance_verified=sum(component.provenance_verified for component in components),
        outdated=sum(component.outdated for component in components),
    )


def _counted(kinds: type[StrEnum], values: list[Any]) -> dict[str, int]:
    counts = Counter(values)
    return {kind.value: counts[kind] for kind in kinds}


def declare(
    tx: Transaction, organization: str, agent: str, component_ids: list[str], by: str
) -> list[Entry[Component]]:
    """Set the components of an agent.

    Args:
        agent: a registered agent, by its name or its number.

    Raises:
        NotFoundError: there is no such agent, or no such component.
    """
    agent_id = AGENTS.get(tx, organization, agent, by_number=True).name
    entries = [COMPONENTS.named(tx, organization, component_id) for component_id in component_ids]
    numbers = list(dict.fromkeys(entry.number for entry in entries))
    about = {"agent_id": agent_id, "components": [entry.name for entry in entries]}
    declared = Dependencies(numbers)
    _DEPENDENCIES.write(tx, organization, agent_id, declared, "AGENT_DEPENDENCIES_DECLARED", by, about)
    return dependencies(tx, organization, agent_id)


def dependencies(reader: Reader, organization: str, agent_id: str) -> list[Entry[Component]]:
    """The components of an agent: the declared ones, and the model it is linked to if that is a component too."""
    declared = _DEPENDENCIES.find(reader, organization, agent_id)
    numbers = dict.fromkeys([] if declared is None else declared.value.components)
    found = [COMPONENTS.numbered(reader, organization, number) for number in numbers]
    agent = AGENTS.find(reader, organization, agent_id)
    if agent is not None and agent.value.model is not None:
        model = MODELS.numbered(reader, organization, agent.value.model)
        if model is not None:
            found.append(COMPONENTS.find(reader, organization, model.name))
    return list({entry.number: entry for entry in found if entry is not None}.values())


def affected(reader: Reader, organization: str, component: Entry[Component]) -> list[str]:
    """The agents that contain a component, sorted."""
    agents = {
        entry.name
        for entry in _DEPENDENCIES.all(reader, organization)
        if component.number in entry.value.components
    }
    model = MODELS.find(reader, organization, component.name)
    if model is not None:
        agents |= {
            entry.name for entry in AGENTS.all(reader, organization) if entry.value.model == model.number
        }
    return sorted(agents)
