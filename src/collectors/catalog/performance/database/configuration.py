# ruff: noqa: S608  # every part of these texts is a constant of this package
"""Settings and what they should be, sequences near their end, changed definitions, and what deserves a second look.

Sources: ``pg_settings``, ``pg_sequences``, catalogs. Fingerprints are the first 48 bits of an MD5 over definitions: a
number that says that something changed, and nothing of what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.catalog.performance.database.probe import Database, Facts, Outcome, Probe, Table, gauge
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_FACTOR = """CASE unit WHEN 'B' THEN 1 WHEN 'kB' THEN 1024 WHEN '8kB' THEN 8192 WHEN '16kB' THEN 16384
       WHEN '32kB' THEN 32768 WHEN 'MB' THEN 1048576 WHEN '16MB' THEN 16777216 WHEN 'us' THEN 0.000001
       WHEN 'ms' THEN 0.001 WHEN 's' THEN 1 WHEN 'min' THEN 60 WHEN 'h' THEN 3600 WHEN 'd' THEN 86400 ELSE 1 END"""

_SETTINGS = Table(
    "settings",
    {
        13: f"""
        SELECT name, CASE WHEN unit ~ 'B$' THEN 'By' WHEN unit IS NULL THEN '1' ELSE 's' END AS unit,
               CASE WHEN vartype = 'bool' THEN (setting = 'on')::int::float8
                    WHEN setting::float8 < 0 THEN setting::float8 ELSE setting::float8 * {_FACTOR} END AS value
        FROM pg_settings WHERE vartype IN ('bool', 'integer', 'real') ORDER BY name LIMIT 500"""
    },
    (
        gauge(
            "value", "postgresql.setting", Unit.COUNT, "Numeric and boolean settings, in the unit that stands beside."
        ),
    ),
    by={"setting": "name", "unit": "unit"},
)

_PENDING = Table(
    "settings_state",
    {
        13: """
        SELECT count(*) FILTER (WHERE pending_restart) AS pending,
               count(*) FILTER (WHERE source NOT IN ('default', 'override', 'session', 'client')) AS changed,
               (SELECT count(*) FROM pg_db_role_setting) AS local FROM pg_settings"""
    },
    (
        gauge("pending", "postgresql.settings.pending_restart", Unit.COUNT, "Settings that wait for a restart."),
        gauge("changed", "postgresql.settings.changed", Unit.COUNT, "Settings that are not the default."),
        gauge("local", "postgresql.settings.local", Unit.COUNT, "Databases and roles with settings of their own."),
    ),
)

_DRIFT = MetricSpec(
    "postgresql.settings.drift",
    Kind.GAUGE,
    Unit.COUNT,
    "1 if the setting is not what it is expected to be, else 0.",
    labels=("setting",),
)


@dataclass(frozen=True)
class Drift:
    """Compares settings with what they are expected to be, as ``SHOW`` writes them."""

    expected: Mapping[str, str] = field(default_factory=dict)
    name: str = "settings_drift"
    emits: tuple[MetricSpec, ...] = (_DRIFT,)

    def applies(self, facts: Facts) -> bool:
        return facts.major >= 13 and bool(self.expected)

    async def read(self, database: Database, facts: Facts) -> Outcome:  # noqa: ARG002  # all versions have it
        rows = await database.fetch(
            self.name,
            """SELECT w.name, coalesce(current_setting(w.name, true), '') AS shown, coalesce(s.setting, '') AS raw
            FROM unnest(%(names)s::text[]) AS w (name) LEFT JOIN pg_settings s ON s.name = w.name ORDER BY 1""",
            {"names": sorted(self.expected)},
        )
        # Only whether it differs leaves here: a setting's text may be a command or a path.
        return Outcome(
            tuple(
                Sample(_DRIFT.name, float(self.expected[row["name"]] not in (row["shown"], row["raw"])), (row["name"],))
                for row in rows
                if row["name"] in self.expected
            )
        )


_SEQUENCES = Table(
    "sequences",
    {
        13: """
        SELECT q.schemaname, q.sequencename, ((q.last_value - q.start_value)::numeric / nullif(CASE
                 WHEN q.increment_by < 0 THEN greatest(q.min_value, t.least)
                   ELSE least(q.max_value, t.most) END::numeric
                 - q.start_value, 0))::float8 AS used, q.cycle::int AS cycle
        FROM pg_sequences q
        LEFT JOIN pg_depend d ON d.objid = format('%I.%I', q.schemaname, q.sequencename)::regclass
          AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
        LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        CROSS JOIN LATERAL (SELECT CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
            ELSE 9223372036854775807 END AS most, CASE a.atttypid WHEN 'int2'::regtype THEN -32768
            WHEN 'int4'::regtype THEN -2147483648 ELSE -9223372036854775808 END AS least) t
        ORDER BY 3 DESC NULLS LAST, 1, 2 LIMIT {top}"""
    },
    (
        gauge(
            "used",
            "postgresql.sequence.used",
            Unit.RATIO,
            "Share of its numbers used, by what the sequence and its column can hold.",
            unless="it was not used yet, or may not be read",
        ),
        gauge("cycle", "postgresql.sequence.cycles", Unit.COUNT, "1 if it starts again at its end."),
    ),
    by={"schema": "schemaname", "sequence": "sequencename"},
)

_OWN = "NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema')"
_HASH = "('x' || left(md5(coalesce(string_agg({0}, ';' ORDER BY {1}), '')), 12))::bit(48)::bigint"

_TABLES = _HASH.format("concat_ws(',', c.oid, a.attname, a.atttypid, a.attnotnull)", "c.oid, a.attnum")
_INDEXES = _HASH.format("concat_ws(',', i.indexrelid, i.indkey, i.indisunique, i.indisvalid)", "i.indexrelid")
_ROLES = _HASH.format("concat_ws(',', oid, rolsuper, rolcanlogin, rolcreaterole, rolbypassrls)", "oid")

_FINGERPRINTS = Table(
    "fingerprints",
    {
        13: f"""
        SELECT 'tables' AS kind, {_TABLES}
          AS fingerprint FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped AND c.relnamespace {_OWN}
        UNION ALL SELECT 'indexes', {_INDEXES}
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace {_OWN}
        UNION ALL SELECT 'functions', {_HASH.format("concat_ws(',', p.oid, p.proname, md5(p.prosrc))", "p.oid")}
        FROM pg_proc p WHERE p.pronamespace {_OWN}
        UNION ALL SELECT 'privileges', {_HASH.format("concat_ws(',', c.oid, c.relowner, c.relacl)", "c.oid")}
        FROM pg_class c WHERE c.relnamespace {_OWN} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL SELECT 'settings', {_HASH.format("concat_ws('=', name, setting)", "name")} FROM pg_settings
        WHERE source NOT IN ('session', 'client')
        UNION ALL SELECT 'roles', {_ROLES}
        FROM pg_roles"""
    },
    (
        gauge(
            "fingerprint",
            "postgresql.fingerprint",
            Unit.COUNT,
            "A number that changes when definitions of the kind change.",
        ),
    ),
    by={"kind": "kind"},
)

_ADVICE = Table(
    "advice",
    {
        13: f"""
        SELECT 'superusers' AS advice, count(*) AS found FROM pg_roles WHERE rolsuper
        UNION ALL SELECT 'public_schema_writable', count(*) FROM pg_namespace n CROSS JOIN LATERAL
          aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) g
        WHERE n.nspname = 'public' AND g.grantee = 0 AND g.privilege_type = 'CREATE'
        UNION ALL SELECT 'disabled_triggers', count(*) FROM pg_trigger WHERE tgenabled = 'D'
        UNION ALL SELECT 'definer_functions_without_search_path', count(*) FROM pg_proc p
        WHERE p.prosecdef AND p.pronamespace {_OWN} AND NOT EXISTS (
          SELECT FROM unnest(p.proconfig) AS o (text) WHERE o.text LIKE 'search_path=%')
        UNION ALL SELECT 'nested_views', count(DISTINCT v.oid) FROM pg_class v JOIN pg_rewrite r ON r.ev_class = v.oid
        JOIN pg_depend d ON d.objid = r.oid AND d.classid = 'pg_rewrite'::regclass AND d.refobjid <> v.oid
        JOIN pg_class u ON u.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass AND u.relkind = 'v'
        WHERE v.relkind = 'v' AND v.relnamespace {_OWN}
        UNION ALL SELECT 'scanned_without_index', count(*) FROM pg_stat_user_tables
        WHERE n_live_tup > 10000 AND seq_scan > 50 AND seq_tup_read > 100 * n_live_tup
          AND seq_scan > coalesce(idx_scan, 0)
        UNION ALL SELECT 'tables_without_primary_key', count(*) FROM pg_class c WHERE c.relkind = 'r'
          AND c.relnamespace {_OWN} AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
        UNION ALL SELECT 'partial_index_candidates', count(DISTINCT i.indexrelid) FROM pg_index i
        JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
        JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = t.relname AND s.attname = a.attname
        WHERE i.indpred IS NULL AND NOT i.indisunique AND s.null_frac > 0.5 AND t.relpages > 100
          AND t.relnamespace {_OWN}
        UNION ALL SELECT 'fsync_off', (current_setting('fsync') = 'off')::int
        UNION ALL SELECT 'weak_passwords_allowed', (current_setting('password_encryption') = 'md5')::int"""
    },
    (gauge("found", "postgresql.advice", Unit.COUNT, "How often something is found that deserves a second look."),),
    by={"advice": "advice"},
)

PROBES: tuple[Probe, ...] = (_SETTINGS, _PENDING, _SEQUENCES, _FINGERPRINTS, _ADVICE)
