"""Types of configuration values, and the base class of every section."""

from __future__ import annotations

from typing import Annotated, Self, get_args
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    ValidationInfo,
    field_validator,
)

from proxy.http.origin import Origin
from proxy.near_names import did_you_mean
from proxy.ratelimit.rate_limiter import parse_rate

MIB = 1024 * 1024  # bytes
MINUTE, HOUR, DAY = 60, 3600, 86_400  # seconds


def _origin(text: str) -> str:
    """Returns an origin as browsers write it (RFC 6454 section 6.2), which it is compared with."""
    origin = Origin.parse(text)
    return f"{origin.scheme}://{origin.authority.decode('ascii')}"


def _rate(text: str) -> str:
    try:
        parse_rate(text)
    except ValueError as error:
        raise ValueError('must be a rate above zero, as in "30/minute" or "100/5 minutes"') from error
    return text


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError(f"is not the name of a time zone{did_you_mean(text, available_timezones())}")
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
Rate = Annotated[str, AfterValidator(_rate)]
Zone = Annotated[str, AfterValidator(_zone)]


class EnvironmentText(str):
    """A string of the file that a variable of the environment is part of; it may stand for a number."""

    __slots__ = ()


class Section(BaseModel):
    """One table of the configuration file.

    An unknown key is an error: a misspelt limit must not be a missing one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    _location: str = PrivateAttr(default="")
    _doubtful: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def location(self) -> str:
        """The table's place in the file, as in `sessions[0]`; empty for a default that no file holds."""
        return self._location

    @property
    def doubtful(self) -> frozenset[str]:
        """The keys in error.

        They have their defaults here, so that the rest of the table can still be checked.
        """
        return self._doubtful

    @classmethod
    def read(cls, value: object, *, location: str, doubtful: frozenset[str] = frozenset()) -> Self:
        """Validates the table at *location*. Raises pydantic's ValidationError."""
        section = cls.model_validate(value)
        section._location = location
        section._doubtful = doubtful
        return section

    @field_validator("*", mode="before")
    @classmethod
    def _check_quotes(cls, value: object, info: ValidationInfo) -> object:
        """Refuses a number or a truth value in quotes, which pydantic would convert, and true for 1."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        kinds = {getattr(kind, "__origin__", kind) for kind in (annotation, *get_args(annotation))}
        if kinds & {int, float} and (isinstance(value, bool) or (type(value) is str and str not in kinds)):
            raise ValueError("must be a number, without quotes")
        if bool in kinds and not isinstance(value, bool | EnvironmentText):
            raise ValueError("must be true or false, without quotes")
        return value


def section_class(annotation: object) -> type[Section] | None:
    """Returns the section that *annotation* is, or is a tuple or an option of; None where there is none."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)
