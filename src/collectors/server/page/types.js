/**
 * Shapes of what the API answers; times are integer microseconds since the Unix epoch, by the server's clock.
 *
 * @typedef {Record<string, string>} Labels
 *
 * @typedef {object} LedgerCounts
 * @property {number} offered
 * @property {number} stored
 * @property {number} duplicate
 * @property {number} rejected
 * @property {number} dropped
 * @property {number} in_flight
 * @property {number} balance  Zero if every offered event is accounted for.
 *
 * @typedef {object} Ledger
 * @property {LedgerCounts} total
 * @property {Record<string, LedgerCounts>} types
 *
 * @typedef {object} TenantSummary
 * @property {string} id
 * @property {number|null} events_per_second  Null if the worker is not there to tell.
 * @property {LedgerCounts} ledger
 * @property {number|null} freshness_seconds  Age of the oldest event that is not in the lake yet.
 * @property {{running: number, failing: number}} collectors
 * @property {{firing: number}} alerts
 *
 * @typedef {object} Overview
 * @property {number} time
 * @property {TenantSummary[]} tenants
 * @property {{gateway: {up: boolean, uptime_seconds: number}, worker: {up: boolean, behind_records: number|null}}} server
 *
 * @typedef {object} Tenant
 * @property {string} id
 * @property {string} time_zone
 * @property {string} currency
 *
 * @typedef {object} Collector
 * @property {string} name
 * @property {string} state  running, failing, starting or stopped.
 * @property {number} runs
 * @property {number} failures
 * @property {number} issues
 * @property {number} samples
 * @property {number} last_success
 * @property {number} last_duration_s
 * @property {number} lateness_s
 * @property {string} last_error
 *
 * @typedef {object} Metric
 * @property {string} name
 * @property {string} kind  counter or gauge.
 * @property {string} unit  UCUM, as OpenTelemetry writes it.
 * @property {string} description
 * @property {string[]} labels
 * @property {string} collector
 * @property {number} series
 *
 * @typedef {object} Sample
 * @property {string} metric
 * @property {Labels} labels
 * @property {number} time
 * @property {number|null} value
 * @property {string} [reason]  Why there is no value.
 *
 * @typedef {object} Alert
 * @property {string} id
 * @property {string} rule
 * @property {string} key
 * @property {string} severity  info, warning or critical.
 * @property {string} state  firing or resolved.
 * @property {string} summary
 * @property {Labels} labels
 * @property {number} started
 * @property {number|null} ended
 * @property {number|null} value
 *
 * @typedef {object} History
 * @property {string} metric
 * @property {string} unit
 * @property {{labels: Labels, points: [number, number|null][]}[]} series
 *
 * @typedef {object} Status
 * @property {Collector[]} collectors
 * @property {number|null} freshness_seconds
 * @property {number} events_per_second
 */

export {};
