"""The base class of all settings: each one is declared once, with its type, default, limits and description."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Part = TypeVar("Part", bound="Settings")
LARGEST_INTEGER = 2**31 - 1
LARGEST_NUMBER = 1e12
"""A larger number is a slip, and would overflow later, in a message that does not name the setting."""


class Settings(BaseModel):
    """Settings of one component, immutable and checked when they are made.

    The docstring under a field is its description, in `--help` and in error messages. A section of a YAML file that
    holds the settings of several components inherits from all of them; `part` gives each component its own.

    Raises:
        ValueError: a field is unknown or out of range (pydantic's ValidationError; see `typed_yaml.first_problem`).
    """

    # validators are built at the first use: `--help` reads descriptions only, and must be quick
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        defer_build=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
    )

    empty_text: ClassVar[bool] = False
    """Whether text fields may be empty."""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_slips(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what pydantic would accept, or convert, but nobody means."""
        if isinstance(value, bool) and not _takes_booleans(cls.model_fields[str(info.field_name)].annotation):
            raise PydanticCustomError("boolean", "expected a number or text, not true or false")
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise PydanticCustomError("too_large", "expected an integer of at most 2147483647")
        if isinstance(value, float) and LARGEST_NUMBER < abs(value) < float("inf"):
            raise PydanticCustomError("too_large", "expected a number of at most 1e12")
        if isinstance(value, str) and not value.strip() and not cls.empty_text:
            raise PydanticCustomError("empty", "expected text that is not empty")
        return value

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The fields' names in YAML files."""
        return tuple(field.serialization_alias or name for name, field in cls.model_fields.items())

    @classmethod
    def from_file(cls, content: Any) -> Self:
        """Check the content of a YAML file, in which fields have their names in files only.

        Raises:
            ValueError: a field is unknown or out of range (pydantic's ValidationError).
        """
        return cls.model_validate(content, by_alias=True, by_name=False)

    @classmethod
    def require_valid(cls, name: str, value: Any) -> None:
        """Check a value for one field, whatever the values of the others.

        Args:
            name: of the field, as in YAML files.
            value: to check.

        Raises:
            ValueError: the value is out of range (pydantic's ValidationError).
        """
        from pydantic import TypeAdapter

        field = list(cls.model_fields.values())[cls.names().index(name)]
        checked: Any = Annotated[field.annotation, field]
        TypeAdapter(checked).validate_python(value)

    def part(self, kind: type[Part], **others: Any) -> Part:
        """The settings of one component out of a section composed of several.

        Args:
            kind: the component's settings; a base class of this section, or a class that adds fields to one.
            others: the fields that the section does not have.
        """
        own = {name: getattr(self, name) for name in kind.model_fields if name in type(self).model_fields}
        return kind(**own, **others)

    def replace(self, **changes: Any) -> Self:
        """A checked copy with some fields changed."""
        return type(self)(**{**dict(self), **changes})


def _takes_booleans(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(map(_takes_booleans, get_args(annotation)))


def like(kind: type[Settings], name: str, **changes: Any) -> Any:
    """A field that means the same as one of another class, and so has its description.

    Args:
        kind: the class that declares the field.
        name: of the field.
        changes: what differs, such as `default`, as arguments of pydantic's `Field`.

    Examples:
        class FromFile(Settings):
            column: str = like(Columns, "column", default="cell_type")
    """
    return Field(description=kind.model_fields[name].description, **changes)


def require_file_name(value: Path) -> Path:
    """Check that a path can name a file.

    Raises:
        ValueError: it is a folder such as `.`, or has control characters.
    """
    if not value.name or not str(value).isprintable():
        raise ValueError(f"is {str(value)!r}; expected the path of a file")
    return value


class Seeded(Settings):
    """Settings with a random seed."""

    seed: int = Field(default=0, ge=0)
    """Seed of everything random: the same seed gives the same result."""
