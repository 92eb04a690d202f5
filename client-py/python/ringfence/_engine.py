"""Calls by the catalogue: any engine of a daemon, also one that this package has never heard of.

What an engine and its methods say of themselves is the same for threads and for tasks; here are both
bases, and the classes for threads.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from inspect import Signature
    from typing import Any, Generic, Never, TypeVar

    from ._core import Client as NativeClient
    from ._core import Method as NativeMethod
    from ._core import Pending
    from ._types import Timeout

    M = TypeVar("M", bound="MethodBase")

    class Of(Generic[M]):
        """Of methods of one kind."""

else:
    # `typing` itself would be a third of the import.
    M = None

    class Of:
        """Of methods of one kind."""

        __slots__ = ()

        def __class_getitem__(cls, kind):
            return cls


def result_type(engine: str, method: str, names: list[str]) -> type[tuple[Any, ...]]:
    """The named tuple of a method's replies. Called by the native half."""
    from collections import namedtuple

    title = "".join(part.capitalize() for part in f"{engine}_{method}".split("_"))
    # A field of a reply may be called what Python does not allow, `class` say: it becomes `_1`.
    make: Callable[..., type[tuple[Any, ...]]] = namedtuple
    return make(title, names, rename=True)


def method_help(name: str, native: NativeMethod) -> str:
    """What a method does, takes and gives, as text."""
    doc, request, reply, _, _ = native.describe()
    takes = ", ".join(f"{field}: {ty}" for field, ty, _ in request)
    lines = [f"{name}({takes})", "", f"    {doc}"]
    for title, fields in (("takes", request), ("gives", reply)):
        lines += ["", f"    {title}:" if fields else f"    {title} nothing"]
        lines += [f"        {field}: {ty}  {about}".rstrip() for field, ty, about in fields]
    return "\n".join(lines)


class MethodBase:
    """What a method of an engine says of itself."""

    __slots__ = ("_native", "name")

    def __init__(self, native: NativeMethod, name: str) -> None:
        self._native = native
        self.name = name
        """Engine and method, with a dot between them."""

    @property
    def idempotent(self) -> bool:
        """May it be run again when nobody knows whether it took effect?"""
        return self._native.describe()[3]

    @property
    def timeout(self) -> float | None:
        """How many seconds a call waits by default; ``None`` is for ever."""
        timeout_ms = self._native.describe()[4]
        return None if timeout_ms is None else timeout_ms / 1000

    @property
    def request(self) -> dict[str, str]:
        """The types of the request's fields, by name."""
        return {name: ty for name, ty, _ in self._native.describe()[1]}

    @property
    def reply(self) -> dict[str, str]:
        """The types of the reply's fields, by name."""
        return {name: ty for name, ty, _ in self._native.describe()[2]}

    @property
    def help(self) -> str:
        """What it does, takes and gives, as text."""
        return method_help(self.name, self._native)

    @property
    def __signature__(self) -> Signature:
        from inspect import Parameter, Signature

        fields = [Parameter(name, Parameter.KEYWORD_ONLY) for name in self.request]
        return Signature([*fields, Parameter("timeout", Parameter.KEYWORD_ONLY, default=...)])

    def __repr__(self) -> str:
        return f"<method {self.name}>"

    def _by_name(self) -> TypeError:
        """What is wrong with values that do not say which field they are."""
        fields = ", ".join(f"{name}=..." for name in self.request)
        return TypeError(
            f"{self.name}() takes no positional arguments; name the fields: {self.name}({fields})"
        )


class EngineBase(Of[M]):
    """An engine whose methods are attributes. They are made when they are first asked for."""

    __slots__ = ("_make", "_methods", "_names", "doc", "name")

    def __init__(self, name: str, doc: str, names: list[str], make: Callable[[str], M]) -> None:
        self._names = names
        self._make = make
        self._methods: dict[str, M] = {}
        self.name = name
        """Its name in the catalogue."""
        self.doc = doc
        """What it is for."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its methods."""
        return tuple(self._names)

    def __getattr__(self, name: str) -> M:
        known = self._methods.get(name)
        if known is not None:
            return known
        if name not in self._names:
            methods = ", ".join(self._names)
            text = f"engine {self.name!r} has no method {name!r}; it has {methods}"
            raise AttributeError(text, name=name, obj=self)
        method = self._methods[name] = self._make(name)
        return method

    def __getitem__(self, name: str) -> M:
        """A method by its name; for the ones that are called like an attribute, ``name`` or
        ``doc``."""
        try:
            return self.__getattr__(name)
        except AttributeError as error:
            raise KeyError(str(error)) from None

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._names})

    def __repr__(self) -> str:
        return f"<engine {self.name!r}: {', '.join(self._names)}>"


class Method(MethodBase):
    """A method of an engine. Call it with its request's fields by name; the reply is a named tuple,
    or ``None`` where it has no fields."""

    __slots__ = ()

    def __call__(self, /, *positional: Never, timeout: Timeout = ..., **fields: Any) -> Any:
        if positional:
            raise self._by_name()
        return self._native.call(fields, timeout=timeout)

    def submit(self, *, timeout: Timeout = ..., **fields: Any) -> Pending:
        """Sends the call and does not wait for its answer."""
        return self._native.submit(fields, timeout=timeout)


class Engine(EngineBase[Method]):
    """An engine of a daemon: its methods are attributes."""

    __slots__ = ()

    def __init__(self, client: NativeClient, name: str, doc: str, names: list[str]) -> None:
        def make(method: str) -> Method:
            return Method(client._method(name, method), f"{name}.{method}")

        super().__init__(name, doc, names, make)
