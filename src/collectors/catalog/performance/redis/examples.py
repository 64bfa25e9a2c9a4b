"""Small recorded situations."""

from __future__ import annotations

import json

from collectors.contract.example import Example
from collectors.errors import SourceUnavailable

_INFO = """# Server
redis_version:7.0.15
redis_mode:standalone
os:Linux 6.1 x86_64
process_id:7
run_id:1f1e
server_time_usec:1772452800000000
uptime_in_seconds:3600
# Clients
connected_clients:3
maxclients:100
# Memory
used_memory:2000000
maxmemory:8000000
maxmemory_policy:noeviction
# Persistence
rdb_last_bgsave_status:ok
rdb_last_bgsave_time_sec:-1
# Stats
total_commands_processed:80
keyspace_hits:30
keyspace_misses:10
# Replication
role:master
connected_slaves:1
slave0:ip=10.0.0.2,port=6379,state=online,offset=900,lag=1
master_repl_offset:1000
# Commandstats
cmdstat_get:calls=40,usec=200,usec_per_call=5.00,rejected_calls=0,failed_calls=0
# Errorstats
errorstat_ERR:count=2
# Keyspace
db0:keys=25,expires=5,avg_ttl=60000
"""

_REPLIES = {"SLOWLOG LEN": 1, "SLOWLOG GET 32": [[4, 1_772_452_000, 12_000, ["KEYS", "*"], "10.0.0.9:1", ""]]}
_NO_RIGHTS = {
    "CONFIG GET maxmemory": {"refused": "NOPERM this user has no permissions"},
    "SLOWLOG LEN": {"refused": "NOPERM"},
}

EXAMPLES = (
    Example(
        "small_server", {"password": "s3cret-s3cret"}, files={"info.txt": _INFO, "replies.json": json.dumps(_REPLIES)}
    ),
    Example("few_rights", files={"info.txt": _INFO, "replies.json": json.dumps(_NO_RIGHTS)}),
    Example("not_started", fails=SourceUnavailable),
)
