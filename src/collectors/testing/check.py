"""One check: a name, what it demands, whom it applies to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from collectors.contract.collector import Streaming
from collectors.testing.subject import Subject

Applies = Callable[[Subject], bool]


@dataclass(frozen=True)
class Check:
    """A demand on a class. ``once`` means that it is about the class and not about one example."""

    name: str
    demand: str
    run: Callable[[Subject], Awaitable[None]]
    applies: Applies
    once: bool

    def applies_to(self, subject: Subject) -> bool:
        """Whether ``subject`` is to be checked: of what concerns the class, only its first example is."""
        return self.applies(subject) and (not self.once or subject.example is subject.examples[0])


def collects(subject: Subject) -> bool:
    """Whether the example leads to a collection."""
    return subject.example.fails is None


def fails(subject: Subject) -> bool:
    """Whether the example must lead to an error."""
    return subject.example.fails is not None


def streaming(subject: Subject) -> bool:
    """Whether it observes batches, and so keeps state that must survive a restart."""
    return collects(subject) and issubclass(subject.cls, Streaming)


def reads_events(subject: Subject) -> bool:
    """Whether it collects from events, of which the example has some."""
    return collects(subject) and subject.reads_events and any(subject.example.events.values())


def has_source(subject: Subject) -> bool:
    """Whether it has a source that can fail."""
    return collects(subject) and subject.has_source


def check(
    applies: Applies = collects, *, once: bool = False
) -> Callable[[Callable[[Subject], Awaitable[None]]], Check]:
    """Make a check of a function; its name is the check's, its docstring the demand."""

    def make(run: Callable[[Subject], Awaitable[None]]) -> Check:
        return Check(run.__name__, (run.__doc__ or "").strip(), run, applies, once)

    return make
