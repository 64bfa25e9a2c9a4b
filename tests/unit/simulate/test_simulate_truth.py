"""What the truth says, against what independent engines find in the batches."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from simulate_support import ATTACKS, Run, small_world, tables_of

from collectors.simulate.scenario import DEFAULT_EXPERIMENTS, DEFAULT_MODELS, VARIANTS
from collectors.simulate.stream import EventStream
from collectors.simulate.vocabulary import POSITION_SHARES
from collectors.simulate.world import DEFAULT_START_US

RUNS = ["live", "past"]


@pytest.fixture(params=RUNS)
def run(request) -> Run:
    return request.getfixturevalue(request.param)


def frame(table: pa.Table):
    return table.drop_columns(["event_id"]).to_pandas()


def query(sql: str, **tables: pa.Table) -> list[tuple]:
    with duckdb.connect() as db:
        for name, table in tables.items():
            db.register(name, table)
        return db.execute(sql).fetchall()


def test_event_counts_are_those_of_the_batches(run: Run):
    assert run.truth.events == {key: t.num_rows for key, t in run.tables.items()}
    assert run.truth.total == sum(t.num_rows for t in run.tables.values())


def test_plays_streams_skips_and_time_are_those_of_the_batches(run: Run):
    for tenant, truth in run.truth.tenants.items():
        ((plays, streams, skips, ms),) = query(
            "select count(*), count(*) filter (ms_played >= 30000), count(*) filter (skipped), sum(ms_played) from p",
            p=run.tables[tenant, "playback"],
        )
        told = truth.listening.to_dict()
        assert (told["plays"], told["streams"], told["skips"], told["ms_played"]) == (plays, streams, skips, ms)


def test_active_users_are_those_of_the_tenants_own_days(run: Run):
    for tenant, truth in run.truth.tenants.items():
        plays = frame(run.tables[tenant, "playback"])
        plays["day"] = plays["event_time"].dt.tz_convert(run.world.tenants[tenant].time_zone).dt.date
        users = plays.groupby("day")["user_id"].agg(set)
        told = truth.listening.to_dict()["days"]
        assert {str(day): len(u) for day, u in users.items()} == {day: row["dau"] for day, row in told.items()}
        assert {str(day): int(n) for day, n in plays.groupby("day").size().items()} == {
            day: row["plays"] for day, row in told.items()
        }
        for window, name in ((7, "wau"), (30, "mau")):
            for day in users.index:
                near = [u for d, u in users.items() if 0 <= (day - d).days < window]
                assert len(set().union(*near)) == told[str(day)][name]


def test_payments_are_those_of_local_months_currency_by_currency(run: Run):
    for tenant, truth in run.truth.tenants.items():
        payments = frame(run.tables[tenant, "payment"])
        zone = run.world.tenants[tenant].time_zone
        payments["month"] = payments["event_time"].dt.tz_convert(zone).dt.strftime("%Y-%m")
        keys = ["month", "currency", "kind", "status"]
        found = payments.groupby(keys)["amount_minor"].agg(["count", "sum"])
        assert {key: (int(n), int(total)) for key, (n, total) in found.iterrows()} == {
            tuple(row[k] for k in keys): (row["count"], row["amount_minor"]) for row in truth.revenue.payments()
        }


def test_subscription_actions_and_log_in_outcomes_are_counted(run: Run):
    for tenant, truth in run.truth.tenants.items():
        actions = Counter(run.tables[tenant, "subscription"]["action"].to_pylist())
        assert truth.revenue.actions == actions
        assert truth.security.outcomes == Counter(run.tables[tenant, "auth"]["outcome"].to_pylist())
        statuses = Counter(map(str, run.tables[tenant, "api_request"]["status"].to_pylist()))
        assert truth.statuses == statuses


def test_experiments_are_counted_by_variant(run: Run):
    for tenant, truth in run.truth.tenants.items():
        told = truth.to_dict()["learning"]["experiments"]
        exposures = run.tables[tenant, "exposure"]
        rows = query("select experiment, variant, count(*), count(distinct unit_id) from e group by all", e=exposures)
        assert {(e, v): (n, units) for e, v, n, units in rows} == {
            (e, v): (told[e][v]["exposures"], told[e][v]["units"])
            for e in told
            for v in VARIANTS
            if told[e][v]["exposures"]
        }
        by_metric = {told[e]["control"]["metric"]: told[e] for e in told}
        rows = query(
            "with a as (select distinct unit_id, experiment, variant from e) "
            "select metric, variant, count(*), sum(value) from o join a using (unit_id) "
            "where (experiment, metric) in "
            "(('autoplay', 'minutes'), ('paywall_copy', 'converted'), ('hifi_upsell', 'plays')) group by all",
            e=exposures,
            o=run.tables[tenant, "outcome"],
        )
        assert sum(n for _, _, n, _ in rows) == run.tables[tenant, "outcome"].num_rows
        for metric, variant, n, total in rows:
            assert by_metric[metric][variant]["outcomes"] == n
            assert by_metric[metric][variant]["outcome_sum"] == pytest.approx(total)


def test_a_unit_has_one_variant_for_ever(run: Run):
    for tenant in run.truth.tenants:
        rows = query(
            "select max(n) from (select count(distinct variant) n from e group by unit_id, experiment)",
            e=run.tables[tenant, "exposure"],
        )
        assert rows == [(1,)]


def test_predictions_labels_and_feedback_are_counted(run: Run):
    for tenant, truth in run.truth.tenants.items():
        told = truth.to_dict()["learning"]
        rows = query(
            "select model, count(*), count(value), sum(value)::bigint "
            "from p left join l using (prediction_id) group by 1",
            p=run.tables[tenant, "prediction"],
            l=run.tables[tenant, "label"],
        )
        for model, predictions, labels, positives in rows:
            assert told["models"][model]["predictions"] == predictions
            assert told["models"][model]["labels"] == labels
            assert told["models"][model]["positives"] == (positives or 0)
        feedback = run.tables[tenant, "feedback"]
        assert {k: v for k, v in told["feedback"]["actions"].items() if v} == Counter(feedback["action"].to_pylist())
        rows = query(
            "select position, count(*), count(*) filter (action in ('play','click','save')) from f group by 1",
            f=feedback,
        )
        assert {p: (n, good) for p, n, good in rows} == {
            p: (row["reactions"], row["positive"])
            for p, row in enumerate(told["feedback"]["positions"])
            if row["reactions"]
        }


def test_experiments_have_the_effects_they_state():
    experiments = tuple(replace(e, effect=e.effect * 3 or 0.2) for e in DEFAULT_EXPERIMENTS)
    stream = EventStream(small_world(3, experiments=experiments))
    outcomes = pa.concat_tables([t for (_, k), t in tables_of(stream.batches(1_500_000)).items() if k == "outcome"])
    assert outcomes.num_rows == 7_500
    for i, experiment in enumerate(experiments):
        arms = [np.zeros(2), np.zeros(2)]
        for truth in stream.truth.tenants.values():
            arms[0] += truth.learning.outcomes[i]
            arms[1] += truth.learning.outcome_sums[i]
        means = arms[1] / arms[0]
        spread = 0.5 if experiment.binary else np.hypot(experiment.unit_sd, experiment.noise_sd)
        # Units repeat, so their own means spread no less than these 4 standard errors of independent outcomes allow.
        error = 4 * spread * np.sqrt(2 / arms[0].min())
        assert means[1] - means[0] == pytest.approx(experiment.effect, abs=error)
        assert means[0] == pytest.approx(experiment.mean, abs=error)


def test_models_are_calibrated_and_drift_as_they_state():
    model = replace(DEFAULT_MODELS[0], drift_start_s=1.0, concept_shift=0.7, calibration_slope=1.5)
    stream = EventStream(small_world(3, models=(model,)))
    tables = tables_of(stream.batches(400_000, 500, rate=200_000.0))
    predictions = pa.concat_tables([t for (_, k), t in tables.items() if k == "prediction"])
    labels = pa.concat_tables([t for (_, k), t in tables.items() if k == "label"])
    frame = (
        predictions.drop_columns("event_id").to_pandas().merge(labels.select(["prediction_id", "value"]).to_pandas())
    )
    assert len(frame) == 10_000
    features = np.array([[v for _, v in row] for row in frame["features"]])
    assert {tuple(k for k, _ in row) for row in frame["features"]} == {model.features}
    drifted = frame["event_time"].astype("int64").to_numpy() >= DEFAULT_START_US + 1_000_000
    told = sum((t.learning.predictions[0] for t in stream.truth.tenants.values()), np.zeros(2))
    assert told.tolist() == [(~drifted).sum(), drifted.sum()]
    shift = features[drifted].mean(axis=0) - features[~drifted].mean(axis=0)
    expected = np.zeros(6)
    expected[model.drift_feature] = model.drift_shift
    assert np.abs(shift - expected).max() < 0.1
    logit = model.intercept + features @ np.array(model.weights)
    score = frame["score"].to_numpy()
    assert np.allclose(np.log(score / (1 - score)), model.calibration_intercept + 1.5 * logit)
    for rows, extra in ((~drifted, 0.0), (drifted, 0.7)):
        chance = 1 / (1 + np.exp(-(logit[rows] + extra)))
        error = 4 * np.sqrt((chance * (1 - chance)).sum())
        assert frame["value"].to_numpy()[rows].sum() == pytest.approx(chance.sum(), abs=error)


def test_feedback_follows_position_bias_and_attraction(live: Run):
    feedback = live.everyone("feedback")
    position = np.bincount(feedback["position"].to_numpy(), minlength=10) / feedback.num_rows
    assert np.abs(position - np.array(POSITION_SHARES)).max() < 0.04
    tracks = live.world.catalogue
    attraction = dict(zip(tracks.track_ids.to_pylist(), tracks.attraction.tolist(), strict=True))
    chance = np.array([attraction[i] for i in feedback["item"].to_pylist()])
    positive = np.isin(feedback["action"].to_numpy(), ["play", "click", "save"])
    assert positive.sum() == pytest.approx(chance.sum(), abs=4 * np.sqrt((chance * (1 - chance)).sum()))


def test_slates_show_different_tracks_with_their_propensities(live: Run):
    for tenant in live.world.tenants:
        tracks = live.world.catalogue.track_ids.to_pylist()
        chance = dict(zip(tracks, live.world.populations[tenant].propensity.tolist(), strict=True))
        for row in live.tables[tenant, "recommendation"].to_pylist()[:200]:
            assert len(set(row["items"])) == 10
            assert [chance[i] for i in row["items"]] == row["propensities"]


def test_attacks_are_seen_in_the_log_ins_as_the_truth_tells(live: Run):
    second = 1_000_000
    for tenant, attack, count in (("nordic", ATTACKS[0], 2), ("americas", ATTACKS[1], 1)):
        auth = frame(live.tables[tenant, "auth"])
        auth["us"] = auth["event_time"].astype("int64") - DEFAULT_START_US
        told = live.truth.tenants[tenant].security.to_dict()["attacks"]
        assert len(told) == count
        hostile = auth[auth["ip"].str.startswith("198.18.")]
        for k, episode in enumerate(told):
            begin = (attack.first_s + k * (attack.every_s or 0)) * second
            assert episode["start_us"] - DEFAULT_START_US == begin
            assert episode["end_us"] - DEFAULT_START_US == begin + attack.duration_s * second
            during = hostile[(hostile["us"] >= begin) & (hostile["us"] < begin + attack.duration_s * second)]
            assert len(during) == episode["attempts"]
            assert set(during["principal"]) == set(episode["principals"])
            assert set(during["ip"]) == set(episode["ips"])
            assert (during["outcome"] == "success").sum() == episode["successes"]
            assert set(during["outcome"]) <= {"success", "failure"}
            assert during["us"].min() == episode["first_us"] - DEFAULT_START_US
            assert during["us"].max() == episode["last_us"] - DEFAULT_START_US
            everyone = auth[(auth["us"] >= begin) & (auth["us"] < begin + attack.duration_s * second)]
            assert len(during) / len(everyone) == pytest.approx(attack.intensity, abs=0.12)
        assert len(hostile) == sum(e["attempts"] for e in told)
    assert live.truth.tenants["tokyo"].security.episodes == {}


def test_an_attack_stands_out_from_ordinary_failures(live: Run):
    auth = frame(live.tables["nordic", "auth"])
    failures = auth[auth["outcome"] == "failure"].groupby("ip").size().sort_values(ascending=False)
    assert failures.index[0].startswith("198.18.")
    assert failures.iloc[0] > 10 * failures.iloc[1]
    names = auth[auth["outcome"] == "failure"].groupby("ip")["principal"].nunique()
    assert names[failures.index[0]] == 2
    stuffed = frame(live.tables["americas", "auth"]).groupby("ip")["principal"].nunique().sort_values()
    assert all(ip.startswith("198.18.") for ip in stuffed.index[-3:])


def test_only_existing_accounts_are_broken_into(live: Run):
    auth = frame(live.tables["americas", "auth"])
    won = auth[auth["ip"].str.startswith("198.18.") & (auth["outcome"] == "success")]
    assert set(won["principal"]) <= set(live.world.populations["americas"].principals.to_pylist())
    assert won["reason"].isna().all()


def test_everything_can_be_told_in_json(run: Run):
    told = json.loads(json.dumps(run.truth.to_dict()))
    assert told["total"] == run.truth.total
    assert set(told["tenants"]) == set(run.world.tenants)
    assert told["parameters"]["churn"]["month"] == {"alpha": 0.67, "beta": 9.0}
    assert [e["name"] for e in told["parameters"]["experiments"]] == [e.name for e in run.world.experiments]


def test_truth_of_nothing_is_empty():
    stream = EventStream(small_world())
    told = stream.truth.to_dict()
    assert told["total"] == 0
    assert told["tenants"]["tokyo"]["listening"]["retention"] == {}
    revenue = stream.truth.tenants["tokyo"].revenue
    assert revenue.mrr(DEFAULT_START_US) == {"JPY": 0, "KRW": 0}
    assert stream.truth.tenants["tokyo"].listening.active(0, 30) == 0
