import { decisionWhy, eventHint } from './hints.ts';
import { type Column, facts, type Row, type Shape } from './render.ts';

/** How the things of the API look in a table. */

const named = (row: Row): string => String(row.name ?? row.id ?? '');

/** A score, as exact as a person reads it; -o json has every digit. */
export function score(value: unknown): unknown {
  return typeof value === 'number' ? value.toFixed(SCORE_DECIMALS) : value;
}

const SCORE_DECIMALS = 4;

function reasonOf(row: Row): unknown {
  const [first] = Array.isArray(row.reasons) ? (row.reasons as { text?: unknown }[]) : [];
  return first?.text;
}

/** `1h5m` of the time since; good enough for a table, and -o json has the instant. */
export function age(since: unknown, nowMs: number): string {
  const ms = nowMs - Date.parse(String(since));
  if (!Number.isFinite(ms)) return '';
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h${Math.floor((seconds % 3600) / 60)}m`;
  return `${Math.floor(seconds / 86_400)}d`;
}

export const JOBS: Shape = {
  name: (row) => String(row.id),
  columns: [
    { head: 'ID', cell: (row) => row.id },
    { head: 'NAME', cell: (row) => row.name },
    { head: 'STATE', cell: (row) => row.state },
    { head: 'DIVISION', cell: (row) => row.division },
    { head: 'POOL', cell: (row) => row.pool },
    { head: 'AGE', cell: (row) => age(row.createdAt, Date.now()) },
    { head: 'ATTEMPT', cell: (row) => row.attempt, wide: true },
    { head: 'FLAVOUR', cell: (row) => row.flavour, wide: true },
    { head: 'PROVIDER', cell: (row) => row.provider, wide: true },
    { head: 'HANDLE', cell: (row) => row.handle, wide: true },
    { head: 'REQUESTER', cell: (row) => row.requester, wide: true },
    { head: 'WHY', cell: reasonOf },
  ],
};

/** `2h granted, 30m refused`. */
function extensionsText({ extensions }: Row): string | undefined {
  const all = Array.isArray(extensions) ? (extensions as readonly Row[]) : [];
  return all.length === 0 ? undefined : all.map(({ by, state }) => `${String(by)} ${String(state)}`).join(', ');
}

export function jobText(job: Row): string {
  return facts([
    ['id', job.id],
    ['name', job.name],
    ['state', job.state],
    ['division', job.division],
    ['model', job.model],
    ['pool', job.pool],
    ['flavour', job.flavour],
    ['provider', job.provider],
    ['handle', job.handle],
    ['attempt', job.attempt],
    ['requester', job.requester],
    ['created', job.createdAt],
    ['updated', job.updatedAt],
    ['trace', job.traceId],
    ['spec hash', job.specHash],
    ['lease ends', job.leaseEndsAt],
    ['extensions', extensionsText(job)],
    ['retry of', job.retryOf],
    ['retried as', job.retriedAs],
    ['why', reasonOf(job)],
  ]);
}

const EVENT_COLUMNS: readonly Column[] = [
  { head: 'SEQ', cell: (row) => row.seq },
  { head: 'AT', cell: (row) => row.at },
  { head: 'SUBJECT', cell: (row) => row.subject },
  { head: 'N', cell: (row) => row.n },
  { head: 'TYPE', cell: (row) => row.type },
  { head: 'ACTOR', cell: (row) => row.actor },
  { head: 'TRACE', cell: (row) => row.trace, wide: true },
  { head: 'DATA', cell: (row) => eventHint(row.data) },
];

export const EVENTS: Shape = { name: (row) => String(row.id), columns: EVENT_COLUMNS };

/** The events of one job: each is about that job. */
export const JOB_EVENTS: Shape = {
  ...EVENTS,
  columns: EVENT_COLUMNS.map((column) => (column.head === 'SUBJECT' ? { ...column, wide: true } : column)),
};

export const FILES: Shape = {
  name: (row) => String(row.path),
  columns: [
    { head: 'PATH', cell: (row) => row.path },
    { head: 'SIZE', cell: (row) => row.size },
    { head: 'SHA256', cell: (row) => row.sha256 },
  ],
};

export const UNNAMED: Shape = {
  name: (row) => String(row.object),
  columns: [
    { head: 'OBJECT', cell: (row) => row.object },
    { head: 'SIZE', cell: (row) => row.size },
    { head: 'MODIFIED', cell: (row) => row.modifiedAt },
    { head: 'WHY', cell: (row) => (row.verdict === 'unknown' ? 'of no job that is known' : 'nothing names it') },
  ],
};

export const REPLAY: Shape = {
  name: (row) => String(row.id),
  columns: [
    { head: 'REPLAY', cell: (row) => row.id },
    { head: 'STATE', cell: (row) => row.state },
    { head: 'VERDICT', cell: (row) => row.verdict },
    { head: 'MESSAGES', cell: (row) => `${String(row.messages)}/${String(row.ofMessages)}` },
    { head: 'REPORTS', cell: (row) => row.reports },
    { head: 'STARTED', cell: (row) => row.createdAt },
    { head: 'BY', cell: (row) => row.startedBy },
  ],
};

export const QUARANTINE: Shape = {
  name: (row) => String(row.id),
  columns: [
    { head: 'ID', cell: (row) => row.id },
    { head: 'REASON', cell: (row) => row.reason },
    { head: 'SUITE', cell: (row) => row.suite },
    { head: 'PRODUCER', cell: (row) => row.producer },
    { head: 'SIZE', cell: (row) => row.size },
    { head: 'AGE', cell: (row) => age(row.createdAt, Date.now()) },
    { head: 'STATE', cell: (row) => row.state },
    { head: 'SHA256', cell: (row) => row.sha256, wide: true },
    { head: 'TRACE', cell: (row) => row.traceId, wide: true },
    { head: 'REDRIVEN BY', cell: (row) => row.redrivenBy, wide: true },
    {
      head: 'WHY',
      cell: (row) =>
        [row.field, `at byte ${String(row.position)}`, row.problem].filter((part) => part !== '').join(' '),
    },
  ],
};

const SHORT_HASH = 12;

export const SUITES: Shape = {
  name: named,
  columns: [
    { head: 'NAME', cell: (row) => row.name },
    { head: 'VERSION', cell: (row) => String(row.version ?? '').slice(0, SHORT_HASH) },
    { head: 'INCUMBENT', cell: (row) => row.incumbent },
    { head: 'CANDIDATES', cell: (row) => listText(row.candidates) },
    { head: 'SCORED UP TO', cell: (row) => row.scoredTick },
    { head: 'APPLIED', cell: (row) => row.appliedAt, wide: true },
    { head: 'BY', cell: (row) => row.appliedBy, wide: true },
    { head: 'HASH', cell: (row) => row.hash, wide: true },
  ],
};

export const ROLLOUT: Shape = { name: (row) => String(row.suite), columns: [] };

export const MODELS: Shape = {
  name: named,
  columns: [
    { head: 'NAME', cell: (row) => row.name },
    { head: 'DIVISION', cell: (row) => row.division },
    { head: 'SUITE', cell: (row) => row.suite },
    { head: 'VERSIONS', cell: (row) => listText(row.versions) },
    { head: 'ALIASES', cell: (row) => aliasText(row.aliases) },
    { head: 'CREATED', cell: (row) => row.createdAt, wide: true },
  ],
};

function listText(list: unknown): string {
  return Array.isArray(list) ? list.map(String).join(', ') : '';
}

function aliasText(aliases: unknown): string {
  if (typeof aliases !== 'object' || aliases === null) return '';
  return Object.entries(aliases)
    .map(([alias, version]) => `${alias}=${String(version)}`)
    .join(' ');
}

export const POOLS: Shape = {
  name: named,
  columns: [
    { head: 'NAME', cell: (row) => row.name },
    { head: 'PROVIDER', cell: (row) => row.provider },
    { head: 'STATE', cell: poolState },
    { head: 'FLAVOURS', cell: (row) => (Array.isArray(row.flavours) ? row.flavours.map(flavourText).join(', ') : '') },
    { head: 'VERSION', cell: (row) => row.version, wide: true },
  ],
};

/** With the machines of it that are shut. */
function poolState({ state, nodes }: Row): string {
  const shut = Array.isArray(nodes) ? (nodes as readonly Row[]) : [];
  return [String(state), ...shut.map((node) => `${String(node.name)} ${String(node.state)}`)].join(', ');
}

function flavourText(flavour: Row): string {
  return `${String(flavour.name)}: ${String(flavour.free)} of ${String(flavour.capacity)} ${String(flavour.resource)} free, ${String(flavour.price)} ${String(flavour.currency)}/h`;
}

export const BALANCES: Shape = {
  name: (row) => String(row.account),
  columns: [
    { head: 'OWNER', cell: (row) => row.division ?? (row.group == null ? '' : `group ${String(row.group)}`) },
    { head: 'KIND', cell: (row) => row.kind },
    { head: 'POOL', cell: (row) => row.pool },
    { head: 'FLAVOUR', cell: (row) => row.flavour },
    { head: 'UNIT', cell: (row) => row.unit },
    { head: 'NOMINAL', cell: (row) => row.nominal },
    { head: 'LIMIT', cell: (row) => row.limit },
    { head: 'HELD', cell: (row) => row.held },
    { head: 'USED', cell: (row) => row.used },
    { head: 'FREE', cell: (row) => row.free },
    { head: 'BORROWED', cell: (row) => row.borrowed },
    { head: 'LENT', cell: (row) => row.lent },
    { head: 'DRAIN DEBT', cell: (row) => row.drainDebt },
  ],
};

export const PROMOTIONS: Shape = {
  name: (row) => String(row.id),
  columns: [
    { head: 'ID', cell: (row) => row.id },
    { head: 'SUITE', cell: (row) => row.suite },
    { head: 'TICK', cell: (row) => row.tick },
    { head: 'ACTION', cell: (row) => row.action },
    { head: 'MODEL', cell: (row) => row.model },
    { head: 'COMPOSITE', cell: (row) => score(row.composite) },
    { head: 'DECIDED', cell: (row) => row.decidedAt, wide: true },
    { head: 'WHY', cell: decisionWhy },
  ],
};

/** Shown by its own tables; `-o name` tells the flavours. */
export const TOP: Shape = {
  name: (row) => (row.flavours as readonly Row[]).map((one) => `${String(one.pool)}/${String(one.flavour)}`).join('\n'),
  columns: [],
};

export const RETRAINS: Shape = {
  name: (row) => String(row.requestId),
  columns: [
    { head: 'MODEL', cell: (row) => row.model },
    { head: 'VERSION', cell: (row) => row.version },
    { head: 'CAUSE', cell: (row) => row.cause },
    { head: 'STATE', cell: (row) => row.state },
    { head: 'ATTEMPTS', cell: (row) => row.attempts },
    { head: 'JOB', cell: (row) => row.bookingId },
    {
      head: 'WAITED',
      cell: (row) => (typeof row.queueWaitMs === 'number' ? `${(row.queueWaitMs / 1000).toFixed(1)}s` : ''),
    },
    { head: 'AGE', cell: (row) => age(row.createdAt, Date.now()) },
    { head: 'REQUEST', cell: (row) => row.requestId, wide: true },
    { head: 'MANIFEST', cell: (row) => row.manifestSha256, wide: true },
    { head: 'WHY', cell: (row) => (row.failure as { readonly text?: unknown } | null)?.text },
  ],
};

/** Of the windows of a score the longest: its n is the most that a composite rests on. */
export function widestWindow(row: Row): Row | undefined {
  const windows = (typeof row.windows === 'object' && row.windows !== null ? row.windows : {}) as Record<string, Row>;
  return windows['7d'] ?? windows['24h'] ?? windows['1h'];
}

const INTERVAL_COLUMNS: readonly Column[] = [
  { head: 'COMPOSITE', cell: (row) => score(row.composite) },
  { head: 'LOWER', cell: (row) => score(row.lower) },
  { head: 'UPPER', cell: (row) => score(row.upper) },
  { head: 'N', cell: (row) => widestWindow(row)?.n },
  { head: 'REVISION', cell: (row) => row.revision },
];

export const RANKING: Shape = {
  name: (row) => String(row.model),
  columns: [
    { head: 'RANK', cell: (row) => row.rank },
    { head: 'MODEL', cell: (row) => row.model },
    ...INTERVAL_COLUMNS,
    { head: 'STATUS', cell: (row) => row.status },
  ],
};

/** One model in one suite, tick by tick. */
export const SCORE_HISTORY: Shape = {
  name: (row) => String(row.at),
  columns: [
    { head: 'AT', cell: (row) => row.at },
    { head: 'RANK', cell: (row) => row.rank },
    ...INTERVAL_COLUMNS,
    { head: 'STATUS', cell: (row) => row.status },
    { head: 'TRACE', cell: (row) => row.traceId, wide: true },
    { head: 'VERSION', cell: (row) => String(row.suiteHash ?? '').slice(0, SHORT_HASH), wide: true },
  ],
};
