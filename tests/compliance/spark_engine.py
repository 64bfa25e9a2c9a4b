"""Sail behind the engine contract: Spark's protocol and dialect, in this process and without a JVM."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("RUST_LOG", "error")  # read when the server is loaded
# In a worker of pytest-xdist, where __main__ has no name, the client looks for a Spark installation it does not need.
os.environ.setdefault("SPARK_HOME", str(Path(find_spec("pyspark").submodule_search_locations[0])))

import ibis
import pyarrow as pa
from pysail.spark import SparkConnectServer
from pyspark.sql import SparkSession
from pyspark.sql import functions as sf

from collectors.contract.tables import events, rollup
from collectors.lake.engine import LakeFile
from collectors.model.rollups import ROLLUPS


class SailEngine:
    """Runs expressions on Sail, through Spark Connect on the loopback interface."""

    def __init__(self) -> None:
        self._server = SparkConnectServer(ip="127.0.0.1", port=0)
        self._server.start(background=True)
        _address, port = self._server.listening_address
        self._spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
        self._spark.conf.set("spark.sql.session.timeZone", "UTC")
        self._ibis = ibis.pyspark.connect(self._spark)

    async def run(self, expression: Any, tenant_id: str, files: Mapping[str, tuple[LakeFile, ...]]) -> pa.Table:
        for name, of_table in files.items():
            self._bind(name, tenant_id, of_table)
        fields = [f.with_nullable(True) for f in expression.schema().to_pyarrow()]
        return self._spark.sql(self._ibis.compile(expression)).toArrow().cast(pa.schema(fields))

    async def close(self) -> None:
        self._spark.stop()
        self._server.stop()

    def _bind(self, name: str, tenant_id: str, files: tuple[LakeFile, ...]) -> None:
        """Make a view of one tenant's rows; a rollup is the sum of its partial rows."""
        declared = ROLLUPS.get(name)
        table = rollup(name) if declared else events(name)
        if not files:
            nulls = pa.Table.from_pylist([{}], table.schema().to_pyarrow())  # no rows at all would have no schema
            self._spark.createDataFrame(nulls).limit(0).createOrReplaceTempView(name)
            return
        columns = table.columns
        stored = self._spark.read.parquet(*(file.path for file in files))
        rows = stored.filter(sf.col("tenant_id") == sf.lit(tenant_id)).select(*columns)
        if declared:
            keys = [declared.period, *(key for key, _type in declared.keys)]
            sums = [sf.sum(measure.name).alias(measure.name) for measure in declared.measures]
            rows = rows.groupBy(*keys).agg(*sums)
        rows.createOrReplaceTempView(name)
