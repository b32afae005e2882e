import { join } from 'node:path';
import { OperatingError } from '../../core/operating-error.ts';
import { type Refusal, RefusedInput } from '../../core/refusal.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Database } from '../../platform/postgres.ts';
import { loadPool } from '../../pools/apply-pool.ts';
import { flavourId } from '../../pools/pool-facts.ts';
import { cents, type PoolFile } from '../../pools/pool-file.ts';
import { type PoolHealth, thereOf } from '../../pools/pool-health.ts';
import type { ProviderWatch } from '../../providers/guarded.ts';
import { optionRefusals } from '../../providers/option-refusals.ts';
import type { Offer, PoolFlavour, Provider } from '../../providers/provider.ts';
import { loadProvider, openProvider, providerRefusals } from '../../providers/registry.ts';
import type { ProviderSource } from '../../scheduler/apply/context.ts';
import type { OwnRay } from './own-ray.ts';
import { type PoolTrust, trustRefusals } from './pool-trust.ts';

/** An answer about a provider's health holds this long. */
const HEALTH_MS = 2_000;
const HEALTH_TIMEOUT_MS = 5_000;
/** Who plans waits for one so long, and then takes the last there is, which is of this age at most: one that hangs must not hold up the others. */
const PATIENCE_MS = 1_000;
const LAST_HEALTH_MS = 15_000;
/** And so do its prices. */
const OFFERS_MS = 60_000;
/** Providers kept open; the one unused longest is closed. */
const MAX_OPEN = 256;

export interface ProviderSourceOptions {
  readonly db: Database;
  readonly clock: Clock;
  readonly stateDir: string;
  readonly ownRay: OwnRay;
  /** Of packages that pools may name. */
  readonly paths: readonly string[];
  readonly trust: PoolTrust;
  readonly watch: PoolProvidersWatch;
}

export interface PoolProvidersWatch extends ProviderWatch {
  /** In units of the flavour's resource. */
  there(sample: {
    readonly tenant: string;
    /** `pool/flavour`. */
    readonly flavour: string;
    readonly total: number;
    readonly free: number;
  }): void;
}

interface Open {
  readonly version: bigint;
  readonly file: PoolFile;
  /** Of Merit's own Ray when it was opened: another start of it listens elsewhere. */
  readonly ownAddress: string | undefined;
  readonly provider: Promise<Provider>;
  health: (PoolHealth & { readonly atMs: number }) | undefined;
  /** Under way. */
  asked: Promise<PoolHealth> | undefined;
  /** Flavours whose capacity was told, of what it was before its file changed too. */
  told: ReadonlySet<string>;
  offers: { readonly atMs: number; readonly asked: Promise<readonly Offer[]> } | undefined;
}

/** Opens each pool's provider when it is first needed, and again when the pool's file changed. */
export class PoolProviders implements ProviderSource {
  readonly #options: ProviderSourceOptions;
  readonly #open = new Map<string, Open>();

  constructor(options: ProviderSourceOptions) {
    this.#options = options;
  }

  async of(tenant: string, pool: string): Promise<Provider> {
    return (await this.#entry(tenant, pool)).provider;
  }

  /** Answers within a second or so whatever its provider does: what it says, or what it said last, or that it is silent. */
  async health(tenant: string, pool: string): Promise<PoolHealth> {
    const { clock } = this.#options;
    try {
      const entry = await this.#entry(tenant, pool);
      const last = entry.health;
      if (last !== undefined && clock.now() - last.atMs < HEALTH_MS) return last;
      entry.asked ??= this.#ask(tenant, entry);
      const lastCounts = last !== undefined && clock.now() - last.atMs < LAST_HEALTH_MS;
      return await within(PATIENCE_MS, entry.asked, lastCounts ? last : SILENT);
    } catch (error) {
      return unhealthy(error);
    }
  }

  async #ask(tenant: string, entry: Open): Promise<PoolHealth> {
    const health = await entry.provider
      .then((provider) => provider.capacity(AbortSignal.timeout(HEALTH_TIMEOUT_MS)))
      .then((there) => ({ away: undefined, there }), unhealthy);
    entry.health = { atMs: this.#options.clock.now(), ...health };
    entry.asked = undefined;
    // Of a file that was replaced meanwhile nothing is told any more: the one after it tells what is gone.
    const now = this.#open.get(`${tenant}/${entry.file.name}`) ?? entry;
    if (now === entry) this.#tellThere(tenant, entry, health);
    return health;
  }

  async offers(tenant: string, pool: string): Promise<readonly Offer[]> {
    const nowMs = this.#options.clock.now();
    const entry = await this.#entry(tenant, pool).catch(() => undefined);
    if (entry === undefined) return [];
    if (entry.offers === undefined || nowMs - entry.offers.atMs >= OFFERS_MS) {
      const signal = AbortSignal.timeout(HEALTH_TIMEOUT_MS);
      entry.offers = { atMs: nowMs, asked: entry.provider.then((provider) => provider.offers(signal)).catch(() => []) };
    }
    return entry.offers.asked;
  }

  async refusals(tenant: string, declared: PoolFile['provider']): Promise<readonly Refusal[]> {
    const { paths, trust } = this.#options;
    return [...trustRefusals(declared, tenant, trust), ...(await providerRefusals(declared, paths))];
  }

  optionRefusals(options: Readonly<Record<string, unknown>>, kinds: readonly string[]): Promise<readonly Refusal[]> {
    return optionRefusals(options, kinds, this.#options.paths);
  }

  async close(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    await Promise.allSettled(open.map(async (entry) => (await entry.provider).close()));
  }

  async #entry(tenant: string, pool: string): Promise<Open> {
    const key = `${tenant}/${pool}`;
    const stored = await this.#options.db.asEngine((tx) => loadPool(tx, tenant, pool));
    if (stored === undefined)
      throw new OperatingError('not-found', 'never', `opening the provider of pool ${pool}`, {
        mend: 'apply the pool first',
      });
    const known = this.#open.get(key);
    const ownAddress = this.#ownAddress(stored.file);
    if (known?.version === stored.version && known.ownAddress === ownAddress) {
      this.#open.delete(key);
      this.#open.set(key, known);
      return known;
    }
    const entry: Open = {
      version: stored.version,
      file: stored.file,
      ownAddress,
      provider: this.#openProvider(tenant, stored.file),
      health: undefined,
      asked: undefined,
      told: known?.told ?? new Set(),
      offers: undefined,
    };
    this.#open.set(key, entry);
    entry.provider.catch(() => {
      if (this.#open.get(key) === entry) this.#open.delete(key);
    });
    if (known !== undefined) void known.provider.then((provider) => provider.close()).catch(() => {});
    this.#closeOldest();
    return entry;
  }

  /** What is told no more, its flavour or its provider's answer being gone, is told as nothing, once: a metric keeps what it was told. */
  #tellThere(tenant: string, entry: Open, health: PoolHealth): void {
    const { name: pool, flavours } = entry.file;
    const said = new Map(
      flavours.flatMap(({ name, resource }) => {
        const there = thereOf(health, name, resource);
        return there === undefined ? [] : [[name, there] as const];
      }),
    );
    for (const name of new Set([...entry.told, ...said.keys()])) {
      const { totalMilli = 0n, freeMilli = 0n } = said.get(name) ?? {};
      const [total, free] = [Number(totalMilli) / 1000, Number(freeMilli) / 1000];
      this.#options.watch.there({ tenant, flavour: flavourId(pool, name), total, free });
    }
    entry.told = new Set(said.keys());
  }

  #ownAddress(file: PoolFile): string | undefined {
    if (file.provider.kind !== 'ray' || file.provider.config !== undefined) return undefined;
    const own = this.#options.ownRay.state();
    return 'address' in own ? own.address : undefined;
  }

  #closeOldest(): void {
    if (this.#open.size <= MAX_OPEN) return;
    const [key, entry] = [...this.#open][0] as [string, Open];
    this.#open.delete(key);
    void entry.provider.then((provider) => provider.close()).catch(() => {});
  }

  async #openProvider(tenant: string, file: PoolFile): Promise<Provider> {
    const declared = file.provider;
    const { ownRay, stateDir, clock, paths, trust, watch } = this.#options;
    // A link may lead elsewhere by now, and the installation's folders be others.
    const forbidden = trustRefusals(declared, tenant, trust);
    if (forbidden.length > 0)
      throw new OperatingError('part-missing', 'never', `opening provider ${declared.kind}`, {
        cause: new RefusedInput(forbidden),
        mend: 'mend provider in the pool’s file',
      });
    const definition = await loadProvider(declared.kind, paths);
    let config: Readonly<Record<string, unknown>> = declared.config ?? {};
    if (declared.kind === 'ray' && declared.config === undefined) {
      const own = ownRay.state();
      if ('missing' in own)
        throw new OperatingError('part-missing', 'safe', 'using Merit’s own Ray', { cause: own.missing });
      // One node, whose leftovers are ended before it is started anew: nothing of an earlier life runs on.
      config = { ...own, nodeGivesUpSeconds: 0 };
    }
    try {
      const context = {
        stateDir: join(stateDir, 'providers', definition.kind),
        clock,
        flavours: file.flavours.map(poolFlavour),
      };
      return await openProvider(definition, config, context, watch);
    } catch (cause) {
      if (!(cause instanceof RefusedInput)) throw cause;
      throw new OperatingError('part-missing', 'never', `opening provider ${declared.kind}`, {
        cause,
        mend: 'mend provider.config in the pool’s file',
      });
    }
  }
}

function poolFlavour({ name, resource, spot, price }: PoolFile['flavours'][number]): PoolFlavour {
  return {
    flavour: name,
    resource,
    spot: spot ?? false,
    currency: price.currency,
    centsPerUnitHour: cents(price.perUnitHour),
  };
}

const SILENT: PoolHealth = { away: `it did not answer within ${PATIENCE_MS} ms`, there: [] };

/** What is asked for, or the other where it takes longer. */
async function within<T>(ms: number, asked: Promise<T>, otherwise: T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<T>((resolve) => {
    timer = setTimeout(() => resolve(otherwise), ms);
  });
  return Promise.race([asked, late]).finally(() => clearTimeout(timer));
}

/** For a person who waits: the cause itself, without what we were doing when we met it. */
function unhealthy(error: unknown): PoolHealth {
  if (error instanceof OperatingError && typeof error.cause === 'string') return { away: error.cause, there: [] };
  return { away: error instanceof Error ? error.message : String(error), there: [] };
}
