"""What a class says of itself, without running it."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import sys
import typing
from typing import Any

from pydantic import SecretBytes, SecretStr, ValidationError

from collectors.contract.collector import Analytical, Sampling, Streaming
from collectors.testing.check import check
from collectors.testing.subject import CheckFailed, Subject, expect

_SENTENCE = re.compile(r"^[A-Z\"'`].{9,139}\.$")
_SOUNDS_SECRET = re.compile(r"(^|_)(password|passphrase|secret|token|api_key|private_key|access_key|dsn|credentials?)$")
_METHODS = ("open", "collect", "close", "queries", "derive", "observe", "snapshot", "restore")
_TENANT_LABELS = frozenset({"tenant", "tenant_id", "collector", "instance"})

HEAVY = (
    "ibis", "duckdb", "deltalake", "psycopg", "redis", "confluent_kafka", "influxdb_client", "elasticsearch", "pyspark",
    "soundfile", "sigma", "kubernetes", "httpx", "fastapi",
)  # fmt: skip
"""What must not be loaded just because a collector's module is."""

_IMPORT = """
import sys, threading
seen = []
def hook(event, args):
    written = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if event.startswith(("socket.", "subprocess.", "os.system", "os.fork", "sqlite3.connect")) or written:
        if not str(args[0]).endswith((".pyc",)) and "__pycache__" not in str(args[0]):
            seen.append(f"{event} {args[0]}")
import collectors.contract.collector, collectors.analytics, numpy
before, heavy = threading.active_count(), set(sys.argv[2].split(","))
sys.addaudithook(hook)
__import__(sys.argv[1])
seen += [f"import of {name}" for name in sorted(heavy & sys.modules.keys())]
seen += ["a thread"] * (threading.active_count() - before)
print("\\n".join(seen))
"""


@check(once=True)
async def is_found_by_its_name(subject: Subject) -> None:
    """The module and the entry point are called like the collector."""
    cls = subject.cls
    module = cls.__module__.rpartition(".")[2]
    expect(
        module == cls.name,
        f"{cls.name} stands in {module}.py; call the module {cls.name}.py",
    )
    try:
        found = subject.lookup(cls.name)
    except Exception as error:
        line = f'{cls.name} = "{cls.__module__}:{cls.__name__}"'
        raise CheckFailed(
            f'{error}. Add under [project.entry-points."collectors.collectors"] in pyproject.toml: {line}; then install'
        ) from error
    expect(found is cls, f"the entry point {cls.name} leads to {found.__module__}.{found.__name__}, not here")


@check(once=True)
async def docstring_begins_with_a_sentence(subject: Subject) -> None:
    """The docstring's first line is a whole sentence: the catalogue shows it."""
    first = (subject.cls.__doc__ or "").strip().split("\n")[0]
    expect(
        _SENTENCE.match(first),
        f"begin the docstring with one line that is a sentence of 10 to 140 characters and ends with a full stop, "
        f"not {first!r}",
    )


@check(once=True)
async def brings_an_example_with_input(subject: Subject) -> None:
    """At least one example has something to collect from."""
    expect(
        any(example.has_input for example in subject.examples), f"add to {subject.cls.__name__}:\n{stub(subject.cls)}"
    )


@check(once=True)
async def examples_have_names_of_their_own(subject: Subject) -> None:
    """No two examples are called the same."""
    names = [example.name for example in subject.examples]
    twice = sorted({name for name in names if names.count(name) > 1})
    expect(not twice, f"two examples are called {', '.join(twice)}; give each a name of its own")


@check()
async def config_survives_being_written_down(subject: Subject) -> None:
    """The example's configuration is the same after JSON and back."""
    config = subject.config
    data = json.loads(config.model_dump_json())
    data |= {key: getattr(config, key) for key in subject.secrets}
    expect(
        type(config).model_validate(data) == config,
        "Config is another after being written as JSON and read again; use types that JSON has",
    )


@check(once=True)
async def config_is_frozen(subject: Subject) -> None:
    """No setting can be changed once it is read."""
    config = subject.config
    for key in type(config).model_fields:
        try:
            setattr(config, key, getattr(config, key))
        except ValidationError:
            continue
        raise CheckFailed(f"{key} of Config can be changed; leave model_config as CollectorConfig has it (frozen=True)")


@check(once=True)
async def config_refuses_what_it_does_not_know(subject: Subject) -> None:
    """A misspelt setting is an error."""
    try:
        subject.cls.Config.model_validate({**subject.example.config, "no_such_setting": 1})
    except ValidationError:
        return
    raise CheckFailed('Config accepts settings it does not know; leave model_config as it is (extra="forbid")')


@check(once=True)
async def settings_are_described(subject: Subject) -> None:
    """Every setting says what it means: the sample file and the catalogue show it."""
    bare = [key for key, info in subject.cls.Config.model_fields.items() if not (info.description or "").strip()]
    expect(not bare, f"write a docstring under {', '.join(bare)} of Config that says what it means, with units")


@check()
async def secrets_are_masked(subject: Subject) -> None:
    """A password, token or key has a secret type and is shown nowhere."""
    for key, info in subject.cls.Config.model_fields.items():
        if _SOUNDS_SECRET.search(key):
            expect(_is_secret(info.annotation), f"{key} of Config sounds like a secret; make it a pydantic.SecretStr")
    config = subject.config
    shown = f"{config!r} {config} {config.model_dump_json()}"
    open_ = [key for key, value in subject.secrets.items() if value in shown]
    expect(not open_, f"{', '.join(open_)} can be read in the configuration's repr or JSON; leave masking to SecretStr")


@check(once=True)
async def aliases_mean_one_metric(subject: Subject) -> None:
    """No alias stands for two metrics, or is a metric's name."""
    aliases = [alias for spec in subject.cls.emits for alias in spec.aliases]
    names = {spec.name for spec in subject.cls.emits}
    doubtful = sorted({alias for alias in aliases if aliases.count(alias) > 1 or alias in names})
    expect(not doubtful, f"the alias {', '.join(doubtful)} does not say which metric it means; use it once")


@check(once=True)
async def labels_leave_the_tenant_to_the_runner(subject: Subject) -> None:
    """No label is the tenant or the collector: the runner says these of every sample."""
    for spec in subject.cls.emits:
        mine = sorted(_TENANT_LABELS & set(spec.labels))
        expect(not mine, f"take the label {', '.join(mine)} from {spec.name}; the runner adds it to every sample")


@check(once=True)
async def methods_can_be_called_as_the_contract_says(subject: Subject) -> None:
    """Methods take the contract's arguments by the contract's names, and wait where it waits."""
    base = next(kind for kind in (Sampling, Analytical, Streaming) if issubclass(subject.cls, kind))
    for name in _METHODS:
        theirs = getattr(base, name, None)
        if theirs is None:
            continue
        own = getattr(subject.cls, name)
        expect(
            inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(theirs),
            f"{name} must {'' if inspect.iscoroutinefunction(theirs) else 'not '}be async def, as in {base.__name__}",
        )
        wanted, has = list(inspect.signature(theirs).parameters), inspect.signature(own).parameters
        extra = [p for key, p in has.items() if key not in wanted and p.default is p.empty]
        expect(
            list(has)[: len(wanted)] == wanted and not extra,
            f"{name} must be callable as {name}({', '.join(wanted)}); it is {name}({', '.join(has)})",
        )


@check(once=True)
async def importing_does_nothing_else(subject: Subject) -> None:
    """Loading the module opens no socket, writes no file, starts nothing and loads no heavy library."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _IMPORT, subject.cls.__module__, ",".join(HEAVY),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip
    out, errors = await process.communicate()
    last = errors.decode(errors="replace").strip().rpartition("\n")[2]
    expect(process.returncode == 0, f"the module can't be imported by itself: {last}")
    seen = out.decode().strip()
    expect(not seen, f"importing the module does more than define things: {seen}; do that in open, or where it is used")


def stub(cls: type[Any]) -> str:
    """Return the lines to paste for an example with input."""
    if issubclass(cls, Sampling):
        what = 'files={"recorded.txt": "what the source answered"}'
        more = (
            "\n    @classmethod\n    def recorded(cls, folder: Path) -> Mapping[str, Any]:\n"
            '        return {"source": ...}  # the driver, answering from the files in folder\n'
        )
    else:
        types = getattr(cls, "event_types", ("playback",))
        what = f'events={{"{types[0]}": [{{"event_time": timedelta(minutes=5)}}]}}'
        more = ""
    return (
        "    @classmethod\n    def examples(cls) -> Iterable[Example]:\n"
        f'        yield Example("typical", {what})\n{more}'
    )


def _is_secret(annotation: Any) -> bool:
    if annotation in (SecretStr, SecretBytes):
        return True
    return any(_is_secret(part) for part in typing.get_args(annotation))
