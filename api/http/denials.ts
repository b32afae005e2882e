import { randomBytes } from 'node:crypto';
import { FUNCTIONS } from '../../core/access.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Metrics } from '../../platform/metrics.ts';
import type { Database } from '../../platform/postgres.ts';
import type { Denial, HttpLog } from './services.ts';

/** After a quiet while a denial is in the trail as soon as this. */
const LOOK_EVERY_MS = 1_000;
/** A tenant's flood of denials is one event in so much time, and one line of the log. */
export const DENIALS_EVERY_MS = 60_000;
/** Denials told apart in one event; of the others only how many they were. */
export const MAX_DENIALS_APART = 100;
/** Tenants whose denials are held at a time: those that the configuration names are fewer. */
const MAX_TENANTS_HELD = 1_000;

interface Held {
  readonly tenant: string;
  fromMs: number;
  readonly apart: Map<string, { readonly denial: Denial; count: number }>;
  /** Beyond those that are told apart. */
  others: number;
  /** The tenant's next event comes no sooner. */
  nextAtMs: number;
}

export interface DenialTrail {
  denied(denial: Denial): void;
  run(signal: AbortSignal): Promise<void>;
  /** What is held goes into the trail now, due or not. */
  flush(): Promise<void>;
}

/**
 * Who was turned away goes into the audit trail as `access.denied`: the first at once, a flood summed up, in bounded memory. What proves nothing names
 * nobody, so that it is only counted. A person or service that is known and has no tenant is told of in the installation's own.
 */
export function denialTrail(options: {
  readonly db: Database;
  readonly clock: Clock;
  readonly log: HttpLog;
  readonly metrics: Metrics;
  /** The installation's own. */
  readonly tenant: string;
}): DenialTrail {
  const { db, clock, log } = options;
  const counted = options.metrics.counter('merit_access_denied_total', 'Requests that were turned away', {
    why: ['missing', 'invalid', 'stranger', 'away', 'function'],
    way: ['none', 'token', 'oidc', 'mtls'],
    needs: FUNCTIONS,
  });
  const held = new Map<string, Held>();

  const write = async (of: Held): Promise<void> => {
    const denials = [...of.apart.values()];
    const { others, fromMs } = of;
    of.apart.clear();
    of.others = 0;
    of.nextAtMs = clock.now() + DENIALS_EVERY_MS;
    const total = denials.reduce((sum, { count }) => sum + count, others);
    log.warn({ tenant: of.tenant, denials: total, first: denials[0]?.denial }, 'callers were denied');
    const at = new Date(clock.now()).toISOString();
    const data = {
      from: new Date(fromMs).toISOString(),
      others,
      denials: denials.map(({ denial, count }) => ({
        count,
        function: denial.needs,
        method: denial.method,
        principal: denial.principal ?? '',
        route: denial.route,
        why: denial.why,
      })),
    };
    try {
      await db.asEngine(async (tx) => {
        // Several processes tell of one tenant: their events are numbered one after the other.
        await tx.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`merit denials ${of.tenant}`]);
        const trace = denials[0]?.denial.traceId ?? randomBytes(16).toString('hex');
        const { tenant } = of;
        await appendAudit(tx, {
          tenant,
          subject: 'access/denied',
          type: 'access.denied',
          at,
          actor: 'merit',
          trace,
          data,
        });
      });
    } catch (error) {
      // They are in the log and the metric; held on to, they would grow while the database is away.
      log.warn({ tenant: of.tenant, denials: total, err: error }, 'denials could not be written into the audit trail');
    }
  };

  const flush = async (isDue: (of: Held) => boolean): Promise<void> => {
    for (const [tenant, of] of held) {
      if (of.apart.size > 0 && isDue(of)) await write(of);
      else if (of.apart.size === 0 && clock.now() >= of.nextAtMs) held.delete(tenant);
    }
  };

  return {
    denied: (denial) => {
      counted({ why: denial.why, way: wayOf(denial.principal), needs: denial.needs });
      if (denial.principal === undefined) return;
      const tenant = denial.tenant ?? options.tenant;
      let of = held.get(tenant);
      if (of === undefined) {
        if (held.size >= MAX_TENANTS_HELD) return;
        of = { tenant, fromMs: clock.now(), apart: new Map(), others: 0, nextAtMs: 0 };
        held.set(tenant, of);
      }
      if (of.apart.size === 0) of.fromMs = clock.now();
      const key = `${denial.principal} ${denial.method} ${denial.route} ${denial.why}`;
      const known = of.apart.get(key);
      if (known !== undefined) known.count++;
      else if (of.apart.size < MAX_DENIALS_APART) of.apart.set(key, { denial, count: 1 });
      else of.others++;
    },
    run: async (signal) => {
      while (!signal.aborted) {
        await clock.sleep(LOOK_EVERY_MS, signal);
        await flush((of) => clock.now() >= of.nextAtMs);
      }
      await flush(() => true);
    },
    flush: () => flush(() => true),
  };
}

function wayOf(principal: string | undefined): string {
  if (principal === undefined) return 'none';
  if (principal.startsWith('spiffe://')) return 'mtls';
  return principal.startsWith('oidc:') ? 'oidc' : 'token';
}
