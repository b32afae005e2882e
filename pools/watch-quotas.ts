import { randomBytes } from 'node:crypto';
import { OperatingError } from '../core/operating-error.ts';
import type { Clock } from '../platform/clock.ts';
import { type Database, isDatabaseAway } from '../platform/postgres.ts';
import { type BudgetUse, budgetUses, raiseAlerts } from './budget-alerts.ts';
import { ACTOR, beginPeriods } from './budget-periods.ts';
import { budgetName } from './documents.ts';
import { type QuotaStanding, quotaStandings } from './quota-view.ts';

/** One owner's use of one flavour, in units. */
export interface QuotaSample {
  readonly tenant: string;
  /** `division vision`, `group org`; `other`: all beyond the bound together. */
  readonly owner: string;
  /** `pool/flavour`. */
  readonly flavour: string;
  readonly use: number;
  readonly borrowed: number;
  readonly drainDebt: number;
}

export interface BudgetSample {
  readonly tenant: string;
  /** `vision-USD`. */
  readonly budget: string;
  /** Of the limit, what is held counted; a limit of nothing is used up. */
  readonly usedRatio: number;
}

export interface QuotaMetrics {
  quota(sample: QuotaSample): void;
  budget(sample: BudgetSample): void;
  /** A budget reached so many per cent of its limit. */
  budgetAlert(percent: number): void;
}

export interface QuotaWatch {
  readonly db: Database;
  /** The epoch this process leads by. */
  readonly epoch: bigint;
  readonly clock: Clock;
  readonly log: { warn(fields: object, message: string): void };
  readonly metrics: QuotaMetrics;
}

/** Between two looks: as late as this a budget's new period may begin. */
const WATCH_MS = 10_000;
/** Groups and divisions with gauges of their own; the others are told together. */
export const MAX_OWNERS = 500;
/** (pool, flavour) pairs, likewise. */
export const MAX_FLAVOURS = 200;
export const MAX_TENANTS = 50;
/** Budgets that are watched, by tenant and name. */
export const MAX_BUDGETS = 10_000;
/** Budgets with a gauge of their own. */
export const MAX_BUDGET_GAUGES = 500;

/** Run by the engine's leader: begins the periods of budgets, tells what they have reached, and samples what is used of quotas. */
export async function watchQuotas(watch: QuotaWatch, signal: AbortSignal): Promise<void> {
  const told = new Map<string, QuotaSample>();
  while (!signal.aborted) {
    try {
      await watchOnce(watch, told);
    } catch (error) {
      if (!isDatabaseAway(error) && !(error instanceof OperatingError)) throw error;
      watch.log.warn({ error: String(error) }, 'quotas could not be looked at; it is tried again');
    }
    await watch.clock.sleep(WATCH_MS, signal);
  }
}

/** One look. `told` carries what was told, so that what is gone is told as nothing. */
export async function watchOnce(
  { db, epoch, clock, metrics }: QuotaWatch,
  told: Map<string, QuotaSample>,
): Promise<void> {
  const nowMs = clock.now();
  const traceId = randomBytes(16).toString('hex');
  await db.asLeader(epoch, (tx) => beginPeriods(tx, nowMs, traceId));
  const uses = await db.asEngine((tx) => budgetUses(tx, MAX_BUDGETS));
  const alerts = await db.asLeader(epoch, (tx) => raiseAlerts(tx, uses, { actor: ACTOR, traceId, nowMs }));
  for (const percent of alerts) metrics.budgetAlert(percent);
  for (const use of uses.slice(0, MAX_BUDGET_GAUGES)) metrics.budget(budgetSample(use));
  const samples = await db.asEngine(async (tx) => {
    const tenants = await tx.query<{ tenant: string }>('select tenant from tenants order by tenant limit $1', [
      MAX_TENANTS,
    ]);
    const all: QuotaSample[] = [];
    for (const { tenant } of tenants) all.push(...boundedSamples(tenant, await quotaStandings(tx, tenant)));
    return all;
  });
  const now = new Map(samples.map((sample) => [`${sample.tenant} ${sample.owner} ${sample.flavour}`, sample]));
  for (const sample of told.values()) metrics.quota({ ...sample, use: 0, borrowed: 0, drainDebt: 0 });
  told.clear();
  for (const [key, sample] of now) {
    metrics.quota(sample);
    told.set(key, sample);
  }
}

function budgetSample({ tenant, file, usedCents, limitCents }: BudgetUse): BudgetSample {
  const usedRatio = limitCents === 0n ? 1 : Number(usedCents) / Number(limitCents);
  return { tenant, budget: budgetName(file.division, file.currency), usedRatio };
}

/** At most so many owners and flavours by name; what is beyond is summed up, so that nothing of the whole is lost. */
export function boundedSamples(
  tenant: string,
  standings: readonly QuotaStanding[],
  most: { readonly owners: number; readonly flavours: number } = { owners: MAX_OWNERS, flavours: MAX_FLAVOURS },
): readonly QuotaSample[] {
  const owners = firstOf(standings.map(ownerOf), most.owners);
  const flavours = firstOf(
    standings.map((one) => `${one.pool}/${one.flavour}`),
    most.flavours,
  );
  const sums = new Map<string, QuotaSample>();
  for (const standing of standings) {
    const owner = owners.has(ownerOf(standing)) ? ownerOf(standing) : 'other';
    const id = `${standing.pool}/${standing.flavour}`;
    const flavour = flavours.has(id) ? id : 'other';
    const before = sums.get(`${owner} ${flavour}`);
    sums.set(`${owner} ${flavour}`, {
      tenant,
      owner,
      flavour,
      use: (before?.use ?? 0) + standing.useMilli / 1000,
      borrowed: (before?.borrowed ?? 0) + standing.borrowedMilli / 1000,
      drainDebt: (before?.drainDebt ?? 0) + standing.drainDebtMilli / 1000,
    });
  }
  return [...sums.values()];
}

function ownerOf({ kind, name }: QuotaStanding): string {
  return `${kind} ${name}`;
}

function firstOf(names: readonly string[], most: number): ReadonlySet<string> {
  return new Set([...new Set(names)].slice(0, most));
}
