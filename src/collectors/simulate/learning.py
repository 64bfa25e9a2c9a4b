"""What models and experiments produce: predictions and their labels, exposures and outcomes."""

from __future__ import annotations

from collections import deque

import numpy as np
import pyarrow as pa

from collectors.model.event_type import EventType
from collectors.model.event_types import EXPOSURE, FEATURES, LABEL, OUTCOME, PREDICTION
from collectors.simulate.sampling import Flags, Index, Ints, Words, generator, hex_text, record_batch, text_of, words
from collectors.simulate.scenario import VARIANTS, sigmoid
from collectors.simulate.truth import TenantTruth
from collectors.simulate.world import Population, World

_VARIANTS = pa.array(VARIANTS)
_CLASSES = pa.array(["0", "1"])
_LATENCY = (np.log(4_000), 0.5)  # microseconds, log-normal


class Learning:
    """Makes the events of models and experiments of one tenant and tells its truth.

    Every prediction gets its label in the order of predicting. Experiments go through the users in laps: each user in
    turn is exposed to all of them, and only exposed users have outcomes.
    """

    def __init__(self, world: World, people: Population, truth: TenantTruth) -> None:
        self._world = world
        self._people = people
        self._truth = truth
        self._rng = {
            t.name: generator(world.seed, "live", people.profile.id, t.name)
            for t in (PREDICTION, LABEL, EXPOSURE, OUTCOME)
        }
        self._batches = 0
        self._unlabelled: deque[tuple[Words, Flags, Ints, int]] = deque()
        self.labels_due = 0
        """Predictions that have no label yet."""
        order = generator(world.seed, "laps", people.profile.id)
        self._lap = order.permutation(len(people))
        self._exposures = 0
        self._exposed_us = np.zeros(len(people) * len(world.experiments), dtype=np.int64)
        self._experiments = pa.array([e.name for e in world.experiments], pa.string())
        self._metrics = pa.array([e.metric for e in world.experiments], pa.string())
        self._effect = np.array([e.effect for e in world.experiments])
        self._noise = np.array([e.noise_sd for e in world.experiments])
        self._binary = np.array([e.binary for e in world.experiments])

    def prediction(self, times: Ints) -> pa.RecordBatch:
        """Make predictions at ``times``, all by one model; models take turns batch by batch."""
        rng = self._rng["prediction"]
        n = len(times)
        number = self._batches % len(self._world.models)
        self._batches += 1
        model = self._world.models[number]
        keys = words(rng, n)
        features = rng.standard_normal((n, len(model.features)))
        drift_us = model.drift_us(self._world.start_us)
        drifted = np.zeros(n, dtype=np.bool_) if drift_us is None else times >= drift_us
        features[:, model.drift_feature] += model.drift_shift * drifted
        logit = model.intercept + features @ np.array(model.weights)
        score = model.score(logit)
        positive = rng.random(n) < sigmoid(logit + model.concept_shift * drifted)
        self._unlabelled.append((keys, positive, times, number))
        self.labels_due += n
        self._truth.events["prediction"] += n
        since = int(np.count_nonzero(drifted))
        self._truth.learning.predictions[number] += (n - since, since)
        width = len(model.features)
        return record_batch(
            PREDICTION,
            rng,
            times,
            {
                "source": pa.repeat(pa.scalar("model-server"), n),
                "user_id": text_of(self._people.ids, self._people.activity.draw(rng, n)),
                "model": pa.repeat(pa.scalar(model.name), n),
                "version": pa.repeat(pa.scalar(model.version), n),
                "prediction_id": hex_text(keys, "pr-"),
                "score": pa.array(score),
                "prediction": text_of(_CLASSES, (score >= 0.5).astype(np.uint8)),
                "features": pa.MapArray.from_arrays(
                    pa.array(np.arange(0, n * width + 1, width, dtype=np.int32)),
                    text_of(pa.array(model.features), np.tile(np.arange(width), n)),
                    pa.array(features.ravel()),
                ).cast(FEATURES),
                "latency_us": pa.array(rng.lognormal(*_LATENCY, n).astype(np.int64)),
            },
        )

    def label(self, times: Ints) -> pa.RecordBatch:
        """Make labels of the oldest predictions without one, each at its time in ``times`` but after its prediction.

        There must be at least as many such predictions as times: see ``labels_due``.
        """
        rng = self._rng["label"]
        n = len(times)
        parts: list[tuple[Words, Flags, Ints]] = []
        missing = n
        while missing:
            keys, positive, predicted, model = self._unlabelled.popleft()
            if len(keys) > missing:
                rest = (keys[missing:], positive[missing:], predicted[missing:], model)
                self._unlabelled.appendleft(rest)
                keys, positive, predicted = keys[:missing], positive[:missing], predicted[:missing]
            missing -= len(keys)
            parts.append((keys, positive, predicted))
            self._truth.learning.labels[model] += (len(keys), int(np.count_nonzero(positive)))
        self.labels_due -= n
        self._truth.events["label"] += n
        keys, positive, predicted = (np.concatenate(column) for column in zip(*parts, strict=True))
        return record_batch(
            LABEL,
            rng,
            np.maximum(times, predicted + 1),
            {
                "source": pa.repeat(pa.scalar("label-join"), n),
                "prediction_id": hex_text(keys, "pr-"),
                "value": pa.array(positive.astype(np.float64)),
            },
        )

    def exposure(self, times: Ints) -> pa.RecordBatch:
        """Make exposures at ``times``: the next users of the lap, each to all experiments."""
        n = len(times)
        place = np.arange(self._exposures, self._exposures + n)
        self._exposures += n
        first_lap = place < len(self._exposed_us)
        self._exposed_us[place[first_lap]] = times[first_lap]
        unit, number = self._at(place)
        variant = self._people.variant[number, unit]
        self._truth.events["exposure"] += n
        self._truth.learning.exposed(number, variant, unit)
        return self._batch(
            EXPOSURE,
            times,
            unit,
            {
                "experiment": text_of(self._experiments, number),
                "variant": text_of(_VARIANTS, variant),
            },
        )

    @property
    def outcome_ready(self) -> bool:
        """Whether a user has been exposed to an experiment."""
        return self._exposures > 0

    def outcome(self, times: Ints) -> pa.RecordBatch:
        """Make outcomes of exposed users, each at its time in ``times`` but after that user's first exposure."""
        rng = self._rng["outcome"]
        n = len(times)
        place = rng.integers(0, min(self._exposures, len(self._exposed_us)), n)
        unit, number = self._at(place)
        variant = self._people.variant[number, unit]
        mean = self._people.unit_mean[number, unit] + self._effect.take(number) * variant
        chance = (rng.random(n) < mean).astype(np.float64)
        measured = mean + self._noise.take(number) * rng.standard_normal(n)
        value = np.where(self._binary.take(number), chance, measured)
        self._truth.events["outcome"] += n
        self._truth.learning.observed(number, variant, value)
        return self._batch(
            OUTCOME,
            np.maximum(times, self._exposed_us.take(place) + 1),
            unit,
            {
                "metric": text_of(self._metrics, number),
                "value": pa.array(value),
            },
        )

    def _at(self, place: Ints) -> tuple[Ints, Ints]:
        """Return user and experiment at places of the lap."""
        unit = self._lap.take(place // len(self._effect), mode="wrap")
        return unit, place % len(self._effect)

    def _batch(self, kind: EventType, times: Ints, unit: Index, columns: dict[str, pa.Array]) -> pa.RecordBatch:
        ids = text_of(self._people.ids, unit)
        columns |= {"source": pa.repeat(pa.scalar("experiments"), len(times)), "user_id": ids, "unit_id": ids}
        return record_batch(kind, self._rng[kind.name], times, columns)
