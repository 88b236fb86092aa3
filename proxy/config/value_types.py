"""Types of configuration values, and the base class of every section."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, PrivateAttr

from proxy.http.origin import Origin
from proxy.ratelimit.rate_limiter import parse_rate


def _origin(text: str) -> str:
    """As browsers write it (RFC 6454 section 6.2), since that is what it is compared with."""
    origin = Origin.parse(text)
    return f"{origin.scheme}://{origin.authority.decode('ascii')}"


def _rate(text: str) -> str:
    parse_rate(text)
    return text


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("not the name of a time zone")
    return text


def _number(value: JsonValue) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")  # noqa: TRY004 pydantic turns only a ValueError into a problem
    return value


# A plain union would put the name of the branch that failed into the key of a problem.
Number = Annotated[JsonValue, AfterValidator(_number)]
OriginText = Annotated[str, AfterValidator(_origin)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Units = Annotated[float, Field(ge=0, le=1e9)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Mode = Literal["enforce", "observe"]
Rate = Annotated[str, AfterValidator(_rate)]
Zone = Annotated[str, AfterValidator(_zone)]


class Section(BaseModel):
    """One table of the configuration file. An unknown key is an error: a misspelt limit must not be a missing one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    _location: str = PrivateAttr(default="")

    @property
    def location(self) -> str:
        """The table's place in the file, as in `sessions[0]`; empty for a default that no file holds."""
        return self._location

    @classmethod
    def read(cls, value: object, *, location: str) -> Self:
        """Validates the table at *location*. Raises pydantic's ValidationError."""
        section = cls.model_validate(value)
        section._location = location
        return section
